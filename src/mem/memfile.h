// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM in files: the `memory` of a snapshot.
 *
 * Offsets are offsets in RAM: the regions of a gmem one after the other. A full snapshot's file is
 * as large as RAM and sparse: byte n of RAM is byte n of the file, pages of zeroes are holes. A
 * differential one's holds the pages of its runs one after the other; the runs say where they
 * belong. Which pages a private mapping has made its own is read from /proc/PID/pagemap (Linux
 * Documentation/admin-guide/mm/pagemap.rst), so that nothing has to be tracked while the guest
 * runs.
 *
 * Whoever saves must see to it that nobody writes to RAM meanwhile.
 */
#pragma once

#include "base/err.h"
#include "mem/gmem.h"

enum {
	MEMFILE_PAGE_BYTES = 4096,
	/* Each is a mapping of its own, which a restore waits for (some µs each), and of which
	 * Linux allows a process 65530. */
	MEMFILE_RUNS_MAX = 4096,
};

struct memfile_run {
	uint64_t offset; /* in RAM, whole pages */
	uint64_t bytes;	 /* whole pages, not 0 */
};

/* Runs in ascending order that neither touch nor overlap. */
struct memfile_runs {
	struct memfile_run *items; /* owned; memfile_runs_fini */
	uint32_t n;
};

struct snapio;

void memfile_runs_fini(struct memfile_runs *runs);

/* Walks the runs; what is loaded is checked against ram_bytes, and that it ascends. */
void memfile_runs_snap(struct memfile_runs *runs, uint64_t ram_bytes, struct snapio *io);

/* RAM as a private, copy-on-write mapping of the file, which must be as large as the ranges
 * together: -EBADMSG when it is not. Nothing is read. fd is borrowed; the file must never change
 * while mapped. Otherwise as gmem_init. */
int memfile_map(int fd, const struct gmem_range *ranges, unsigned n, struct gmem *ret,
	struct err *e) MUST_CHECK;

/* The same for RAM that is there already, at the addresses that it has: a hypervisor that knows it
 * need not be told. What the RAM held is gone. If it fails, the RAM is good for gmem_fini alone. */
int memfile_map_over(struct gmem *g, int fd, struct err *e) MUST_CHECK;

/* Puts the pages of a differential snapshot over the RAM of its base, by mapping. fd is borrowed,
 * its size must be that of the runs together: -EBADMSG when it is not, or when the runs do not fit.
 * Once only. If mapping fails, the RAM is good for gmem_fini alone. */
int memfile_map_runs(
	struct gmem *g, int fd, const struct memfile_runs *runs, struct err *e) MUST_CHECK;

/* Throws away what the private mappings have made their own: RAM is as the files say again. With
 * pagemap only that is given up; with -1 all that is mapped, and the guest finds what it had only
 * read again by faults. -EINVAL for RAM that comes from no file. */
int memfile_rollback(struct gmem *g, int pagemap_fd, struct err *e) MUST_CHECK;

/* What a save wrote. */
struct memfile_saved {
	uint64_t data_bytes; /* holes not counted */
	uint64_t checksum;   /* as sparse_checksum of base/sparse.h gives */
};

/* Writes all of RAM to fd, an empty file. pagemap_fd, /proc/PID/pagemap of this process, or -1,
 * tells which anonymous pages were never touched, so that they are not read; pages of zeroes become
 * holes. What RAM still shares with the files it is mapped from is read from them by descriptor: no
 * page is mapped that was not. The caller sees to fsync. Errors are those of writing (-ENOSPC and
 * all), object "memory". */
int memfile_save(const struct gmem *g, int pagemap_fd, int fd, struct memfile_saved *ret,
	struct err *e) MUST_CHECK;

/* Writes only the pages that differ from the file behind memfile_map: those that the mapping has
 * made its own, and all of `inherited` (the runs of memfile_map_runs, or NULL). Gives the runs,
 * with small gaps filled where there would be too many. pagemap_fd is needed. */
int memfile_save_diff(const struct gmem *g, const struct memfile_runs *inherited, int pagemap_fd,
	int fd, struct memfile_runs *ret_runs, struct memfile_saved *ret, struct err *e) MUST_CHECK;

/* The pages that are this process's own (written), and those that are mapped from the file (read;
 * the kernel maps some more around each). */
int memfile_touched(const struct gmem *g, int pagemap_fd, struct memfile_runs *ret_written,
	struct memfile_runs *ret_read, struct err *e) MUST_CHECK;

/* Makes the pages of the runs this process's own before the guest asks for them, one
 * MADV_POPULATE_WRITE (Linux 5.14) a run. Best effort: what cannot be done is left to the guest. */
void memfile_populate(const struct gmem *g, const struct memfile_runs *runs);
