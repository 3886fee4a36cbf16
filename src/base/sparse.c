// SPDX-License-Identifier: Apache-2.0
/*
 * The checksum: for each page that is not all zeroes, in ascending order, checksum_more over its
 * offset (le64), then over its bytes. The last page of a file that ends inside one is taken as if
 * zeroes followed.
 */
#include "base/sparse.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/fd.h"
#include "base/le.h"

enum { READ_BYTES = 1 << 20, STRIDE_WORDS = 8 };

/* Most pages that hold anything say so in their first cache lines. */
static bool is_zero(const uint8_t *page)
{
	uint64_t words[STRIDE_WORDS], any;

	for (size_t at = 0; at < SPARSE_PAGE_BYTES; at += sizeof(words)) {
		memcpy(words, page + at, sizeof(words));
		any = 0;
		for (unsigned i = 0; i < STRIDE_WORDS; i++)
			any |= words[i];
		if (any)
			return false;
	}
	return true;
}

static uint64_t add_page(uint64_t checksum, uint64_t offset, const uint8_t *page)
{
	uint8_t place[sizeof(offset)];

	le64_store(place, offset);
	checksum = checksum_more(checksum, place, sizeof(place));
	return checksum_more(checksum, page, SPARSE_PAGE_BYTES);
}

void sparse_begin(struct sparse_writer *w, int fd)
{
	*w = (struct sparse_writer){.fd = fd};
}

/* How many bytes of pages follow that are all alike in being zeroes or not; those that are not go
 * into the checksum. */
static uint64_t measure_run(struct sparse_writer *w, uint64_t offset, const uint8_t *data,
	uint64_t bytes, bool *ret_is_zero)
{
	bool first = is_zero(data);
	uint64_t at = 0;

	do {
		if (!first)
			w->checksum = add_page(w->checksum, offset + at, data + at);
		at += SPARSE_PAGE_BYTES;
	} while (at < bytes && is_zero(data + at) == first);
	*ret_is_zero = first;
	return at;
}

int sparse_write(struct sparse_writer *w, uint64_t offset, const void *data, uint64_t bytes)
{
	const uint8_t *from = data;
	uint64_t end;

	if (offset % SPARSE_PAGE_BYTES || bytes % SPARSE_PAGE_BYTES || offset < w->end ||
		add_overflows(offset, bytes, &end) || end > INT64_MAX)
		return -EINVAL;
	while (bytes) {
		bool is_hole;
		uint64_t run = measure_run(w, offset, from, bytes, &is_hole);
		int r = is_hole ? 0 : fd_pwrite_full(w->fd, from, run, (off_t)offset);

		if (r < 0)
			return r;
		if (!is_hole)
			w->data_bytes += run;
		from += run;
		offset += run;
		bytes -= run;
	}
	w->end = end;
	return 0;
}

int sparse_end(struct sparse_writer *w, uint64_t bytes)
{
	if (bytes < w->end || bytes > INT64_MAX)
		return -EINVAL;
	return ftruncate(w->fd, (off_t)bytes) < 0 ? -errno : 0;
}

int sparse_next_data(int fd, uint64_t from, uint64_t size, uint64_t *ret_at, uint64_t *ret_end)
{
	off_t data = lseek(fd, (off_t)from, SEEK_DATA), hole;

	if (data < 0 && errno == ENXIO)
		return 0;
	/* A file system that cannot tell: all of it may be data. */
	if (data < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) {
		*ret_at = from;
		*ret_end = size;
		return 1;
	}
	hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
	if (hole < 0)
		return -errno;
	*ret_at = ALIGN_DOWN((uint64_t)data, (uint64_t)SPARSE_PAGE_BYTES);
	*ret_end = MIN(ALIGN_UP((uint64_t)hole, (uint64_t)SPARSE_PAGE_BYTES), size);
	return 1;
}

/* Adds the pages of [at, end) of the file, which may end inside one. Returns 0 or -errno. */
static int add_piece(struct sparse_writer *sum, int fd, uint64_t at, uint64_t end, uint8_t *room)
{
	while (at < end) {
		size_t bytes = (size_t)MIN(end - at, (uint64_t)READ_BYTES);
		size_t whole = ALIGN_UP(bytes, (size_t)SPARSE_PAGE_BYTES);
		int r = fd_pread_full(fd, room, bytes, (off_t)at);

		if (r < 0)
			return r;
		memset(room + bytes, 0, whole - bytes);
		for (size_t i = 0; i < whole; i += SPARSE_PAGE_BYTES) {
			if (is_zero(room + i))
				continue;
			sum->checksum = add_page(sum->checksum, at + i, room + i);
			sum->data_bytes += SPARSE_PAGE_BYTES;
		}
		at += bytes;
	}
	return 0;
}

static int add_file(struct sparse_writer *sum, int fd, uint64_t size, uint8_t *room)
{
	uint64_t from = 0, at, end;

	while (from < size) {
		int r = sparse_next_data(fd, from, size, &at, &end);

		if (r <= 0)
			return r;
		r = add_piece(sum, fd, at, end, room);
		if (r < 0)
			return r;
		from = end;
	}
	return 0;
}

int sparse_checksum(int fd, uint64_t *ret_checksum, uint64_t *ret_data_bytes, struct err *e)
{
	autofree uint8_t *room = malloc(READ_BYTES);
	struct sparse_writer sum;
	struct stat st;
	int r;

	if (!room)
		return err_set(e, -ENOMEM, "no memory to read it");
	if (fstat(fd, &st) < 0)
		return err_sys(e, "ask for its size");
	sparse_begin(&sum, fd);
	r = add_file(&sum, fd, (uint64_t)st.st_size, room);
	if (r == -ENODATA)
		return err_set(e, r, "it became shorter while it was read");
	if (r < 0) {
		errno = -r;
		return err_sys(e, "read it");
	}
	*ret_checksum = sum.checksum;
	*ret_data_bytes = sum.data_bytes;
	return 0;
}
