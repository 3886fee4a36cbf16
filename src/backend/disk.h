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

enum {
	DISK_SECTOR_BYTES = 512,
	DISK_IOV_MAX = 256, /* iovecs of one transfer; more is -EINVAL */
};

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

/*
 * A writable disk whose first content is a read-only file that others share: what is written goes
 * to a file of its own, `delta`, cluster by cluster (DISK_CLUSTER_BYTES); a bitmap in memory says
 * which clusters are there. base and delta are taken on success. Both are regular files; base is
 * whole clusters long; delta must be empty and is given the base's size; it stays sparse. What is
 * discarded reads as zeroes and takes no room, and so does what zeroes are written to. Everything
 * belongs to the disk's thread, or to whoever has brought it to rest.
 */
enum { DISK_CLUSTER_BYTES = 4096 };

int disk_overlay_new(int base_fd, int delta_fd, struct disk **ret_disk, struct err *e) MUST_CHECK;

/* Clusters that follow one another, as offset and length in bytes on the disk. */
struct disk_run {
	uint64_t offset, bytes;
};

struct disk_runs {
	struct disk_run *items; /* owned: free */
	uint32_t n;
};

enum { DISK_RUNS_MAX = 1 << 18 };

struct disk_saved {
	uint64_t data_bytes; /* holes not counted */
	uint64_t checksum;   /* of the file, as sparse_checksum of base/sparse.h gives */
};

/* Writes the whole disk, base and own clusters together, to fd, an empty file: sparse, zeroes are
 * holes. The caller sees to fsync. -ENOSPC and other errors with "disk" as the object. */
int disk_overlay_save(struct disk *d, int fd, struct disk_saved *ret, struct err *e) MUST_CHECK;

/* Writes only the own clusters (those of load_diff among them), one after the other, and gives
 * where they belong. Where that would be more than DISK_RUNS_MAX runs, small gaps are filled. */
int disk_overlay_save_diff(struct disk *d, int fd, struct disk_runs *ret_runs,
	struct disk_saved *ret, struct err *e) MUST_CHECK;

/* Puts the clusters of a differential snapshot over the base, before anything is written, once.
 * Nothing is copied: the disk keeps a duplicate of fd (borrowed), and the file must not change
 * while the disk lives. The runs have been checked against nothing: -EBADMSG when they do not fit
 * the disk or fd. They survive disk_overlay_rollback. */
int disk_overlay_load_diff(
	struct disk *d, int fd, const struct disk_runs *runs, struct err *e) MUST_CHECK;

/* Forgets every write since the disk was made (or since load_diff). */
int disk_overlay_rollback(struct disk *d, struct err *e) MUST_CHECK;

struct snapio;

/* Walks the runs, bounding their number; disk_overlay_load_diff checks the rest. */
void disk_runs_snap(struct disk_runs *runs, struct snapio *io);

void disk_free(struct disk *d);
