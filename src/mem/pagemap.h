// SPDX-License-Identifier: Apache-2.0
/*
 * What a page of this process's private memory is, as /proc/PID/pagemap tells (Linux
 * Documentation/admin-guide/mm/pagemap.rst): 64 bits a page, of which bit 63 says that the page is
 * present, bit 62 that it is swapped out, bit 61 that it is a page of a file. A page of a private
 * file mapping that was written to is the process's own, anonymous, copy: bit 61 is clear. The
 * memory itself is not touched. Used by one thread.
 */
#pragma once

#include "base/err.h"

enum page_kind {
	PAGE_UNTOUCHED, /* nothing is mapped: zeroes, or the file's page */
	PAGE_FILE,	/* the file's page is mapped */
	PAGE_OWN,	/* this process's own page, in memory or swapped out */
};

enum { PAGEMAP_WINDOW = 8192 }; /* pages looked up with one read: 32 MiB of memory */

struct pagemap {
	int fd;		/* borrowed; -1: nothing is known, so every page may be an own one */
	uint64_t first; /* the window: pages first … first + n - 1 of the address space */
	uint64_t n;
	uint64_t page_bytes;
	uint64_t entries[PAGEMAP_WINDOW];
};

/* Heap-allocated, for it is large; NULL when memory is short. Free with free. */
struct pagemap *pagemap_new(int fd);

/* The kind of the page at `host` (page-aligned) and in *ret_bytes how many of the `bytes` bytes
 * from there on are of that kind; they may go on being so after it. `ahead` bytes of the same
 * memory follow `host`, and may be asked for next: they are looked up with the same read. Returns 0
 * or negative with e set. */
int pagemap_stretch(struct pagemap *pm, const uint8_t *host, uint64_t bytes, uint64_t ahead,
	enum page_kind *ret_kind, uint64_t *ret_bytes, struct err *e) MUST_CHECK;
