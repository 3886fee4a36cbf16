// SPDX-License-Identifier: Apache-2.0
/* The supermachine command: a table of commands. Everything it does goes through the public header.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/out.h"

static const struct cli_command cmd_help;

static const struct cli_command *const commands[] = {
	&cmd_run,
	&cmd_bake,
	&cmd_restore,
	&cmd_snapshot,
	&cmd_inspect,
	&cmd_verify,
	&cmd_pull,
	&cmd_images,
	&cmd_doctor,
	&cmd_version,
	&cmd_help,
};

struct global_values {
	struct cli_common common;
	bool want_version;
};

static const struct args_option global_options[] = {
	{"verbose", 'v', ARGS_FLAG, offsetof(struct global_values, common.is_verbose), NULL,
		"say what is done and how long it took"},
	{"version", 0, ARGS_FLAG, offsetof(struct global_values, want_version), NULL,
		"show the version"},
	{"help", 0, ARGS_FLAG, offsetof(struct global_values, common.want_help), NULL, "show this"},
	{0},
};

static const struct cli_command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static void show_help(FILE *to)
{
	fprintf(to, "usage: supermachine [OPTION]... COMMAND [ARG]...\n\n"
		    "Runs OCI images as hardware-isolated microVMs.\n\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(to, "\n");
	args_help(global_options, to);
	fprintf(to, "\n`supermachine COMMAND --help` says more, supermachine(1) says all.\n");
}

static int unknown_command(const char *name)
{
	struct sm_error e = {.cause = "there is no such command",
		.remedy = "supermachine help lists those that there are"};

	snprintf(e.object, sizeof(e.object), "%s", name);
	out_error(&e);
	return EXIT_USAGE;
}

static int run_help(const struct cli_command *c, int argc, char **argv, bool is_verbose)
{
	struct cli_common values = {0};
	const struct cli_command *about;
	int status, at = cli_options(c, &values, argc, argv, is_verbose, &status);

	if (at < 0)
		return status;
	if (at == argc) {
		show_help(stdout);
		return cli_end();
	}
	about = find_command(argv[at]);
	if (!about)
		return unknown_command(argv[at]);
	cli_help(about, stdout);
	return cli_end();
}

static const struct args_option help_options[] = {CLI_COMMON, {0}};

static const struct cli_command cmd_help = {
	.name = "help",
	.operands = "[COMMAND]",
	.summary = "Explain a command",
	.options = help_options,
	.usage_status = EXIT_USAGE,
	.run = run_help,
};

/* A program started without standard descriptors would print into the next file that it opens. */
static void ensure_standard_fds(void)
{
	int fd = open("/dev/null", O_RDWR);

	while (fd >= 0 && fd <= STDERR_FILENO)
		fd = dup(fd);
	if (fd > STDERR_FILENO)
		close(fd);
}

static int say_version(char **argv, int at)
{
	argv[at - 1] = (char[]){"version"};
	return cmd_version.run(&cmd_version, 1, argv + at - 1, false);
}

int main(int argc, char **argv)
{
	struct global_values values = {0};
	const struct cli_command *c;
	struct err e = {0};
	int at;

	ensure_standard_fds();
	at = args_parse(global_options, &values, argc, argv, &e);
	if (at < 0) {
		err_remedy(&e, "supermachine --help");
		out_err(&e);
		return EXIT_USAGE;
	}
	if (values.common.want_help) {
		show_help(stdout);
		return cli_end();
	}
	if (values.want_version)
		return say_version(argv, at);
	if (at == argc) {
		show_help(stderr);
		return EXIT_USAGE;
	}
	c = find_command(argv[at]);
	if (!c)
		return unknown_command(argv[at]);
	return c->run(c, argc - at, argv + at, values.common.is_verbose);
}
