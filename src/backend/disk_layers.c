// SPDX-License-Identifier: Apache-2.0
#include "backend/disk_layers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"

enum { WORD_BITS = 64 };

int disk_layers_init(struct disk_layers *l, uint64_t bytes)
{
	uint64_t clusters = bytes / DISK_CLUSTER_BYTES;
	uint64_t words = (clusters + WORD_BITS - 1) / WORD_BITS;
	void *p = mmap(NULL, words * sizeof(*l->own), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	*l = (struct disk_layers){
		.bytes = bytes,
		.base_fd = -1,
		.diff_fd = -1,
		.own_fd = -1,
		.own = p,
		.own_bytes = words * sizeof(*l->own),
	};
	return 0;
}

void disk_layers_fini(struct disk_layers *l)
{
	autoclose_run(&l->base_fd);
	autoclose_run(&l->diff_fd);
	autoclose_run(&l->own_fd);
	free(l->diff);
	if (l->own)
		munmap(l->own, l->own_bytes);
}

bool disk_layers_is_own(const struct disk_layers *l, uint64_t cluster)
{
	return l->own[cluster / WORD_BITS] >> (cluster % WORD_BITS) & 1;
}

/* The bits of the word that `cluster` is in, from it up to `end`; in *ret_next the cluster after
 * them. */
static uint64_t mask_of(uint64_t cluster, uint64_t end, uint64_t *ret_next)
{
	uint64_t low = cluster % WORD_BITS, n = MIN(WORD_BITS - low, end - cluster);

	*ret_next = cluster + n;
	return (n == WORD_BITS ? UINT64_MAX : (1ull << n) - 1) << low;
}

void disk_layers_set(struct disk_layers *l, uint64_t first, uint64_t end)
{
	uint64_t next;

	for (; first < end; first = next) {
		uint64_t *word = &l->own[first / WORD_BITS];

		*word |= mask_of(first, end, &next);
	}
}

void disk_layers_clear(struct disk_layers *l, uint64_t first, uint64_t end)
{
	uint64_t next;

	for (; first < end; first = next) {
		uint64_t *word = &l->own[first / WORD_BITS];
		uint64_t mask = mask_of(first, end, &next);

		if (*word & mask) /* a store would give the page memory */
			*word &= ~mask;
	}
}

void disk_layers_forget(struct disk_layers *l)
{
	/* Of a mapping of our own it cannot fail; if it did, the bits would have to go all the
	 * same. */
	if (madvise(l->own, l->own_bytes, MADV_DONTNEED) < 0)
		memset(l->own, 0, l->own_bytes);
	l->is_written = false;
}

/* The first cluster of [first, end) that is not as `first` is, or `end`. */
static uint64_t end_of_run(const struct disk_layers *l, uint64_t first, uint64_t end)
{
	uint64_t flip = disk_layers_is_own(l, first) ? UINT64_MAX : 0, next;

	for (; first < end; first = next) {
		uint64_t mask = mask_of(first, end, &next);
		uint64_t other = (l->own[first / WORD_BITS] ^ flip) & mask;

		if (other)
			return ALIGN_DOWN(first, (uint64_t)WORD_BITS) +
			       (uint64_t)__builtin_ctzll(other);
	}
	return end;
}

/* The first run that ends after `offset`, or NULL. */
static const struct disk_diff_run *run_after(const struct disk_layers *l, uint64_t offset)
{
	uint32_t low = 0, high = l->n_diff;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (l->diff[middle].offset + l->diff[middle].bytes <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < l->n_diff ? &l->diff[low] : NULL;
}

struct disk_piece disk_layers_below(const struct disk_layers *l, uint64_t offset, uint64_t end)
{
	const struct disk_diff_run *run = run_after(l, offset);

	if (run && run->offset <= offset) {
		uint64_t skip = offset - run->offset;

		return (struct disk_piece){LAYER_DIFF, l->diff_fd, run->at + skip,
			MIN(run->bytes - skip, end - offset)};
	}
	if (run && run->offset < end)
		end = run->offset;
	return (struct disk_piece){LAYER_BASE, l->base_fd, offset, end - offset};
}

struct disk_piece disk_layers_piece(const struct disk_layers *l, uint64_t offset, uint64_t end)
{
	uint64_t first = offset / DISK_CLUSTER_BYTES;
	uint64_t last = (end + DISK_CLUSTER_BYTES - 1) / DISK_CLUSTER_BYTES;

	end = MIN(end, end_of_run(l, first, last) * DISK_CLUSTER_BYTES);
	if (disk_layers_is_own(l, first))
		return (struct disk_piece){LAYER_OWN, l->own_fd, offset, end - offset};
	return disk_layers_below(l, offset, end);
}
