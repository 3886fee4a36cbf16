// SPDX-License-Identifier: Apache-2.0
/*
 * An overlay disk and beside it what it must read as, for tests. What cannot be had fails the test.
 */
#pragma once

#include "backend/disk.h"

#define CLUSTER ((uint64_t)DISK_CLUSTER_BYTES)
#define SECTOR	((uint64_t)DISK_SECTOR_BYTES)

enum { N_CLUSTERS = 333, BYTES = N_CLUSTERS * DISK_CLUSTER_BYTES };

struct model {
	struct disk *d;
	uint8_t *now;
};

uint64_t any(uint64_t below);
/* On a disk's file system and in memory by turns: they find holes in different ways. */
int new_file(void);
/* A base with data and holes, and what it reads as. */
int new_base(uint8_t *content);
void model_init(struct model *m, int base_fd, const uint8_t *content);
void model_fini(struct model *m);
void read_some(struct model *m, uint64_t at, uint64_t bytes);
void write_some(struct model *m, uint64_t at, uint64_t bytes);
void disturb(struct model *m, unsigned n);
void assert_disk(struct model *m);
void assert_saved(int fd, const struct disk_saved *saved);
void assert_file(int fd, const uint8_t *want);
int save(struct model *m);
unsigned open_files(void);
