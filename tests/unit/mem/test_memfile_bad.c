// SPDX-License-Identifier: Apache-2.0
/* Files and runs that do not fit, and no room: errors, and nothing lost. */
#include "memfile_model.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void files_that_do_not_fit_are_refused(void **state)
{
	static const off_t sizes[] = {0, TOTAL - 1, TOTAL - (off_t)PAGE, TOTAL + 1};
	unsigned before = open_files();
	struct err e = {0};
	int pipes[2];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		int fd = new_file();
		struct gmem g = {.total = 42};

		e = (struct err){0};
		assert_return_code(ftruncate(fd, sizes[i]), errno);
		assert_int_equal(memfile_map(fd, ranges, N_RANGES, &g, &e), -EBADMSG);
		assert_string_equal(e.object, "memory");
		assert_true(e.cause[0] && e.remedy[0]);
		assert_int_equal(g.total, 42);
		close(fd);
	}
	assert_return_code(pipe(pipes), errno);
	assert_int_equal(memfile_map(pipes[0], ranges, 1, &(struct gmem){0}, &e), -EBADMSG);
	assert_int_equal(memfile_map(-1, ranges, 1, &(struct gmem){0}, &e), -EBADF);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(open_files(), before);
}

static void hostile_runs_are_refused(void **state)
{
	static const struct {
		struct memfile_run items[3];
		uint32_t n;
	} bad[] = {
		{{{0, 0}}, 1},
		{{{1, PAGE}}, 1},
		{{{0, PAGE + 512}}, 1},
		{{{TOTAL, PAGE}}, 1},
		{{{TOTAL - PAGE, 2 * PAGE}}, 1},
		{{{UINT64_MAX - PAGE + 1, PAGE}}, 1},
		{{{UINT64_MAX - PAGE + 1, 2 * PAGE}}, 1},
		{{{PAGE, UINT64_MAX - PAGE + 1}}, 1},
		{{{0, PAGE}, {0, PAGE}}, 2},
		{{{0, PAGE}, {PAGE, PAGE}}, 2}, /* they touch */
		{{{4 * PAGE, PAGE}, {0, PAGE}}, 2},
		{{{0, 3 * PAGE}, {2 * PAGE, PAGE}, {8 * PAGE, PAGE}}, 3},
		{{{0, PAGE}}, MEMFILE_RUNS_MAX + 1},
	};
	int fd = new_file(), packed = new_file();
	struct model m;

	(void)state;
	model_init(&m);
	save(&m, fd);
	remap(&m, fd);
	assert_return_code(ftruncate(packed, PAGE), errno);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct memfile_run items[3];
		struct memfile_runs runs = {items, bad[i].n};
		struct err e = {0};

		memcpy(items, bad[i].items, sizeof(items));
		assert_int_equal(memfile_map_runs(&m.g, packed, &runs, &e), -EBADMSG);
		assert_string_equal(e.object, "memory");
		assert_true(strstr(e.cause, "run") && e.remedy[0]);
	}
	assert_ram(&m.g, m.now);
	model_fini(&m);
	close(fd);
	close(packed);
}

static void a_packed_file_of_another_size_is_refused(void **state)
{
	struct memfile_run items[] = {{0, PAGES(2)}, {PAGES(9), PAGE}};
	struct memfile_runs runs = {items, 2}, none = {0};
	int fd = new_file(), packed = new_file();
	struct err e = {0};
	struct model m;

	(void)state;
	model_init(&m);
	assert_int_equal(memfile_map_runs(&m.g, packed, &none, &e), -EINVAL);
	save(&m, fd);
	remap(&m, fd);
	for (off_t bytes = 0; bytes <= 16384; bytes += 2048) {
		assert_return_code(ftruncate(packed, bytes), errno);
		e = (struct err){0};
		assert_int_equal(memfile_map_runs(&m.g, packed, &runs, &e),
			bytes == PAGES(3) ? 0 : -EBADMSG);
		if (bytes == PAGES(3))
			break;
		assert_true(e.cause[0] && e.remedy[0]);
	}
	assert_int_equal(memfile_map_runs(&m.g, packed, &runs, &e), -EINVAL); /* twice */
	model_fini(&m);
	close(fd);
	close(packed);
}

/* Runs `test` where no file may grow beyond `limit`, in a child that may fail as it likes. */
static void with_small_files(rlim_t limit, void (*test)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit});
		test();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static struct model full;

static void save_into_small_file(void)
{
	struct memfile_saved saved = {42, 42};
	struct memfile_runs runs = {.n = 42};
	struct err e = {0};
	int fd = new_file(), r;

	/* the child's pages are its own: what it saves is the same */
	full.pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	r = memfile_save(&full.g, full.pagemap_fd, fd, &saved, &e);
	if (r != -EFBIG || strcmp(e.object, "memory") || !e.cause[0] || !e.remedy[0] ||
		saved.data_bytes != 42)
		_exit(1);
	e = (struct err){0};
	r = memfile_save_diff(&full.g, NULL, full.pagemap_fd, fd, &runs, &saved, &e);
	if (r != -EFBIG || !e.remedy[0] || runs.n != 42)
		_exit(2);
}

static void no_room_is_said(void **state)
{
	int fd = new_file();

	(void)state;
	model_init(&full);
	disturb(&full, 100);
	save(&full, fd);
	remap(&full, fd);
	disturb(&full, 1000);
	with_small_files(2 * MIB, save_into_small_file);
	model_fini(&full);
	close(fd);
}

static int on_tiny_tmpfs(void)
{
	char dir[] = "/tmp/test_memfile.XXXXXX", path[64];
	int fd;

	if (!mkdtemp(dir) || mount("none", dir, "tmpfs", 0, "size=1m") < 0) {
		rmdir(dir);
		return -1;
	}
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return fd;
}

static void a_full_file_system_is_said(void **state)
{
	struct memfile_saved saved;
	struct err e = {0};
	struct model m;
	int fd = on_tiny_tmpfs();

	(void)state;
	if (fd < 0)
		skip(); /* not allowed to mount */
	model_init(&m);
	disturb(&m, 2000);
	assert_int_equal(memfile_save(&m.g, m.pagemap_fd, fd, &saved, &e), -ENOSPC);
	assert_string_equal(e.object, "memory");
	assert_true(strstr(e.remedy, "free space"));
	assert_ram(&m.g, m.now);
	model_fini(&m);
	close(fd);
}

static void a_base_that_shrank_is_an_error_not_a_crash(void **state)
{
	struct memfile_saved saved;
	struct err e = {0};
	int fd = disk_file(), to = disk_file();
	struct model m;

	(void)state;
	model_init(&m);
	for (uint64_t i = 0; i < N_PAGES; i++)
		write_page(&m, i, 1);
	save(&m, fd);
	remap(&m, fd);
	assert_return_code(ftruncate(fd, MIB + 100), errno);
	assert_int_equal(memfile_save(&m.g, m.pagemap_fd, to, &saved, &e), -ENODATA);
	assert_string_equal(e.object, "memory");
	model_fini(&m);
	close(fd);
	close(to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_that_do_not_fit_are_refused),
		cmocka_unit_test(hostile_runs_are_refused),
		cmocka_unit_test(a_packed_file_of_another_size_is_refused),
		cmocka_unit_test(no_room_is_said),
		cmocka_unit_test(a_full_file_system_is_said),
		cmocka_unit_test(a_base_that_shrank_is_an_error_not_a_crash),
	};

	return cmocka_run_group_tests_name("memfile_bad", tests, NULL, NULL);
}
