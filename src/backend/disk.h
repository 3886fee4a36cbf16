// SPDX-License-Identifier: Apache-2.0
/*
 * A disk as a block device sees it.
 *
 * Rules for every implementation: calls come from one thread at a time and return when the transfer
 * is over. A transfer is whole or it has failed: 0 or -errno, short transfers are the
 * implementation's to continue. The caller has checked that offset and length lie inside `bytes`.
 * The iovecs may point into guest memory, which the guest may change at any moment.
 */
#pragma once

#include <sys/uio.h>

#include "base/err.h"

enum { DISK_SECTOR_BYTES = 512 };

struct disk;

struct disk_ops {
	int (*read)(struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset);
	int (*write)(struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset);
	/* What was written is on stable storage when this returns. */
	int (*flush)(struct disk *d);
	/* The content of the range does not matter any more. -EOPNOTSUPP where it cannot be done.
	 */
	int (*discard)(struct disk *d, uint64_t offset, uint64_t bytes);
	/* The range reads as zeroes afterwards; storage may be given up only if may_unmap. */
	int (*write_zeroes)(struct disk *d, uint64_t offset, uint64_t bytes, bool may_unmap);
	void (*free)(struct disk *d);
};

struct disk {
	const struct disk_ops *ops;
	uint64_t bytes; /* a multiple of DISK_SECTOR_BYTES */
	bool is_read_only;
};

/* A disk that is a file or a block device. Takes fd on success. A read-only file whose size is no
 * multiple of a sector is padded with zeroes; a writable one is refused. Gives *ret_disk, to be
 * freed with disk_free. Returns 0 or negative with e set. */
int disk_raw_new(int fd, bool is_read_only, struct disk **ret_disk, struct err *e) MUST_CHECK;

void disk_free(struct disk *d);
