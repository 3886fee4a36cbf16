// SPDX-License-Identifier: Apache-2.0
/* supermachine snapshot: asks the process that holds a VM to save it. */
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/reach.h"

struct values {
	struct cli_common common;
	const char *diff;
};

static const struct args_option options[] = {
	{"diff", 0, ARGS_TEXT, offsetof(struct values, diff), "BASE",
		"save only what changed since it was restored from BASE"},
	CLI_COMMON,
	{0},
};

static int run(const struct cli_command *c, int argc, char **argv, bool is_verbose)
{
	struct values v = {0};
	struct sm_error err;
	int status, at = cli_options(c, &v, argc, argv, is_verbose, &status);

	if (at < 0)
		return status;
	if (at + 2 != argc)
		return cli_usage(c, "it takes the name of a VM and that of a new directory");
	if (reach_snapshot(argv[at], argv[at + 1], v.diff, &err) == 0)
		return 0;
	out_error(&err);
	return 1;
}

const struct cli_command cmd_snapshot = {
	.name = "snapshot",
	.operands = "VM DIRECTORY",
	.summary = "Save a running VM, which goes on, as a directory",
	.options = options,
	.usage_status = EXIT_USAGE,
	.run = run,
};
