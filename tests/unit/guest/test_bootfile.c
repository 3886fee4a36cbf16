// SPDX-License-Identifier: Apache-2.0
/* The boot configuration as a file, and the small files that init reads and writes. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest/bootfile.h"
#include "guest/file.h"
#include "guest/interp.h"

struct scratch {
	char dir[64];
	char path[96];
};

static int set_up(void **state)
{
	struct scratch *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	snprintf(s->dir, sizeof(s->dir), "/tmp/bootfile-test-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/file", s->dir);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scratch *s = *state;

	unlink(s->path);
	rmdir(s->path);
	assert_int_equal(rmdir(s->dir), 0);
	free(s);
	return 0;
}

static void put(const char *path, const void *data, size_t bytes)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, bytes, f), bytes);
	assert_int_equal(fclose(f), 0);
}

static void expect_refused(const char *path, int code, const char *cause)
{
	struct bootcfg c = {.n_layers = 4711};
	struct err e = {0};

	assert_int_equal(bootfile_read(path, &c, &e), code);
	assert_int_equal(c.n_layers, 4711);
	assert_string_equal(e.object, path);
	assert_true(e.remedy[0]);
	if (!strstr(e.cause, cause))
		fail_msg("\"%s\" is not said in \"%s\"", cause, e.cause);
}

static void good_file_is_read(void **state)
{
	struct scratch *s = *state;
	struct bootcfg in = {
		.n_layers = 24, .n_disks = 1, .tmpfs_bytes = 1 << 30, .hostname = "web-1.example"};
	struct bootcfg out;
	char text[BOOTCFG_TEXT_MAX];
	int n = bootcfg_encode(&in, text, sizeof(text));

	assert_true(n > 0);
	put(s->path, text, (size_t)n);
	assert_int_equal(bootfile_read(s->path, &out, NULL), 0);
	assert_memory_equal(&in, &out, sizeof(in));
}

static void bad_files_are_refused(void **state)
{
	static char big[BOOTCFG_TEXT_MAX + 1];
	static const char none[] = "version 2\nlayers 0\ndisks 0\ntmpfs 0\nhostname a\n";
	struct scratch *s = *state;

	expect_refused(s->path, -ENOENT, "No such file");
	put(s->path, "", 0);
	expect_refused(s->path, -EINVAL, "makes no sense");
	put(s->path, "nonsense", 8);
	expect_refused(s->path, -EINVAL, "makes no sense");
	put(s->path, big, sizeof(big));
	expect_refused(s->path, -E2BIG, "cannot be read");
	put(s->path, none, sizeof(none) - 1);
	expect_refused(s->path, -EINVAL, "names no image layer");
	unlink(s->path);
	assert_int_equal(mkfifo(s->path, 0600), 0);
	expect_refused(s->path, -EINVAL, "cannot be read");
	unlink(s->path);
	assert_int_equal(mkdir(s->path, 0700), 0);
	expect_refused(s->path, -EINVAL, "cannot be read");
}

static void directories_are_made(void **state)
{
	struct scratch *s = *state;
	char path[256], below[5000];
	struct stat st;

	snprintf(path, sizeof(path), "%s/a//b/c/", s->dir);
	assert_int_equal(file_make_dirs(path, 0755), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(file_make_dirs(path, 0755), 0);
	assert_int_equal(file_make_dirs("/", 0755), 0);
	for (char *p; strlen(path) > strlen(s->dir); *p = '\0') {
		rmdir(path);
		p = strrchr(path, '/');
	}
	assert_int_equal(file_make_dirs("/etc/passwd", 0755), -ENOTDIR);
	assert_int_equal(file_make_dirs("/etc/passwd/x", 0755), -ENOTDIR);
	memset(below, 'x', sizeof(below) - 1);
	below[0] = '/';
	below[sizeof(below) - 1] = '\0';
	assert_int_equal(file_make_dirs(below, 0755), -ENAMETOOLONG);
}

static void files_are_replaced(void **state)
{
	struct scratch *s = *state;
	autobuf struct buf b;

	buf_init(&b, 100);
	assert_int_equal(file_write(s->path, "a longer text\n"), 0);
	assert_int_equal(file_write(s->path, "text\n"), 0);
	assert_int_equal(file_read(s->path, &b), 0);
	assert_string_equal(buf_cstr(&b), "text\n");
	assert_int_equal(file_write("/no/such/file", "x"), -ENOENT);
	/* A FIFO that nobody reads does not hold the writer up. */
	unlink(s->path);
	assert_int_equal(mkfifo(s->path, 0600), 0);
	assert_int_equal(file_write(s->path, "x"), -ENXIO);
}

static void expect_interp(const struct scratch *s, const char *text, const char *want)
{
	char got[64];
	int r;

	put(s->path, text, strlen(text));
	r = interp_of(s->path, got, sizeof(got));
	if (want) {
		assert_int_equal(r, 0);
		assert_string_equal(got, want);
	} else {
		assert_int_equal(r, -ENOENT);
	}
}

static void interpreters_are_read(void **state)
{
	const struct scratch *s = *state;
	char elf[300], got[128];

	expect_interp(s, "#!/bin/sh", "/bin/sh");
	expect_interp(s, "#!\t /bin/sh -e\n", "/bin/sh");
	expect_interp(s, "#!/bin/sh\r\n", "/bin/sh");
	expect_interp(s, "#!\n", NULL);
	expect_interp(s, "#!", NULL);
	expect_interp(s, "", NULL);
	expect_interp(s, "x", NULL);
	assert_int_equal(interp_of("/bin/sh", got, sizeof(got)), 0);
	assert_non_null(strstr(got, "/ld-"));
	assert_int_equal(interp_of("/bin/sh", got, 3), -ENOENT);
	/* ELF heads that lie about what follows. */
	memset(elf, 0xff, sizeof(elf));
	memcpy(elf, "\177ELF\2\1\1", 7);
	put(s->path, elf, sizeof(elf));
	assert_true(interp_of(s->path, got, sizeof(got)) < 0);
	memset(elf + 7, 0, sizeof(elf) - 7);
	elf[32] = 64; /* e_phoff */
	elf[56] = 1;  /* e_phnum */
	elf[64] = 3;  /* PT_INTERP, without bytes */
	put(s->path, elf, sizeof(elf));
	assert_int_equal(interp_of(s->path, got, sizeof(got)), -ENOENT);
	elf[64 + 32] = 100;  /* p_filesz */
	elf[64 + 8 + 4] = 1; /* p_offset: 4 GiB */
	put(s->path, elf, sizeof(elf));
	assert_true(interp_of(s->path, got, sizeof(got)) < 0);
}

#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(good_file_is_read),
		SCRATCH_TEST(bad_files_are_refused),
		SCRATCH_TEST(directories_are_made),
		SCRATCH_TEST(files_are_replaced),
		SCRATCH_TEST(interpreters_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
