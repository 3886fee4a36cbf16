// SPDX-License-Identifier: Apache-2.0
/*
 * Options of a command as a table: parsed from it, and shown by --help from it. Parsing stops at
 * the first operand, so that what follows an image is the command's own.
 */
#pragma once

#include <stdio.h>

#include "base/err.h"

enum args_kind {
	ARGS_FLAG, /* bool */
	ARGS_TEXT, /* const char *; the last one counts */
	ARGS_LIST, /* struct args_list */
};

/* What a repeated option was given, in order; NULL-terminated when not empty. */
struct args_list {
	const char **items;
	size_t n;
};

struct args_option {
	const char *name; /* long, without dashes; NULL ends the table */
	char letter;	  /* or 0 */
	enum args_kind kind;
	size_t at;	   /* where its value goes in the command's struct */
	const char *value; /* what its value is called in help; NULL for a flag */
	const char *help;  /* one line */
};

/* Fills `values` (zeroed by the caller) from argv[1] on. Returns the index of the first operand, or
 * -EINVAL with a sentence, or -ENOMEM. Texts point into argv; lists are freed by args_free. */
int args_parse(const struct args_option *table, void *values, int argc, char **argv,
	struct err *e) MUST_CHECK;
void args_free(const struct args_option *table, void *values);

/* Writes one line for each option. */
void args_help(const struct args_option *table, FILE *to);
