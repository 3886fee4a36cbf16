// SPDX-License-Identifier: Apache-2.0
#include <sys/utsname.h>

#include "cli/cli.h"
#include "cli/out.h"

struct values {
	struct cli_common common;
	bool is_json;
};

static const struct args_option options[] = {
	{"json", 0, ARGS_FLAG, offsetof(struct values, is_json), NULL, "print JSON"},
	CLI_COMMON,
	{0},
};

static void print_json(const char *machine)
{
	struct out_json j = {.to = stdout};

	out_json_open(&j, NULL, '{');
	out_json_text(&j, "version", sm_version());
	out_json_text(&j, "architecture", machine);
	out_json_close(&j, '}');
	fputc('\n', stdout);
}

static int run(const struct cli_command *c, int argc, char **argv, bool is_verbose)
{
	struct values v = {0};
	struct utsname host = {0};
	int status, at = cli_options(c, &v, argc, argv, is_verbose, &status);

	if (at < 0)
		return status;
	if (at < argc)
		return cli_usage(c, "it takes no operand like \"%s\"", argv[at]);
	(void)uname(&host);
	if (v.is_json)
		print_json(host.machine);
	else
		printf("supermachine %s (%s)\n", sm_version(), host.machine);
	return cli_end();
}

const struct cli_command cmd_version = {
	.name = "version",
	.operands = "",
	.summary = "Show the version",
	.options = options,
	.usage_status = EXIT_USAGE,
	.run = run,
};
