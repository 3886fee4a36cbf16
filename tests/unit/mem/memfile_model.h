// SPDX-License-Identifier: Apache-2.0
/*
 * RAM of a guest made by hand, and beside it what it must read as, for tests of memory in files.
 * What cannot be had fails the test.
 */
#pragma once

#include "mem/memfile.h"

#define MIB	 0x100000ull
#define GIB	 0x40000000ull
#define PAGE	 ((uint64_t)MEMFILE_PAGE_BYTES)
#define PAGES(n) ((n)*PAGE)
#define TOTAL	 (13 * MIB)
#define N_PAGES	 (TOTAL / PAGE)
#define N_RANGES 3

/* Two adjacent regions, a hole, a third whose size is no multiple of a huge page. */
extern const struct gmem_range ranges[N_RANGES];

/* What RAM must read as, kept beside it. */
struct model {
	struct gmem g;
	uint8_t *now;  /* TOTAL bytes */
	uint8_t *base; /* what the file behind the mapping has; NULL: zeroes */
	int pagemap_fd;
};

uint64_t any(uint64_t below);
int disk_file(void);
/* On a disk's file system and in memory by turns: they find holes in different ways. */
int new_file(void);
void model_init(struct model *m);
void model_fini(struct model *m);
uint8_t *host_at(const struct gmem *g, uint64_t offset);
void write_page(struct model *m, uint64_t page, uint8_t value);
void discard_page(struct model *m, uint64_t page);
/* What a guest and its balloon do. */
void disturb(struct model *m, unsigned n);
void assert_ram(const struct gmem *g, const uint8_t *want);
void assert_file(int fd, const uint8_t *want, uint64_t bytes);
void assert_saved(int fd, const struct memfile_saved *saved);
void count_kinds(const struct model *m, uint64_t counts[3]);
void save(const struct model *m, int fd);
/* Goes on as a VM that was restored from `fd`, which holds what RAM is now. */
void remap(struct model *m, int fd);
unsigned open_files(void);
/* Saves what differs from the base, then restores the chain of two in place of the VM. */
void through_a_chain(struct model *m, int base_fd, struct memfile_runs *inherited, bool is_first);
