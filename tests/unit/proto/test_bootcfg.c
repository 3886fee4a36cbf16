// SPDX-License-Identifier: Apache-2.0
/* Boot configuration: what is encoded is decoded, everything else is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cc.h"
#include "proto/bootcfg.h"

#define GOOD "version 2\nlayers 2\ndisks 1\ntmpfs 3\nhostname vm\n"

static int decode(const char *text, size_t bytes)
{
	struct bootcfg c = {.n_layers = 4711};
	char *p = malloc(bytes ? bytes : 1); /* not terminated: a sanitizer sees one too many */
	int r;

	assert_non_null(p);
	if (bytes)
		memcpy(p, text, bytes);
	r = bootcfg_decode(p, bytes, &c);
	if (r < 0)
		assert_int_equal(c.n_layers, 4711); /* untouched */
	free(p);
	return r;
}

static void values_come_back(void **state)
{
	static const struct bootcfg cases[] = {
		{.n_layers = 0, .tmpfs_bytes = 0, .hostname = "a"},
		{.n_layers = 32,
			.n_disks = 1,
			.tmpfs_bytes = UINT64_MAX,
			.hostname = "Web-1.example.org"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[BOOTCFG_TEXT_MAX];
		struct bootcfg c = {0};
		int n = bootcfg_encode(&cases[i], text, sizeof(text));

		assert_true(n > 0);
		assert_int_equal(strlen(text), n);
		assert_int_equal(bootcfg_decode(text, (size_t)n, &c), 0);
		assert_memory_equal(&c, &cases[i], sizeof(c));
		assert_int_equal(bootcfg_encode(&cases[i], text, (size_t)n), -E2BIG);
		assert_int_equal(bootcfg_encode(&cases[i], text, (size_t)n + 1), n);
	}
}

static void unsayable_values_are_refused(void **state)
{
	static const char *const names[] = {
		"", "-a", ".a", "a b", "a\nb", "a_b", "a/b", "\xc3\xa4"};
	struct bootcfg c = {.n_layers = 33, .hostname = "a"};
	char text[BOOTCFG_TEXT_MAX];

	(void)state;
	assert_int_equal(bootcfg_encode(&c, text, sizeof(text)), -EINVAL);
	c.n_layers = 1;
	c.n_disks = 2;
	assert_int_equal(bootcfg_encode(&c, text, sizeof(text)), -EINVAL);
	c.n_disks = 1;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(c.hostname, sizeof(c.hostname), "%s", names[i]);
		assert_int_equal(bootcfg_encode(&c, text, sizeof(text)), -EINVAL);
	}
}

static void order_is_free(void **state)
{
	static const char text[] = "hostname vm\ntmpfs 3\nversion 2\ndisks 0\nlayers 2\n";

	(void)state;
	assert_int_equal(decode(GOOD, strlen(GOOD)), 0);
	assert_int_equal(decode(text, strlen(text)), 0);
}

static void bad_texts_are_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"\n",
		" \n",
		"version 2\n",
		"version 1\nlayers 2\ndisks 0\ntmpfs 3\nhostname vm\n",
		"version 2\nlayers 2\ntmpfs 3\nhostname vm\n",
		"version 2\nlayers 2\ndisks 2\ntmpfs 3\nhostname vm\n",
		GOOD "\n",
		GOOD "layers 2\n",
		GOOD "colour red\n",
		GOOD "x",
		"version 3\nlayers 2\ndisks 0\ntmpfs 3\nhostname vm\n",
		"version 02x\nlayers 2\ndisks 0\ntmpfs 3\nhostname vm\n",
		"version 2\nlayers 33\ndisks 0\ntmpfs 3\nhostname vm\n",
		"version 2\nlayers -1\ndisks 0\ntmpfs 3\nhostname vm\n",
		"version 2\nlayers  1\ndisks 0\ntmpfs 3\nhostname vm\n",
		"version 2\nlayers\ndisks 0\ntmpfs 3\nhostname vm\n",
		"version 2\nlayers \ndisks 0\ntmpfs 3\nhostname vm\n",
		"version 2\nlayers 1\ndisks 0\ntmpfs 18446744073709551616\nhostname vm\n",
		"version 2\nlayers 1\ndisks 0\ntmpfs 3k\nhostname vm\n",
		"version 2\nlayers 1\ndisks 0\ntmpfs 3\nhostname v m\n",
		"version 2\nlayers 1\ndisks 0\ntmpfs 3\nhostname \n",
		"version 2\nlayers 1\ndisks 0\ntmpfs 3\nhostname -v\n",
		"version 2\nlayers 1\ndisks 0\ntmpfs 3\n",
		"version 2\r\nlayers 1\r\ndisks 0\r\ntmpfs 3\r\nhostname vm\r\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (decode(texts[i], strlen(texts[i])) != -EINVAL)
			fail_msg("accepted: %s", texts[i]);
	assert_int_equal(decode("version 2\0", 10), -EINVAL);
	for (size_t n = 0; n < strlen(GOOD); n++)
		assert_int_equal(decode(GOOD, n), -EINVAL);
}

static void long_texts_are_refused(void **state)
{
	static char text[BOOTCFG_TEXT_MAX + 1];
	char name[128];

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_int_equal(decode(text, sizeof(text)), -EINVAL);
	assert_int_equal(decode(text, sizeof(text) - 1), -EINVAL);
	snprintf(name, sizeof(name), "version 2\nlayers 1\ndisks 0\ntmpfs 3\nhostname %.*s\n",
		BOOTCFG_HOSTNAME_MAX, text);
	assert_int_equal(decode(name, strlen(name)), 0);
	snprintf(name, sizeof(name), "version 2\nlayers 1\ndisks 0\ntmpfs 3\nhostname %.*s\n",
		BOOTCFG_HOSTNAME_MAX + 1, text);
	assert_int_equal(decode(name, strlen(name)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_back),
		cmocka_unit_test(unsayable_values_are_refused),
		cmocka_unit_test(order_is_free),
		cmocka_unit_test(bad_texts_are_refused),
		cmocka_unit_test(long_texts_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
