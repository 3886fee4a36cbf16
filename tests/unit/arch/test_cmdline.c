// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "arch/cmdline.h"
#include "base/err.h"

static void test_words(void **state)
{
	struct cmdline c;

	(void)state;
	cmdline_init(&c);
	assert_int_equal(cmdline_add(&c, "", 0, NULL), 0);
	assert_string_equal(c.text, "");
	assert_int_equal(cmdline_add(&c, "quiet", 5, NULL), 0);
	assert_int_equal(cmdline_add(&c, "console=ttyS0 -- xyz", 16, NULL), 0);
	assert_string_equal(c.text, "quiet console=ttyS0 --");
	assert_int_equal(c.bytes, strlen(c.text));
}

static void test_ceiling(void **state)
{
	char words[ARCH_CMDLINE_MAX + 1];
	struct cmdline c;
	struct err e = {0};

	(void)state;
	memset(words, 'x', sizeof(words));
	cmdline_init(&c);
	assert_int_equal(cmdline_add(&c, words, ARCH_CMDLINE_MAX + 1, &e), -E2BIG);
	assert_int_equal(c.bytes, 0);
	assert_true(e.remedy[0]);
	assert_int_equal(cmdline_add(&c, words, ARCH_CMDLINE_MAX - 2, &e), 0);
	/* one byte is left after the blank */
	assert_int_equal(cmdline_add(&c, "ab", 2, &e), -E2BIG);
	assert_int_equal(cmdline_add(&c, "a", 1, &e), 0);
	assert_int_equal(c.bytes, ARCH_CMDLINE_MAX);
	assert_int_equal(cmdline_add(&c, "a", 1, &e), -E2BIG);
	assert_int_equal(cmdline_add(&c, "a", SIZE_MAX, &e), -E2BIG);
	assert_int_equal(strlen(c.text), ARCH_CMDLINE_MAX);
}

static void test_control_bytes(void **state)
{
	static const char *const bad[] = {"a\nb", "a\tb",
		"a\x7f"
		"b"};
	struct cmdline c;
	struct err e;

	(void)state;
	cmdline_init(&c);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		e = (struct err){0};
		assert_int_equal(cmdline_add(&c, bad[i], 3, &e), -EINVAL);
		assert_string_equal(e.object, "kernel command line");
	}
	assert_int_equal(cmdline_add(&c, "a\0b", 3, &e), -EINVAL);
	assert_int_equal(c.bytes, 0);
	assert_int_equal(cmdline_add(&c, "na\xc3\xafve", 6, &e), 0); /* UTF-8 passes */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_control_bytes),
	};

	return cmocka_run_group_tests_name("cmdline", tests, NULL, NULL);
}
