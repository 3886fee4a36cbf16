// SPDX-License-Identifier: Apache-2.0
/* user[:group] against a stranger's passwd and group files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "guest/user.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "daemon:x:1:1::/usr/sbin:/bin/false\n"
			     "app:x:1000:1001:App,,,:/home/app:/bin/sh\n"
			     "7:x:2000:2001::/seven:/bin/sh\n"
			     "nohome:x:3000:3001::";
static const char group[] = "root:x:0:\n"
			    "adm:x:4:app,root\n"
			    "app:x:1001:\n"
			    "video:x:44:daemon,app\n"
			    "near:x:45:apps,ap,xapp\n"
			    "short:x:46";

static void expect(const char *spec, uid_t uid, gid_t gid, const char *home)
{
	struct user u;
	struct err e = {0};

	if (user_parse(spec, passwd, group, &u, &e) < 0)
		fail_msg("\"%s\" is refused: %s", spec, e.cause);
	assert_int_equal(u.uid, uid);
	assert_int_equal(u.gid, gid);
	assert_string_equal(u.home, home);
}

static void expect_refused(const char *spec, int code, const char *cause)
{
	struct user u = {.uid = 4711};
	struct err e = {0};

	assert_int_equal(user_parse(spec, passwd, group, &u, &e), code);
	assert_int_equal(u.uid, 4711); /* untouched */
	if (!strstr(e.cause, cause))
		fail_msg("\"%s\" is not said in \"%s\"", cause, e.cause);
}

static void names_and_numbers(void **state)
{
	(void)state;
	expect("", 0, 0, "/root");
	expect("root", 0, 0, "/root");
	expect("0", 0, 0, "/root");
	expect("app", 1000, 1001, "/home/app");
	expect("1000", 1000, 1001, "/home/app");
	expect("1234", 1234, 0, "/");
	expect("app:video", 1000, 44, "/home/app");
	expect("app:9999", 1000, 9999, "/home/app");
	expect("1234:1", 1234, 1, "/");
	expect(":video", 0, 44, "/root");
	expect("app:46", 1000, 46, "/home/app");
	expect("app:short", 1000, 46, "/home/app");
	expect("4294967294", 4294967294u, 0, "/");
	/* A name that looks like a number is still a name. */
	expect("7", 2000, 2001, "/seven");
}

static void groups_are_those_that_list_the_name(void **state)
{
	struct user u;

	(void)state;
	assert_int_equal(user_parse("app", passwd, group, &u, NULL), 0);
	assert_int_equal(u.n_groups, 2);
	assert_int_equal(u.groups[0], 4);
	assert_int_equal(u.groups[1], 44);
	assert_int_equal(user_parse("1000", passwd, group, &u, NULL), 0);
	assert_int_equal(u.n_groups, 2);
	assert_int_equal(user_parse("app:app", passwd, group, &u, NULL), 0);
	assert_int_equal(u.n_groups, 0);
	assert_int_equal(user_parse("1234", passwd, group, &u, NULL), 0);
	assert_int_equal(u.n_groups, 0);
}

static void what_makes_no_sense_is_refused(void **state)
{
	static char longest[400];

	(void)state;
	expect_refused("nobody", -ENOENT, "user \"nobody\" is not in");
	expect_refused("app:nobody", -ENOENT, "group \"nobody\" is not in");
	expect_refused("near", -ENOENT, "user \"near\"");
	expect_refused("-1", -ENOENT, "user \"-1\"");
	expect_refused("+1", -ENOENT, "user \"+1\"");
	expect_refused(" 1", -ENOENT, "user");
	expect_refused("1x", -ENOENT, "user");
	expect_refused("4294967295", -EINVAL, "is no user number");
	expect_refused("99999999999999999999", -EINVAL, "is no user number");
	expect_refused("app:4294967295", -EINVAL, "is no group number");
	expect_refused("app:", -EINVAL, "is not user or user:group");
	expect_refused(":", -EINVAL, "is not user or user:group");
	expect_refused("app:a:b", -EINVAL, "is not user or user:group");
	expect_refused("app\n", -ENOENT, "user");
	memset(longest, 'a', sizeof(longest) - 1);
	expect_refused(longest, -EINVAL, "is not user or user:group");
	/* A line without its fields is no entry. */
	expect("3000", 3000, 3001, "/");
}

static void bad_files_are_survived(void **state)
{
	static const char *const texts[] = {"", "\n", ":", ":::::::", "\n\n\n:\n", "root",
		"root:", "root:x", "root:x:", "root:x:0", "root:x::::", "root:x:-1:0::/:/",
		"root:x:1e3:0::/:", "root:x:99999999999999999999:0::/r:",
		"root:x:4294967295:0::/r:", "root:x:0:0:", "root:x: 0:0::/root:/bin/sh"};
	struct user u;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		assert_int_equal(user_parse("root", texts[i], texts[i], &u, &e), -ENOENT);
		assert_int_equal(user_parse("5:6", texts[i], texts[i], &u, &e), 0);
		assert_int_equal(u.uid, 5);
		assert_int_equal(u.gid, 6);
		assert_int_equal(user_parse("", texts[i], texts[i], &u, &e), 0);
		assert_int_equal(u.uid, 0);
		assert_string_equal(u.home, "/");
	}
	/* An entry whose group is nonsense is found and named, not guessed. */
	assert_int_equal(user_parse("root", "root:x:0:zero::/root:/bin/sh", "", &u, &e), -EINVAL);
}

static void home_is_bounded(void **state)
{
	autobuf struct buf b;
	struct user u;

	(void)state;
	buf_init(&b, 1 << 20);
	assert_int_equal(buf_append_str(&b, "root:x:0:0::/"), 0);
	for (int i = 0; i < 2000; i++)
		assert_int_equal(buf_append_str(&b, "h"), 0);
	assert_int_equal(buf_append_str(&b, ":/bin/sh"), 0);
	assert_int_equal(user_parse("root", buf_cstr(&b), "", &u, NULL), 0);
	assert_string_equal(u.home, "/");
}

static void groups_are_bounded(void **state)
{
	autobuf struct buf b;
	struct user u;
	struct err e;

	(void)state;
	buf_init(&b, 1 << 20);
	for (int i = 0; i < USER_GROUPS_MAX; i++)
		assert_int_equal(buf_printf(&b, "g%d:x:%d:app\n", i, i), 0);
	assert_int_equal(user_parse("app", passwd, buf_cstr(&b), &u, &e), 0);
	assert_int_equal(u.n_groups, USER_GROUPS_MAX);
	assert_int_equal(buf_printf(&b, "last:x:9:app\n"), 0);
	assert_int_equal(user_parse("app", passwd, buf_cstr(&b), &u, &e), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_numbers),
		cmocka_unit_test(groups_are_those_that_list_the_name),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(bad_files_are_survived),
		cmocka_unit_test(home_is_bounded),
		cmocka_unit_test(groups_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
