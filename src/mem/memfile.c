// SPDX-License-Identifier: Apache-2.0
/* RAM as private mappings of a snapshot's files: made, thrown back, populated. */
#include "mem/memfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "mem/memfile_int.h"

enum { POPULATE_WRITE = 23 }; /* MADV_POPULATE_WRITE of linux/mman.h, which not every libc has */

void memfile_base_free(struct memfile_base *b)
{
	if (!b)
		return;
	autoclose_run(&b->fd);
	autoclose_run(&b->over_fd);
	memfile_runs_fini(&b->over);
	free(b->over_at);
	free(b);
}

static void autobase_run(struct memfile_base **b)
{
	memfile_base_free(*b);
}

/* The file must hold exactly what the snapshot says: a mapping that reaches past its end would kill
 * the process that touches it. */
static int check_size(int fd, uint64_t bytes, const char *what, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "ask for the size of the %s file", what);
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes)
		return 0;
	if (!S_ISREG(st.st_mode))
		err_set(e, -EBADMSG, "the %s file is not a regular file", what);
	else
		err_set(e, -EBADMSG, "the %s file has %llu bytes, the snapshot needs %llu", what,
			(unsigned long long)st.st_size, (unsigned long long)bytes);
	return err_remedy(e, "the snapshot is damaged: take it again");
}

static int keep(int fd, int *ret_fd, struct err *e)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (own < 0) {
		err_sys(e, "keep the file that memory is mapped from");
		return err_remedy(e, "raise the limit of open files (ulimit -n)");
	}
	*ret_fd = own;
	return 0;
}

static int base_new(int fd, struct memfile_base **ret, struct err *e)
{
	struct memfile_base *b = malloc(sizeof(*b));
	int r;

	if (!b)
		return err_set(e, -ENOMEM, "no memory to map memory");
	*b = (struct memfile_base){.fd = -1, .over_fd = -1};
	r = keep(fd, &b->fd, e);
	if (r < 0) {
		free(b);
		return r;
	}
	*ret = b;
	return 0;
}

static int map_at(uint8_t *host, uint64_t bytes, int fd, uint64_t at, struct err *e)
{
	void *p = mmap(host, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
		fd, (off_t)at);

	if (p != MAP_FAILED)
		return 0;
	err_sys(e, "map %llu KiB of the snapshot's memory", (unsigned long long)(bytes >> 10));
	return err_remedy(e, "raise vm.max_map_count and the address space limit (ulimit -v)");
}

int memfile_map_over(struct gmem *g, int fd, struct err *e)
{
	CLEANUP(autobase_run) struct memfile_base *base = NULL;
	uint64_t at = 0;
	int r;

	r = check_size(fd, g->total, "memory", e);
	if (r == 0)
		r = base_new(fd, &base, e);
	for (unsigned i = 0; r == 0 && i < g->n; i++) {
		r = map_at(g->regions[i].host, g->regions[i].bytes, fd, at, e);
		at += g->regions[i].bytes;
	}
	if (r < 0)
		return err_object(e, "memory");
	memfile_base_free(g->base);
	g->base = take_ptr(&base);
	return 0;
}

int memfile_map(
	int fd, const struct gmem_range *ranges, unsigned n, struct gmem *ret, struct err *e)
{
	autogmem struct gmem g = {0};
	int r;

	r = gmem_init(&g, ranges, n, e);
	if (r == 0)
		r = memfile_map_over(&g, fd, e);
	if (r < 0)
		return r;
	*ret = g;
	g = (struct gmem){0}; /* handed over */
	return 0;
}

/* Calls `each` for the host memory of a stretch of RAM, which may cross from region to region. */
typedef int piece_fn(void *context, uint8_t *host, uint64_t bytes, uint64_t done);

static int each_piece(
	const struct gmem *g, uint64_t offset, uint64_t bytes, piece_fn *each, void *context)
{
	uint64_t start = 0, done = 0;
	int r = 0;

	for (unsigned i = 0; i < g->n && done < bytes && r == 0; i++) {
		const struct gmem_region *region = &g->regions[i];
		uint64_t skip = offset + done - start, n;

		start += region->bytes;
		if (skip >= region->bytes)
			continue;
		n = MIN(region->bytes - skip, bytes - done);
		r = each(context, region->host + skip, n, done);
		done += n;
	}
	return r;
}

struct run_mapping {
	int fd;
	uint64_t at; /* where the run begins in the file */
	struct err *e;
};

static int map_piece(void *context, uint8_t *host, uint64_t bytes, uint64_t done)
{
	const struct run_mapping *m = context;

	return map_at(host, bytes, m->fd, m->at + done, m->e);
}

/* Copies the runs to the base and says where each begins in the packed file. */
static int keep_runs(struct memfile_base *b, const struct memfile_runs *runs, struct err *e)
{
	autofree struct memfile_run *items = calloc(runs->n, sizeof(*items));
	autofree uint64_t *at = calloc(runs->n, sizeof(*at));
	uint64_t next = 0;

	if (!items || !at)
		return err_set(e, -ENOMEM, "no memory for %u runs of pages", runs->n);
	for (uint32_t i = 0; i < runs->n; i++) {
		items[i] = runs->items[i];
		at[i] = next;
		next += items[i].bytes;
	}
	b->over = (struct memfile_runs){.items = take_ptr(&items), .n = runs->n};
	b->over_at = take_ptr(&at);
	return 0;
}

static int map_kept(const struct gmem *g, struct err *e)
{
	const struct memfile_base *b = g->base;
	int r = 0;

	for (uint32_t i = 0; i < b->over.n && r == 0; i++) {
		struct run_mapping m = {b->over_fd, b->over_at[i], e};

		r = each_piece(g, b->over.items[i].offset, b->over.items[i].bytes, map_piece, &m);
	}
	return r;
}

int memfile_map_runs(struct gmem *g, int fd, const struct memfile_runs *runs, struct err *e)
{
	uint64_t bytes = 0;
	int r;

	if (!g->base || g->base->over_fd >= 0) {
		err_set(e, -EINVAL, "a differential snapshot goes over a full one, once");
		return err_object(e, "memory");
	}
	r = memfile_runs_check(runs, g->total, &bytes, e);
	if (r < 0)
		err_remedy(e, "the snapshot is damaged: take it again");
	if (r == 0)
		r = check_size(fd, bytes, "differential memory", e);
	if (r == 0 && runs->n) {
		r = keep(fd, &g->base->over_fd, e);
		if (r == 0)
			r = keep_runs(g->base, runs, e);
		if (r == 0)
			r = map_kept(g, e);
	}
	return r < 0 ? err_object(e, "memory") : 0;
}

static int drop_piece(void *context, uint8_t *host, uint64_t bytes, uint64_t done)
{
	(void)context;
	(void)done;
	return madvise(host, bytes, MADV_DONTNEED) < 0 ? -errno : 0;
}

/* What the guest only read stays mapped, so that it need not be found again. */
static int drop_own(const struct gmem *g, int pagemap_fd, struct err *e)
{
	CLEANUP(memfile_runs_fini) struct memfile_runs own = {0};
	CLEANUP(memfile_runs_fini) struct memfile_runs of_file = {0};
	int r = memfile_touched(g, pagemap_fd, &own, &of_file, e);

	for (uint32_t i = 0; r == 0 && i < own.n; i++) {
		r = each_piece(g, own.items[i].offset, own.items[i].bytes, drop_piece, NULL);
		if (r < 0) {
			errno = -r;
			err_sys(e, "give the changed pages back");
			err_object(e, "memory");
		}
	}
	return r;
}

int memfile_rollback(struct gmem *g, int pagemap_fd, struct err *e)
{
	if (!g->base) {
		err_set(e, -EINVAL, "the VM was booted, not restored, so it has no earlier state");
		err_object(e, "memory");
		return err_remedy(e, "restore a snapshot first");
	}
	if (pagemap_fd >= 0)
		return drop_own(g, pagemap_fd, e);
	for (unsigned i = 0; i < g->n; i++) {
		if (madvise(g->regions[i].host, g->regions[i].bytes, MADV_DONTNEED) < 0) {
			err_sys(e, "give the changed pages back");
			return err_object(e, "memory");
		}
	}
	return 0;
}

static int populate_piece(void *context, uint8_t *host, uint64_t bytes, uint64_t done)
{
	(void)context;
	(void)done;
	/* EINVAL is a kernel that does not know it: so it would be for every other run */
	if (madvise(host, bytes, POPULATE_WRITE) < 0 && errno == EINVAL)
		return -EINVAL;
	return 0;
}

/* The runs may come from anywhere: those that do not fit RAM are passed over. */
void memfile_populate(const struct gmem *g, const struct memfile_runs *runs)
{
	uint64_t end;

	for (uint32_t i = 0; i < runs->n; i++) {
		const struct memfile_run *run = &runs->items[i];

		if (!run->bytes || (run->offset | run->bytes) % MEMFILE_PAGE_BYTES ||
			add_overflows(run->offset, run->bytes, &end) || end > g->total)
			continue;
		if (each_piece(g, run->offset, run->bytes, populate_piece, NULL) < 0)
			return;
	}
}
