// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM: (guest-physical address, length) to host memory, and nothing else.
 *
 * Every access of the host to guest memory goes through here, so there is one place that checks
 * bounds and overflow. It knows no device and no hypervisor. The regions are fixed once made, so
 * any thread may use every function at any time; the bytes themselves are shared with the running
 * guest, which may change them between two reads: fetch once, then decide.
 */
#pragma once

#include <sys/types.h>

#include "base/cc.h"
#include "mem/gpa.h"

struct err;

enum { GMEM_REGIONS_MAX = 4 };

struct gmem_range {
	gpa_t gpa;
	uint64_t bytes;
};

struct gmem_region {
	gpa_t gpa;
	uint64_t bytes;
	uint8_t *host; /* aligned to 2 MiB */
};

struct memfile_base;

struct gmem {
	struct gmem_region regions[GMEM_REGIONS_MAX]; /* ascending, disjoint */
	unsigned n;
	uint64_t total;		   /* bytes of all regions */
	struct memfile_base *base; /* owned; the files that the regions are private mappings of (see
				    * mem/memfile.h); NULL: the memory is fresh */
};

#define autogmem CLEANUP(gmem_fini)

/* Reserves anonymous private memory for the ranges: ascending, disjoint, whole pages. Nothing is
 * populated. Returns 0, -EINVAL, or -errno of mmap; gmem is untouched on failure. */
int gmem_init(
	struct gmem *ret, const struct gmem_range *ranges, unsigned n, struct err *e) MUST_CHECK;

/* Unmaps everything; harmless on a zeroed or already finished gmem. */
void gmem_fini(struct gmem *g);

/* Where the guest's `bytes` bytes at gpa are, or NULL unless they lie wholly inside one region.
 * Zero bytes are inside when gpa is. */
void *gmem_ptr(const struct gmem *g, gpa_t gpa, uint64_t bytes);

/* Copy from (in) the guest to `to`, or from `from` out to the guest; adjacent regions may be
 * crossed. Return 0, or -EFAULT with nothing copied when a byte of it is not RAM. */
int gmem_copy_in(const struct gmem *g, void *to, gpa_t gpa, uint64_t bytes) MUST_CHECK;
int gmem_copy_out(const struct gmem *g, gpa_t gpa, const void *from, uint64_t bytes) MUST_CHECK;

/* Gives the host pages wholly inside the range back to the host. The guest reads zeroes there
 * afterwards or, where RAM is mapped from a snapshot, what the snapshot has there: it has said that
 * the content does not matter to it (virtio 1.2 §5.5.6: a page of the balloon, or one reported
 * free, may read as anything). Returns the bytes given back, -EFAULT when a byte of the range is
 * not RAM, or -errno of madvise. */
int64_t gmem_discard(const struct gmem *g, gpa_t gpa, uint64_t bytes) MUST_CHECK;
