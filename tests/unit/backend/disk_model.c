// SPDX-License-Identifier: Apache-2.0
#include "disk_model.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/sparse.h"

enum { IOVS = 9 };

static uint64_t seed = 88172645463325252ull;

uint64_t any(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static int disk_file(void)
{
	char path[] = "/tmp/test_disk_overlay.XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_return_code(fd, errno);
	unlink(path);
	return fd;
}

/* On a disk's file system and in memory by turns: they find holes in different ways. */
int new_file(void)
{
	static unsigned n;
	int fd = n++ % 2 ? disk_file() : memfd_create("test", MFD_CLOEXEC);

	assert_return_code(fd, errno);
	return fd;
}

/* A base with data and holes, and what it reads as. */
int new_base(uint8_t *content)
{
	int fd = new_file();

	memset(content, 0, BYTES);
	assert_return_code(ftruncate(fd, BYTES), errno);
	for (uint64_t at = 0; at < BYTES;) {
		uint64_t n = (1 + any(20)) * CLUSTER;

		n = MIN(n, BYTES - at);
		if (any(2)) {
			for (uint64_t i = 0; i < n; i++)
				content[at + i] = (uint8_t)any(256);
			assert_int_equal(pwrite(fd, content + at, n, (off_t)at), n);
		}
		at += n;
	}
	return fd;
}

void model_init(struct model *m, int base_fd, const uint8_t *content)
{
	struct err e = {0};

	m->now = malloc(BYTES);
	assert_non_null(m->now);
	memcpy(m->now, content, BYTES);
	assert_int_equal(disk_overlay_new(dup(base_fd), new_file(), &m->d, &e), 0);
	assert_int_equal(m->d->bytes, BYTES);
	assert_false(m->d->is_read_only);
}

void model_fini(struct model *m)
{
	disk_free(m->d);
	free(m->now);
}

/* Cuts the buffer into some pieces, as guests do. */
static unsigned cut(struct iovec *iov, uint8_t *data, uint64_t bytes)
{
	unsigned n = 0;

	while (n < IOVS - 1 && bytes) {
		uint64_t here = 1 + any(bytes);

		iov[n++] = (struct iovec){data, here};
		data += here;
		bytes -= here;
	}
	if (bytes)
		iov[n++] = (struct iovec){data, bytes};
	return n;
}

void read_some(struct model *m, uint64_t at, uint64_t bytes)
{
	struct iovec iov[IOVS];
	uint8_t *data = malloc(bytes);
	unsigned n = cut(iov, data, bytes);

	memset(data, 0xee, bytes);
	assert_int_equal(m->d->ops->read(m->d, iov, n, at), 0);
	assert_int_equal(memcmp(data, m->now + at, bytes), 0);
	free(data);
}

void write_some(struct model *m, uint64_t at, uint64_t bytes)
{
	struct iovec iov[IOVS];
	uint8_t *data = malloc(bytes);
	unsigned n = cut(iov, data, bytes);
	uint8_t fill = (uint8_t)any(256);

	for (uint64_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(fill * (i / 100));
	assert_int_equal(m->d->ops->write(m->d, iov, n, at), 0);
	memcpy(m->now + at, data, bytes);
	free(data);
}

static void discard_some(struct model *m, uint64_t at, uint64_t bytes)
{
	uint64_t first = ALIGN_UP(at, CLUSTER), end = ALIGN_DOWN(at + bytes, CLUSTER);

	assert_int_equal(m->d->ops->discard(m->d, at, bytes), 0);
	if (first < end)
		memset(m->now + first, 0, end - first);
}

void disturb(struct model *m, unsigned n)
{
	while (n--) {
		uint64_t at = any(BYTES / SECTOR) * SECTOR, kind = any(10);
		uint64_t bytes = (1 + any(kind < 5 ? 30 : 200)) * SECTOR;

		bytes = MIN(bytes, BYTES - at);
		if (kind < 4)
			write_some(m, at, bytes);
		else if (kind < 8)
			read_some(m, at, bytes);
		else if (kind < 9)
			discard_some(m, at, bytes);
		else {
			assert_int_equal(m->d->ops->write_zeroes(m->d, at, bytes, any(2) != 0), 0);
			memset(m->now + at, 0, bytes);
		}
	}
}

void assert_disk(struct model *m)
{
	read_some(m, 0, BYTES);
}

void assert_saved(int fd, const struct disk_saved *saved)
{
	uint64_t checksum = 0, data = 0;
	struct err e = {0};

	assert_int_equal(sparse_checksum(fd, &checksum, &data, &e), 0);
	assert_int_equal(checksum, saved->checksum);
	assert_int_equal(data, saved->data_bytes);
}

void assert_file(int fd, const uint8_t *want)
{
	uint8_t *got = malloc(BYTES + 1);

	assert_int_equal(pread(fd, got, BYTES + 1, 0), BYTES);
	assert_int_equal(memcmp(got, want, BYTES), 0);
	free(got);
}

int save(struct model *m)
{
	struct disk_saved saved;
	struct err e = {0};
	int fd = new_file();

	assert_int_equal(disk_overlay_save(m->d, fd, &saved, &e), 0);
	assert_file(fd, m->now);
	assert_saved(fd, &saved);
	return fd;
}

unsigned open_files(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}
