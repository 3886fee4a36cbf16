// SPDX-License-Identifier: Apache-2.0
#include "cli/args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 30 };

/* The words that are being read. */
struct words {
	char **argv;
	int argc;
	int at;
};

static const struct args_option *by_name(
	const struct args_option *table, const char *name, size_t bytes)
{
	for (; table->name; table++)
		if (strlen(table->name) == bytes && !memcmp(table->name, name, bytes))
			return table;
	return NULL;
}

static const struct args_option *by_letter(const struct args_option *table, char letter)
{
	for (; table->name; table++)
		if (letter && table->letter == letter)
			return table;
	return NULL;
}

static int add_item(struct args_list *list, const char *text, struct err *e)
{
	const char **grown = realloc(list->items, (list->n + 2) * sizeof(*grown));

	if (!grown)
		return err_set(e, -ENOMEM, "no memory for options");
	grown[list->n++] = text;
	grown[list->n] = NULL;
	list->items = grown;
	return 0;
}

static int store(const struct args_option *o, void *values, const char *text, struct err *e)
{
	void *to = (char *)values + o->at;

	if (o->kind == ARGS_LIST)
		return add_item(to, text, e);
	if (o->kind == ARGS_TEXT)
		memcpy(to, &text, sizeof(text));
	else
		*(bool *)to = true;
	return 0;
}

/* The value of an option that needs one: the rest of its word, or the next word. */
static int value_of(const struct args_option *o, const char *rest, struct words *w,
	const char **ret, struct err *e)
{
	if (!rest) {
		if (w->at + 1 >= w->argc)
			return err_set(
				e, -EINVAL, "option --%s needs a value (%s)", o->name, o->value);
		rest = w->argv[++w->at];
	}
	*ret = rest;
	return 0;
}

static int long_option(
	const struct args_option *table, void *values, struct words *w, struct err *e)
{
	const char *word = w->argv[w->at] + 2, *equals = strchr(word, '='), *text = NULL;
	size_t bytes = equals ? (size_t)(equals - word) : strlen(word);
	const struct args_option *o = by_name(table, word, bytes);
	int r;

	if (!o)
		return err_set(e, -EINVAL, "there is no option --%.*s", (int)bytes, word);
	if (o->kind == ARGS_FLAG && equals)
		return err_set(e, -EINVAL, "option --%s takes no value", o->name);
	if (o->kind != ARGS_FLAG) {
		r = value_of(o, equals ? equals + 1 : NULL, w, &text, e);
		if (r < 0)
			return r;
	}
	return store(o, values, text, e);
}

/* One word of letters: flags, and perhaps at last one option with its value. */
static int letters(const struct args_option *table, void *values, struct words *w, struct err *e)
{
	const char *text = NULL;
	int r = 0;

	for (const char *p = w->argv[w->at] + 1; *p && r == 0; p++) {
		const struct args_option *o = by_letter(table, *p);

		if (!o)
			return err_set(e, -EINVAL, "there is no option -%c", *p);
		if (o->kind == ARGS_FLAG) {
			r = store(o, values, NULL, e);
			continue;
		}
		r = value_of(o, p[1] ? p + 1 : NULL, w, &text, e);
		return r < 0 ? r : store(o, values, text, e);
	}
	return r;
}

int args_parse(const struct args_option *table, void *values, int argc, char **argv, struct err *e)
{
	struct words w = {.argv = argv, .argc = argc, .at = 1};
	int r;

	for (; w.at < argc; w.at++) {
		const char *word = argv[w.at];

		if (word[0] != '-' || !word[1])
			break;
		if (!strcmp(word, "--"))
			return w.at + 1;
		r = word[1] == '-' ? long_option(table, values, &w, e)
				   : letters(table, values, &w, e);
		if (r < 0) {
			args_free(table, values);
			return r;
		}
	}
	return w.at;
}

void args_free(const struct args_option *table, void *values)
{
	for (; table->name; table++) {
		struct args_list *list = (void *)((char *)values + table->at);

		if (table->kind != ARGS_LIST)
			continue;
		free(list->items);
		*list = (struct args_list){0};
	}
}

void args_help(const struct args_option *table, FILE *to)
{
	for (; table->name; table++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%c%s--%s%s%s", table->letter ? "-" : "  ",
			table->letter ? table->letter : ' ', table->letter ? ", " : " ",
			table->name, table->value ? " " : "", table->value ? table->value : "");
		fprintf(to, "  %-*s %s\n", HELP_COLUMN, left, table->help);
	}
}
