// SPDX-License-Identifier: Apache-2.0
/* Disks, entropy and the console ring on real descriptors. */
#include "backend/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend/console_ring.h"
#include "backend/entropy.h"

static int make_file(off_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_return_code(fd, 0);
	assert_return_code(ftruncate(fd, bytes), 0);
	return fd;
}

static void vectors_arrive_where_they_belong(void **state)
{
	char a[700], b[324], c[1024], back[2048];
	struct iovec out[] = {{a, sizeof(a)}, {b, sizeof(b)}, {c, sizeof(c)}};
	struct iovec in = {back, sizeof(back)};
	struct err e = {0};
	struct disk *d;

	(void)state;
	memset(a, 1, sizeof(a));
	memset(b, 2, sizeof(b));
	memset(c, 3, sizeof(c));
	assert_int_equal(disk_raw_new(make_file(8192), false, &d, &e), 0);
	assert_int_equal(d->bytes, 8192);
	assert_int_equal(d->ops->write(d, out, 3, 4096), 0);
	assert_int_equal(d->ops->read(d, &in, 1, 4096), 0);
	assert_memory_equal(back, a, 700);
	assert_memory_equal(back + 700, b, 324);
	assert_memory_equal(back + 1024, c, 1024);
	assert_int_equal(d->ops->flush(d), 0);
	assert_int_equal(d->ops->discard(d, 4096, 4096), 0);
	assert_int_equal(d->ops->read(d, &in, 1, 4096), 0);
	for (size_t i = 0; i < sizeof(back); i++)
		assert_int_equal(back[i], 0);
	disk_free(d);
}

static void zeroes_are_written_where_no_hole_may_be(void **state)
{
	char dirty[4096 * 3], back[4096 * 3];
	struct iovec iov = {dirty, sizeof(dirty)}, in = {back, sizeof(back)};
	struct stat before, after;
	struct err e = {0};
	struct disk *d;
	int fd = make_file(4096 * 3);

	(void)state;
	memset(dirty, 7, sizeof(dirty));
	assert_int_equal(disk_raw_new(fd, false, &d, &e), 0);
	assert_int_equal(d->ops->write(d, &iov, 1, 0), 0);
	assert_return_code(fstat(fd, &before), 0);
	assert_int_equal(d->ops->write_zeroes(d, 512, 4096 * 2, false), 0);
	assert_return_code(fstat(fd, &after), 0);
	assert_int_equal(before.st_blocks, after.st_blocks);
	assert_int_equal(d->ops->read(d, &in, 1, 0), 0);
	for (int i = 0; i < 4096 * 3; i++)
		assert_int_equal(back[i], i >= 512 && i < 512 + 4096 * 2 ? 0 : 7);
	disk_free(d);
}

static void a_file_that_shrinks_is_an_error(void **state)
{
	char back[1024];
	struct iovec in = {back, sizeof(back)};
	struct err e = {0};
	struct disk *d;
	int fd = make_file(8192);

	(void)state;
	assert_int_equal(disk_raw_new(fd, true, &d, &e), 0);
	assert_return_code(ftruncate(fd, 4096 + 512), 0);
	assert_int_equal(d->ops->read(d, &in, 1, 4096), -EIO);
	assert_int_equal(d->ops->read(d, &in, 1, 7168), -EIO);
	disk_free(d);
}

static void errors_of_the_host_come_through(void **state)
{
	char byte[512] = {0};
	struct iovec iov = {byte, sizeof(byte)};
	struct err e = {0};
	struct disk *d;
	char path[64];
	int fd = make_file(4096), reopened;

	(void)state;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reopened = open(path, O_RDONLY | O_CLOEXEC);
	assert_return_code(reopened, 0);
	assert_int_equal(disk_raw_new(reopened, false, &d, &e), 0);
	assert_int_equal(d->ops->write(d, &iov, 1, 0), -EBADF);
	assert_int_equal(d->ops->discard(d, 0, 512), -EBADF);
	disk_free(d);
	close(fd);
}

static void what_is_no_disk_is_refused(void **state)
{
	struct err e = {0};
	struct disk *d = NULL;
	int pipes[2], fd;

	(void)state;
	assert_return_code(pipe(pipes), 0);
	assert_int_equal(disk_raw_new(pipes[0], true, &d, &e), -ENOTBLK);
	assert_true(e.remedy[0]);
	close(pipes[0]);
	close(pipes[1]);
	fd = make_file(0);
	assert_int_equal(disk_raw_new(fd, true, &d, &e), -EINVAL);
	assert_return_code(ftruncate(fd, 1000), 0);
	assert_int_equal(disk_raw_new(fd, false, &d, &e), -EINVAL);
	assert_non_null(strstr(e.cause, "512"));
	assert_null(d);
	assert_return_code(fcntl(fd, F_GETFD), 0); /* it is still the caller's */
	close(fd);
	disk_free(NULL);
}

static void entropy_is_bounded_and_random(void **state)
{
	uint8_t *big = calloc(1, ENTROPY_REQUEST_MAX + 100), a[32] = {0}, b[32] = {0};
	struct iovec iov[] = {{a, 32}, {b, 32}, {big, ENTROPY_REQUEST_MAX + 100}};

	(void)state;
	assert_non_null(big);
	assert_int_equal(entropy_fill(iov, 2), 64);
	assert_memory_not_equal(a, b, 32);
	assert_int_equal(entropy_fill(iov, 3), ENTROPY_REQUEST_MAX);
	for (int i = ENTROPY_REQUEST_MAX - 64; i < ENTROPY_REQUEST_MAX + 100; i++)
		assert_int_equal(big[i], 0);
	assert_int_equal(entropy_fill(iov, 0), 0);
	free(big);
}

static uint64_t count_of(int fd)
{
	uint64_t count = 0;

	assert_int_equal(pread(fd, &count, sizeof(count), 0), sizeof(count));
	return count;
}

static void the_ring_keeps_the_newest_bytes(void **state)
{
	struct console_ring c;
	char ring[16];
	int fd = make_file(0);

	(void)state;
	assert_int_equal(console_ring_init(&c, fd, 64, sizeof(ring)), 0);
	assert_int_equal(count_of(fd), 0);
	console_ring_write(&c, "hello ", 6);
	console_ring_write(&c, "0123456789ABCDEF", 16);
	assert_int_equal(count_of(fd), 22);
	assert_int_equal(pread(fd, ring, sizeof(ring), 64), sizeof(ring));
	assert_memory_equal(ring, "ABCDEF0123456789", 16);
	console_ring_write(&c, "much longer than the ring is, thrice", 36);
	assert_int_equal(count_of(fd), 58);
	assert_int_equal(pread(fd, ring, sizeof(ring), 64), sizeof(ring));
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(
			ring[(58 - 16 + i) % 16], ("much longer than the ring is, thrice" + 20)[i]);
	assert_int_equal(lseek(fd, 0, SEEK_END), 64 + 16);
	close(fd);
}

static void a_ring_that_cannot_be_written_is_silent(void **state)
{
	struct console_ring c;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_true(console_ring_init(&c, fd, 64, 16) < 0);
	c.error = 0;
	console_ring_write(&c, "x", 1);
	assert_true(c.error < 0);
	console_ring_write(&c, "x", 1);
	assert_int_equal(c.written, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_arrive_where_they_belong),
		cmocka_unit_test(zeroes_are_written_where_no_hole_may_be),
		cmocka_unit_test(a_file_that_shrinks_is_an_error),
		cmocka_unit_test(errors_of_the_host_come_through),
		cmocka_unit_test(what_is_no_disk_is_refused),
		cmocka_unit_test(entropy_is_bounded_and_random),
		cmocka_unit_test(the_ring_keeps_the_newest_bytes),
		cmocka_unit_test(a_ring_that_cannot_be_written_is_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
