// SPDX-License-Identifier: Apache-2.0
/* Private to mem/: the files that a gmem's regions are private mappings of, and lists of runs. */
#pragma once

#include <stddef.h>

#include "mem/memfile.h"

/* Every page of RAM that the process has not made its own is a page of `fd`, or of `over_fd` where
 * a run says so. */
struct memfile_base {
	int fd;	     /* owned; byte n of it is byte n of RAM */
	int over_fd; /* owned; the pages of `over`, one run after the other; -1: none */
	struct memfile_runs over; /* owned */
	uint64_t *over_at;	  /* owned; where each run begins in over_fd */
};

/* Harmless on NULL and on half-built ones; keeps errno. */
void memfile_base_free(struct memfile_base *b);

/* Do the runs ascend, without touching, in whole pages inside RAM? -EBADMSG when not. Gives the
 * bytes of all runs. */
int memfile_runs_check(const struct memfile_runs *runs, uint64_t ram_bytes, uint64_t *ret_bytes,
	struct err *e) MUST_CHECK;

/* Runs while they are found, in ascending order of offset. */
struct run_list {
	struct memfile_run *items; /* owned: run_list_fini */
	size_t n, room;
};

void run_list_fini(struct run_list *l);

/* Adds a run that begins at or after the start of the last one; those that touch or overlap become
 * one. 0 or -ENOMEM. */
int run_list_add(struct run_list *l, uint64_t offset, uint64_t bytes) MUST_CHECK;

/* Makes at most `max` runs of them by filling the smallest gaps. 0 or -ENOMEM. */
int run_list_limit(struct run_list *l, size_t max) MUST_CHECK;

/* Hands the runs over, at most MEMFILE_RUNS_MAX of them. 0 or -ENOMEM. */
int run_list_take(struct run_list *l, struct memfile_runs *ret) MUST_CHECK;
