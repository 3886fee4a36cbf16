// SPDX-License-Identifier: Apache-2.0
/* A disk that is a descriptor of a file or a block device: positioned vector I/O, nothing kept. */
#include "backend/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/disk_io.h"
#include "base/fd.h"
#include "base/iov.h"

enum { ZEROES_AT_ONCE = 4096 };

struct disk_raw {
	struct disk disk;
	int fd;
	uint64_t file_bytes; /* may end inside the disk's last sector */
};

static struct disk_raw *of(struct disk *d)
{
	return container_of(d, struct disk_raw, disk);
}

/* The last sector of a file that ends inside it is zeroes from there on. */
static int pad(const struct iovec *iov, unsigned n, size_t from, size_t bytes)
{
	static const uint8_t zeroes[DISK_SECTOR_BYTES];

	if (bytes - from >= DISK_SECTOR_BYTES)
		return -EIO; /* the file is shorter than it was when the disk was made */
	iov_scatter(iov, n, from, zeroes, bytes - from);
	return 0;
}

static int raw_read(struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset)
{
	struct disk_raw *raw = of(d);
	size_t bytes = iov_bytes(iov, n);
	ssize_t got = disk_io_read(raw->fd, iov, n, bytes, offset);

	if (got < 0)
		return (int)got;
	if ((size_t)got == bytes)
		return 0;
	if (offset + (uint64_t)got != raw->file_bytes)
		return -EIO;
	return pad(iov, n, (size_t)got, bytes);
}

static int raw_write(struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset)
{
	size_t bytes = iov_bytes(iov, n);
	ssize_t got = disk_io_write(of(d)->fd, iov, n, bytes, offset);

	if (got < 0)
		return (int)got;
	return (size_t)got == bytes ? 0 : -EIO;
}

static int raw_flush(struct disk *d)
{
	return fdatasync(of(d)->fd) < 0 ? -errno : 0;
}

static int raw_discard(struct disk *d, uint64_t offset, uint64_t bytes)
{
	return disk_io_punch(of(d)->fd, offset, bytes);
}

static int write_zeroes_by_hand(struct disk *d, uint64_t offset, uint64_t bytes)
{
	static const uint8_t zeroes[ZEROES_AT_ONCE];

	while (bytes) {
		size_t n = (size_t)MIN(bytes, (uint64_t)sizeof(zeroes));
		int r = fd_pwrite_full(of(d)->fd, zeroes, n, (off_t)offset);

		if (r < 0)
			return r;
		offset += n;
		bytes -= n;
	}
	return 0;
}

/* A hole reads as zeroes, so it serves where storage may go; not every file system zeroes a range
 * in place (tmpfs does not), so the last resort is to write. */
static int raw_write_zeroes(struct disk *d, uint64_t offset, uint64_t bytes, bool may_unmap)
{
	int r = may_unmap ? raw_discard(d, offset, bytes) : disk_io_zero(of(d)->fd, offset, bytes);

	return r == -EOPNOTSUPP ? write_zeroes_by_hand(d, offset, bytes) : r;
}

static void raw_free(struct disk *d)
{
	close(of(d)->fd);
	free(of(d));
}

static const struct disk_ops raw_ops = {
	.read = raw_read,
	.write = raw_write,
	.flush = raw_flush,
	.discard = raw_discard,
	.write_zeroes = raw_write_zeroes,
	.free = raw_free,
};

/* Size of what the descriptor names, block devices included. */
static int find_size(int fd, bool is_read_only, uint64_t *ret_bytes, struct err *e)
{
	struct stat st;
	off_t end;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "look at the disk");
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		err_set(e, -ENOTBLK, "the disk is neither a file nor a block device");
		return err_remedy(e, "name a disk image");
	}
	end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return err_sys(e, "find the disk's size");
	if (end == 0) {
		err_set(e, -EINVAL, "the disk is empty");
		return err_remedy(e, "give it a size, or make the image again");
	}
	if (!is_read_only && end % DISK_SECTOR_BYTES) {
		err_set(e, -EINVAL, "the size of a writable disk must be a multiple of %d bytes",
			DISK_SECTOR_BYTES);
		return err_remedy(e, "extend it with truncate(1)");
	}
	*ret_bytes = (uint64_t)end;
	return 0;
}

int disk_raw_new(int fd, bool is_read_only, struct disk **ret_disk, struct err *e)
{
	struct disk_raw *raw;
	uint64_t bytes = 0;
	int r;

	r = find_size(fd, is_read_only, &bytes, e);
	if (r < 0)
		return r;
	raw = malloc(sizeof(*raw));
	if (!raw)
		return err_set(e, -ENOMEM, "no memory for a disk");
	*raw = (struct disk_raw){
		.disk = {.ops = &raw_ops,
			.bytes = ALIGN_UP(bytes, (uint64_t)DISK_SECTOR_BYTES),
			.is_read_only = is_read_only},
		.fd = fd,
		.file_bytes = bytes,
	};
	*ret_disk = &raw->disk;
	return 0;
}

void disk_free(struct disk *d)
{
	if (d)
		d->ops->free(d);
}
