// SPDX-License-Identifier: Apache-2.0
/* The empty disk that VMs share, made by the real mke2fs. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/disk.h"
#include "api/handles.h"
#include "api/tool.h"
#include "oci/digest.h"

static struct store *store_of(const struct fixture *f)
{
	return f->image->store;
}

static void template_is_an_empty_file_system(void **state)
{
	struct fixture *f = *state;
	const char *const env[] = {"LC_ALL=C", NULL};
	char path[128];
	const char *const check[] = {"e2fsck", "-fn", path, NULL};
	struct err e = {0};
	struct stat st;
	char magic[2], option[16];
	int fd = disk_open_template(store_of(f), DISK_BYTES, &e);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, DISK_BYTES);
	assert_true(st.st_blocks < 2 * 1024); /* below 1 MiB of 8 GiB */
	assert_int_equal(st.st_mode & 0777, 0444);
	/* ext4: the superblock is at 1024; s_magic at 0x38, s_mount_opts at 0x200. */
	assert_int_equal(pread(fd, magic, 2, 1024 + 0x38), 2);
	assert_memory_equal(magic, "\x53\xef", 2);
	assert_int_equal(pread(fd, option, sizeof(option), 1024 + 0x200), sizeof(option));
	assert_string_equal(option, "noinit_itable");
	close(fd);
	fixture_path(f, "store/disks/ext4-1-8589934592", path);
	assert_int_equal(tool_run(check, env, &e), 0);
}

static void digest_of_template(struct store *s, struct digest *ret)
{
	struct err e = {0};
	char *data = malloc(DISK_BYTES_MIN);
	int fd = disk_open_template(s, DISK_BYTES_MIN, &e);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, data, DISK_BYTES_MIN), DISK_BYTES_MIN);
	digest_of(data, DISK_BYTES_MIN, ret);
	free(data);
	close(fd);
}

static void same_bytes_each_time(void **state)
{
	struct fixture *f = *state;
	struct digest a, b;
	char path[128];

	digest_of_template(store_of(f), &a);
	fixture_path(f, "store/disks/ext4-1-67108864", path);
	assert_int_equal(unlink(path), 0);
	sleep(1);
	digest_of_template(store_of(f), &b);
	assert_true(digest_equal(&a, &b));
}

static void *open_one(void *store)
{
	struct err e = {0};
	int fd = disk_open_template(store, DISK_BYTES_MIN, &e);
	struct stat st;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	close(fd);
	return (void *)(uintptr_t)st.st_ino;
}

static void made_once_by_many(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[8];
	void *inode, *first = NULL;

	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, open_one, store_of(f)), 0);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], &inode);
		first = i ? first : inode;
		assert_ptr_equal(inode, first);
	}
}

static void deltas_are_apart_and_nameless(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};
	char path[128], byte = 0;
	int a = disk_open_delta(store_of(f), &e), b = disk_open_delta(store_of(f), &e);

	assert_true(a >= 0 && b >= 0);
	assert_int_equal(pwrite(a, "x", 1, 5), 1);
	assert_int_equal(pread(b, &byte, 1, 5), 0);
	fixture_path(f, "store/disks", path);
	assert_int_equal(fixture_count_files(path), 0);
	close(a);
	close(b);
}

static void tools_tell_why(void **state)
{
	const char *const env[] = {NULL};
	struct err e = {0};

	(void)state;
	assert_int_equal(tool_run((const char *const[]){"no-such-tool", NULL}, env, &e), -ENOENT);
	assert_string_equal(e.object, "no-such-tool");
	assert_int_equal(tool_run((const char *const[]){"sh", "-c",
					  "echo a; echo the end >&2; exit 4", NULL},
				 env, &e),
		-EIO);
	assert_non_null(strstr(e.cause, "status 4: the end"));
}

static void sizes_are_checked(void **state)
{
	static const struct {
		uint64_t disk, tmpfs;
		const char *word;
	} cases[] = {
		{1 << 20, 0, "64 MiB to 16 TiB"},
		{(16ull << 40) + 1, 0, "64 MiB to 16 TiB"},
		{1ull << 30, 1 << 20, "not both"},
		{0, 1ull << 40, "does not fit"},
	};
	struct fixture *f = *state;
	struct sm_vm *vm;
	struct sm_error err;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sm_vm_options o = SM_INIT(o);

		o.kernel = f->kernel;
		o.disk_bytes = cases[i].disk;
		o.tmpfs_bytes = cases[i].tmpfs;
		assert_int_equal(sm_vm_start(f->image, &o, &vm, &err), SM_E_INVALID);
		if (!strstr(err.cause, cases[i].word))
			fail_msg("%zu: %s", i, err.cause);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			template_is_an_empty_file_system, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(same_bytes_each_time, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(made_once_by_many, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			deltas_are_apart_and_nameless, fixture_parts, fixture_end),
		cmocka_unit_test(tools_tell_why),
		cmocka_unit_test_setup_teardown(sizes_are_checked, fixture_parts, fixture_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
