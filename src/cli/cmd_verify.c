// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"
#include "cli/out.h"

struct values {
	struct cli_common common;
};

static const struct args_option options[] = {CLI_COMMON, {0}};

static int run(const struct cli_command *c, int argc, char **argv, bool is_verbose)
{
	struct values v = {0};
	struct sm_error err;
	int status, at = cli_options(c, &v, argc, argv, is_verbose, &status);

	if (at < 0)
		return status;
	if (at + 1 != argc)
		return cli_usage(c, "it takes one directory");
	if (sm_snapshot_verify(argv[at], &err) < 0) {
		out_error(&err);
		return 1;
	}
	printf("%s: whole, every checksum is right\n", argv[at]);
	return cli_end();
}

const struct cli_command cmd_verify = {
	.name = "verify",
	.operands = "DIRECTORY",
	.summary = "Read all of a snapshot and check every checksum",
	.options = options,
	.usage_status = EXIT_USAGE,
	.run = run,
};
