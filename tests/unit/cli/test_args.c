// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "cli/args.h"

struct values {
	bool is_loud;
	bool is_quick;
	const char *name;
	struct args_list list;
};

static const struct args_option table[] = {
	{"loud", 'l', ARGS_FLAG, offsetof(struct values, is_loud), NULL, "say it loud"},
	{"quick", 'q', ARGS_FLAG, offsetof(struct values, is_quick), NULL, "be quick"},
	{"name", 'n', ARGS_TEXT, offsetof(struct values, name), "NAME", "a name"},
	{"list", 0, ARGS_LIST, offsetof(struct values, list), "ITEM", "items"},
	{0},
};

static struct values v;
static struct err e;

static int parse(const char *line)
{
	static char copy[256];
	static char *argv[32];
	int argc = 0;

	args_free(table, &v);
	memset(&v, 0, sizeof(v));
	strcpy(copy, line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	return args_parse(table, &v, argc, argv, &e);
}

static void words_and_letters(void **state)
{
	(void)state;
	assert_int_equal(parse("cmd"), 1);
	assert_int_equal(parse("cmd -l --name x image -q --no"), 4);
	assert_true(v.is_loud);
	assert_false(v.is_quick); /* after the operand it is somebody else's */
	assert_string_equal(v.name, "x");
	assert_int_equal(parse("cmd -lqnx y"), 2);
	assert_true(v.is_loud && v.is_quick);
	assert_string_equal(v.name, "x");
	assert_int_equal(parse("cmd -ln x y"), 3);
	assert_string_equal(v.name, "x");
	assert_int_equal(parse("cmd --name=a=b --name=c"), 3);
	assert_string_equal(v.name, "c");
	assert_int_equal(parse("cmd --name= z"), 2);
	assert_string_equal(v.name, "");
	assert_int_equal(parse("cmd -n -l"), 3); /* a value is a value */
	assert_string_equal(v.name, "-l");
	assert_int_equal(parse("cmd -- -l"), 2);
	assert_int_equal(parse("cmd - -l"), 1);
}

static void lists_keep_their_order(void **state)
{
	(void)state;
	assert_int_equal(parse("cmd --list a --list=b --list c x"), 6);
	assert_int_equal(v.list.n, 3);
	assert_string_equal(v.list.items[0], "a");
	assert_string_equal(v.list.items[1], "b");
	assert_string_equal(v.list.items[2], "c");
	assert_null(v.list.items[3]);
}

static void mistakes_are_named(void **state)
{
	static const char *const cases[][2] = {
		{"cmd --nosuch x", "--nosuch"}, {"cmd --nam x", "--nam"},
		{"cmd --names x", "--names"}, {"cmd -lx", "-x"}, {"cmd --loud=yes", "--loud"},
		{"cmd --name", "--name"}, {"cmd -ln", "--name"},
		{"cmd --list a --nosuch", "--nosuch"}, /* frees what it had */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(parse(cases[i][0]), -EINVAL);
		if (!strstr(e.cause, cases[i][1]))
			fail_msg("%s: %s", cases[i][0], e.cause);
	}
	assert_null(v.list.items);
}

static void help_shows_every_option(void **state)
{
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);

	(void)state;
	args_help(table, f);
	fclose(f);
	assert_non_null(strstr(text, "  -l, --loud                     say it loud\n"));
	assert_non_null(strstr(text, "      --list ITEM                items\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_and_letters),
		cmocka_unit_test(lists_keep_their_order),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(help_shows_every_option),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	args_free(table, &v);
	return r;
}
