// SPDX-License-Identifier: Apache-2.0
/* Files and runs that do not fit, and no room: errors, and nothing lost. */
#include "disk_model.h"

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

#include "base/buf.h"
#include "base/snapio.h"

static void files_that_do_not_fit_are_refused(void **state)
{
	static const off_t sizes[] = {0, 1, 512, 4095, 4097, 8192 + 512};
	unsigned before = open_files();
	struct disk *d = NULL;
	struct err e = {0};
	int base, own = new_file(), pipes[2];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		base = new_file();
		e = (struct err){0};
		assert_return_code(ftruncate(base, sizes[i]), errno);
		assert_int_equal(disk_overlay_new(base, own, &d, &e), -EINVAL);
		assert_string_equal(e.object, "disk");
		assert_true(e.cause[0] && e.remedy[0]);
		close(base);
	}
	assert_return_code(pipe(pipes), errno);
	assert_int_equal(disk_overlay_new(pipes[0], own, &d, &e), -EINVAL);
	base = new_file();
	assert_return_code(ftruncate(base, 8192), errno);
	assert_int_equal(disk_overlay_new(base, pipes[1], &d, &e), -EINVAL);
	assert_int_equal(disk_overlay_new(base, base, &d, &e), -EINVAL);
	assert_int_equal(disk_overlay_new(base, -1, &d, &e), -EBADF);
	assert_int_equal(disk_overlay_new(-1, own, &d, &e), -EBADF);
	assert_null(d);
	assert_int_equal(disk_overlay_new(base, own, &d, &e), 0);
	disk_free(d);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(open_files(), before); /* base and own went with the disk */
}

static void other_disks_are_refused(void **state)
{
	struct disk_runs runs = {.n = 42};
	struct disk_saved saved;
	struct err e = {0};
	struct disk *d;
	int fd = new_file();

	(void)state;
	assert_return_code(ftruncate(fd, 8192), errno);
	assert_int_equal(disk_raw_new(fd, false, &d, &e), 0);
	assert_int_equal(disk_overlay_save(d, fd, &saved, &e), -EINVAL);
	assert_int_equal(disk_overlay_save_diff(d, fd, &runs, &saved, &e), -EINVAL);
	assert_int_equal(disk_overlay_load_diff(d, fd, &(struct disk_runs){0}, &e), -EINVAL);
	assert_int_equal(disk_overlay_rollback(d, &e), -EINVAL);
	assert_int_equal(runs.n, 42);
	disk_free(d);
}

static void hostile_runs_are_refused(void **state)
{
	static const struct {
		struct disk_run items[3];
		uint32_t n;
		uint64_t bytes;
	} bad[] = {
		{{{0, 0}}, 1, 0},
		{{{512, CLUSTER}}, 1, CLUSTER},
		{{{0, CLUSTER + 512}}, 1, CLUSTER + 512},
		{{{BYTES, CLUSTER}}, 1, CLUSTER},
		{{{BYTES - CLUSTER, 2 * CLUSTER}}, 1, 2 * CLUSTER},
		{{{UINT64_MAX - CLUSTER + 1, CLUSTER}}, 1, CLUSTER},
		{{{UINT64_MAX - CLUSTER + 1, 2 * CLUSTER}}, 1, 2 * CLUSTER},
		{{{CLUSTER, UINT64_MAX - CLUSTER + 1}}, 1, CLUSTER},
		{{{0, CLUSTER}, {0, CLUSTER}}, 2, 2 * CLUSTER},
		{{{4 * CLUSTER, CLUSTER}, {0, CLUSTER}}, 2, 2 * CLUSTER},
		{{{0, 3 * CLUSTER}, {2 * CLUSTER, CLUSTER}}, 2, 4 * CLUSTER},
		{{{0, CLUSTER}}, DISK_RUNS_MAX + 1, CLUSTER},
		{{{0, CLUSTER}}, UINT32_MAX, CLUSTER},
		{{{0, CLUSTER}, {4 * CLUSTER, CLUSTER}}, 2, CLUSTER}, /* file too small */
		{{{0, CLUSTER}, {4 * CLUSTER, CLUSTER}}, 2, 3 * CLUSTER},
		{{{0, CLUSTER}}, 0, CLUSTER},
	};
	static uint8_t content[BYTES];
	int base = new_base(content), pipes[2];
	struct err e = {0};
	struct model m;

	(void)state;
	model_init(&m, base, content);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct disk_run items[3];
		struct disk_runs runs = {items, bad[i].n};
		int fd = new_file();

		e = (struct err){0};
		memcpy(items, bad[i].items, sizeof(items));
		assert_return_code(ftruncate(fd, (off_t)bad[i].bytes), errno);
		assert_int_equal(disk_overlay_load_diff(m.d, fd, &runs, &e), -EBADMSG);
		assert_string_equal(e.object, "disk");
		assert_true(e.cause[0] && e.remedy[0]);
		close(fd);
	}
	assert_return_code(pipe(pipes), errno);
	assert_int_equal(
		disk_overlay_load_diff(m.d, pipes[0], &(struct disk_runs){0}, &e), -EBADMSG);
	close(pipes[0]);
	close(pipes[1]);
	assert_disk(&m);
	write_some(&m, 0, CLUSTER);
	e = (struct err){0};
	assert_int_equal(disk_overlay_load_diff(m.d, base, &(struct disk_runs){0}, &e), -EINVAL);
	assert_disk(&m);
	model_fini(&m);
	close(base);
}

static void runs_come_back_as_saved(void **state)
{
	struct disk_run items[] = {{0, CLUSTER}, {3 * CLUSTER, 2 * CLUSTER}};
	struct err e = {0};

	(void)state;
	for (uint32_t n = 0; n <= ARRAY_LEN(items); n++) {
		struct disk_runs runs = {items, n}, back = {0};
		autobuf struct buf b;
		struct snapio io;

		buf_init(&b, 4096);
		snapio_save_to(&io, "disk", 1, &b);
		disk_runs_snap(&runs, &io);
		assert_int_equal(snapio_end(&io, &e), 0);
		snapio_load_from(&io, "disk", 1, b.data, b.bytes);
		disk_runs_snap(&back, &io);
		assert_int_equal(snapio_end(&io, &e), 0);
		assert_int_equal(back.n, n);
		assert_memory_equal(back.items, items, n * sizeof(items[0]));
		free(back.items);
		for (size_t cut_at = 0; cut_at < b.bytes; cut_at++) {
			back = (struct disk_runs){.n = 42};
			snapio_load_from(&io, "disk", 1, b.data, cut_at);
			disk_runs_snap(&back, &io);
			assert_int_equal(snapio_end(&io, &e), -EBADMSG);
			assert_null(back.items);
		}
	}
}

static void the_number_of_runs_is_bounded(void **state)
{
	struct disk_runs back = {0};
	uint32_t n = DISK_RUNS_MAX + 1;
	struct err e = {0};
	autobuf struct buf b;
	struct snapio io;

	(void)state;
	buf_init(&b, 4096);
	snapio_save_to(&io, "disk", 1, &b);
	snapio_count(&io, "n_runs", &n, UINT32_MAX);
	assert_int_equal(snapio_end(&io, &e), 0);
	snapio_load_from(&io, "disk", 1, b.data, b.bytes);
	disk_runs_snap(&back, &io);
	assert_int_equal(snapio_end(&io, &e), -EBADMSG);
	assert_null(back.items);
}

/* An empty file on a file system of its own; -1 when it may not be mounted. */
static int file_on(const char *type, const char *options)
{
	char dir[] = "/tmp/test_disk_overlay.XXXXXX", path[64];
	int fd;

	if (!mkdtemp(dir) || mount("none", dir, type, 0, options) < 0) {
		rmdir(dir);
		return -1;
	}
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return fd;
}

/* A guest that fills the host's file system: its write fails, what was there stays, and there is
 * room again once it gives some up. */
static void a_full_file_system_fails_a_write_and_no_more(void **state)
{
	static uint8_t content[BYTES];
	int base = new_base(content), own = file_on("tmpfs", "size=256k"), to;
	uint8_t *data = malloc(300 << 10);
	struct iovec iov = {data, 300 << 10}, small = {data, 4096};
	struct disk_saved saved = {.checksum = 42};
	struct err e = {0};
	struct model m;

	(void)state;
	if (own < 0) {
		free(data);
		close(base);
		skip(); /* not allowed to mount */
	}
	memset(data, 9, 300 << 10);
	m.now = memcpy(malloc(BYTES), content, BYTES);
	assert_int_equal(disk_overlay_new(base, own, &m.d, &e), 0);
	write_some(&m, 600 << 10, 64 << 10);
	assert_int_equal(m.d->ops->write(m.d, &iov, 1, 512), -ENOSPC);
	assert_disk(&m);
	assert_int_equal(m.d->ops->write_zeroes(m.d, 0, 300 << 10, false), 0);
	memset(m.now, 0, 300 << 10);
	assert_disk(&m);
	assert_int_equal(m.d->ops->write(m.d, &small, 1, 8192), 0);
	memcpy(m.now + 8192, data, 4096);
	assert_disk(&m);
	to = file_on("tmpfs", "size=256k");
	assert_int_equal(disk_overlay_save(m.d, to, &saved, &e), -ENOSPC);
	assert_string_equal(e.object, "disk");
	assert_true(strstr(e.remedy, "free space"));
	assert_int_equal(saved.checksum, 42);
	assert_disk(&m);
	model_fini(&m);
	free(data);
	close(to);
}

/* ramfs can neither punch nor find holes. */
static void a_file_system_without_holes_will_do(void **state)
{
	static uint8_t content[BYTES];
	int base = new_base(content), own = file_on("ramfs", "");
	struct model m;

	(void)state;
	if (own < 0) {
		close(base);
		skip(); /* not allowed to mount */
	}
	m.now = memcpy(malloc(BYTES), content, BYTES);
	assert_int_equal(disk_overlay_new(base, own, &m.d, NULL), 0);
	for (unsigned i = 0; i < 40; i++) {
		uint64_t at = any(BYTES / 2 / SECTOR) * SECTOR;
		uint64_t bytes = (1 + any(700)) * SECTOR;

		write_some(&m, at, bytes / 2);
		assert_int_equal(m.d->ops->discard(m.d, at, bytes),
			ALIGN_UP(at, CLUSTER) < ALIGN_DOWN(at + bytes, CLUSTER) ? -EOPNOTSUPP : 0);
		assert_disk(&m);
		at = any(BYTES / 2 / SECTOR) * SECTOR;
		assert_int_equal(m.d->ops->write_zeroes(m.d, at, bytes, true), 0);
		memset(m.now + at, 0, bytes);
		assert_disk(&m);
	}
	close(save(&m));
	model_fini(&m);
}

static void write_beyond_the_limit(struct model *m)
{
	uint8_t data[64 << 10] = {1};
	struct iovec iov = {data, sizeof(data)};
	struct disk_saved saved;
	struct disk_runs runs;
	struct err e = {0};

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){BYTES / 2, BYTES / 2});
	/* the first part of the request fits: a short transfer, then the error */
	if (m->d->ops->write(m->d, &iov, 1, BYTES / 2 / CLUSTER * CLUSTER - (32 << 10)) != -EFBIG)
		_exit(1);
	assert_disk(m);
	if (disk_overlay_save(m->d, new_file(), &saved, &e) != -EFBIG || !e.remedy[0])
		_exit(2);
	if (disk_overlay_new(new_file(), new_file(), &m->d, &e) != -EINVAL)
		_exit(3);
	if (disk_overlay_save_diff(m->d, new_file(), &runs, &saved, &e) < 0)
		_exit(4);
	_exit(0);
}

static void a_short_transfer_is_finished_or_fails(void **state)
{
	static uint8_t content[BYTES];
	int base = new_base(content), status;
	struct model m;
	pid_t pid;

	(void)state;
	assert_int_equal(pwrite(base, "data", 4, BYTES - 4096), 4);
	memcpy(content + BYTES - 4096, "data", 4);
	model_init(&m, base, content);
	pid = fork();
	if (pid == 0)
		write_beyond_the_limit(&m);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	model_fini(&m);
	close(base);
}

static void a_base_that_shrank_is_an_error(void **state)
{
	static uint8_t content[BYTES];
	int base = new_base(content);
	struct disk_saved saved;
	char data[8192];
	struct iovec iov = {data, sizeof(data)}, some = {data, 512};
	struct err e = {0};
	struct model m;

	(void)state;
	model_init(&m, base, content);
	assert_return_code(ftruncate(base, CLUSTER + 512), errno);
	assert_int_equal(m.d->ops->read(m.d, &iov, 1, 0), -EIO);
	assert_int_equal(m.d->ops->write(m.d, &some, 1, 2 * CLUSTER), -EIO); /* the rest of it */
	assert_int_equal(pwrite(base, "x", 1, CLUSTER), 1);
	assert_int_equal(disk_overlay_save(m.d, new_file(), &saved, &e), -ENODATA);
	assert_string_equal(e.object, "disk");
	model_fini(&m);
	close(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_that_do_not_fit_are_refused),
		cmocka_unit_test(other_disks_are_refused),
		cmocka_unit_test(hostile_runs_are_refused),
		cmocka_unit_test(runs_come_back_as_saved),
		cmocka_unit_test(the_number_of_runs_is_bounded),
		cmocka_unit_test(a_full_file_system_fails_a_write_and_no_more),
		cmocka_unit_test(a_file_system_without_holes_will_do),
		cmocka_unit_test(a_short_transfer_is_finished_or_fails),
		cmocka_unit_test(a_base_that_shrank_is_an_error),
	};

	return cmocka_run_group_tests_name("disk_overlay_bad", tests, NULL, NULL);
}
