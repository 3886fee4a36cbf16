// SPDX-License-Identifier: Apache-2.0
#include "backend/disk_io.h"

#include <errno.h>
#include <fcntl.h>

/* FALLOC_FL_ of linux/falloc.h, which not every libc has */
enum { KEEP_SIZE = 0x1, PUNCH_HOLE = 0x2, ZERO_RANGE = 0x10 };

typedef ssize_t vector_io(int fd, const struct iovec *iov, int n, off_t at);

/* Goes on after a short transfer, buffer by buffer: rare, so simple. Returns the bytes moved, fewer
 * than the list only at the end of the file, or -errno. */
static ssize_t finish(
	vector_io *io, int fd, const struct iovec *iov, unsigned n, size_t done, uint64_t offset)
{
	size_t before = 0;

	for (unsigned i = 0; i < n; i++) {
		while (done < before + iov[i].iov_len) {
			struct iovec rest = {(char *)iov[i].iov_base + (done - before),
				iov[i].iov_len - (done - before)};
			ssize_t got = io(fd, &rest, 1, (off_t)(offset + done));

			if (got < 0 && errno == EINTR)
				continue;
			if (got < 0)
				return -errno;
			if (got == 0)
				return (ssize_t)done;
			done += (size_t)got;
		}
		before += iov[i].iov_len;
	}
	return (ssize_t)done;
}

static ssize_t move(
	vector_io *io, int fd, const struct iovec *iov, unsigned n, size_t bytes, uint64_t offset)
{
	ssize_t got = io(fd, iov, (int)n, (off_t)offset);

	if (got < 0 && errno != EINTR)
		return -errno;
	if (got == (ssize_t)bytes)
		return got;
	return finish(io, fd, iov, n, got < 0 ? 0 : (size_t)got, offset);
}

ssize_t disk_io_read(int fd, const struct iovec *iov, unsigned n, size_t bytes, uint64_t offset)
{
	return move(preadv, fd, iov, n, bytes, offset);
}

ssize_t disk_io_write(int fd, const struct iovec *iov, unsigned n, size_t bytes, uint64_t offset)
{
	return move(pwritev, fd, iov, n, bytes, offset);
}

static int allocate(int fd, int mode, uint64_t offset, uint64_t bytes)
{
	int r;

	do
		r = fallocate(fd, mode | KEEP_SIZE, (off_t)offset, (off_t)bytes);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int disk_io_punch(int fd, uint64_t offset, uint64_t bytes)
{
	return allocate(fd, PUNCH_HOLE, offset, bytes);
}

int disk_io_zero(int fd, uint64_t offset, uint64_t bytes)
{
	return allocate(fd, ZERO_RANGE, offset, bytes);
}
