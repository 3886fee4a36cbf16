// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/console.h"

static bool panics(const char *const *parts)
{
	int fd = memfd_create("console", MFD_CLOEXEC);
	struct console c;
	bool has;

	assert_int_equal(console_init(&c, fd, NULL), 0);
	for (; *parts; parts++)
		console_write(&c, *parts, strlen(*parts));
	has = atomic_load(&c.has_panicked);
	console_fini(&c);
	return has;
}

static void sees_a_panic_however_it_is_cut(void **state)
{
	(void)state;
	assert_true(
		panics((const char *const[]){"x\n[ 1.0] Kernel panic - not syncing: y\n", NULL}));
	assert_true(panics((const char *const[]){"Kernel pan", "ic - not", " syncing", NULL}));
	assert_true(panics((const char *const[]){"KKernel panic - not syncing", NULL}));
	assert_true(
		panics((const char *const[]){"Kernel panic - Kernel panic - not syncing", NULL}));
	assert_false(panics((const char *const[]){"Kernel panic - not syncin", "", NULL}));
	assert_false(panics((const char *const[]){"all is well\n", NULL}));
}

static void refuses_a_log_that_cannot_be_written(void **state)
{
	int fd = open("/dev/null", O_RDONLY);
	struct console c;
	struct err e = {0};

	(void)state;
	assert_true(console_init(&c, fd, &e) < 0);
	assert_string_equal(e.object, "console");
	close(fd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(sees_a_panic_however_it_is_cut),
		cmocka_unit_test(refuses_a_log_that_cannot_be_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
