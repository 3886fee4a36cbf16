// SPDX-License-Identifier: Apache-2.0
/* What the commands share: the table that they are in, and how they read their options. */
#pragma once

#include <supermachine.h>

#include "cli/args.h"

enum {
	EXIT_USAGE = 2,
	EXIT_RUN_FAILED = 125, /* as docker run: we failed, not the command */
};

/* Every command's options begin with this. */
struct cli_common {
	bool want_help;
	bool is_verbose;
};

#define CLI_COMMON                                                                                 \
	{"verbose", 0, ARGS_FLAG, offsetof(struct cli_common, is_verbose), NULL,                   \
		"say what is done and how long it took"},                                          \
	{                                                                                          \
		"help", 0, ARGS_FLAG, offsetof(struct cli_common, want_help), NULL, "show this"    \
	}

struct cli_command {
	const char *name;
	const char *operands; /* after the options in the usage line */
	const char *summary;  /* one line */
	const struct args_option *options;
	int usage_status; /* exit status for options that make no sense */
	/* argv[0] is the command's name, argv[-1] and before are the global ones. `is_verbose` was
	 * said before the command. Returns the exit status. */
	int (*run)(const struct cli_command *c, int argc, char **argv, bool is_verbose);
};

extern const struct cli_command cmd_run, cmd_bake, cmd_restore, cmd_snapshot, cmd_inspect,
	cmd_verify, cmd_pull, cmd_images, cmd_doctor, cmd_version;

/* Parses the options into `values`, whose first member is a struct cli_common. Returns the index of
 * the first operand; or -1 when the command is over, with its exit status in *ret_status: help was
 * shown, or the options make no sense. */
int cli_options(const struct cli_command *c, void *values, int argc, char **argv, bool is_verbose,
	int *ret_status) MUST_CHECK;

/* For a command whose operands make no sense: prints the sentence; returns the exit status. */
int cli_usage(const struct cli_command *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Usage and options of a command. */
void cli_help(const struct cli_command *c, FILE *to);

/* 0 when all that was printed arrived, else 1 after saying that it did not. */
int cli_end(void);
