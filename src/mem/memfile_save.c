// SPDX-License-Identifier: Apache-2.0
/*
 * RAM to files, and which of its pages are whose. Own pages are written from where they are,
 * without a copy of RAM being made. Others are the files' that RAM is mapped from: to read them
 * through the mapping would map them, and a hole would become memory, so they are read by
 * descriptor, and holes are passed over.
 */
#include "mem/memfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sparse_copy.h"
#include "mem/memfile_int.h"
#include "mem/pagemap.h"

#define autorunlist CLEANUP(run_list_fini)

struct saver {
	const struct gmem *g;
	struct pagemap *pagemap; /* owned */
	uint32_t over;		 /* the run of base->over that was looked at last */
	struct sparse_copy to;
	struct err *e;
};

static void saver_fini(struct saver *s)
{
	free(s->pagemap);
	sparse_copy_fini(&s->to);
}

static int saver_init(struct saver *s, const struct gmem *g, int pagemap_fd, int fd, struct err *e)
{
	*s = (struct saver){.g = g, .pagemap = pagemap_new(pagemap_fd), .e = e};
	if (!s->pagemap)
		return err_set(e, -ENOMEM, "no memory to look at pages");
	return sparse_copy_init(&s->to, fd, "memory", e);
}

/* The first of base->over that ends after `offset`; calls come with ascending offsets. */
static const struct memfile_run *over_at(struct saver *s, uint64_t offset)
{
	const struct memfile_runs *over = &s->g->base->over;

	while (s->over < over->n &&
		over->items[s->over].offset + over->items[s->over].bytes <= offset)
		s->over++;
	return s->over < over->n ? &over->items[s->over] : NULL;
}

/* Pages of RAM that are the files' as they were when RAM was mapped. */
static int put_shared(struct saver *s, uint64_t offset, uint64_t bytes, uint64_t to)
{
	const struct memfile_base *b = s->g->base;
	int r = 0;

	for (uint64_t n; bytes && r == 0; offset += n, to += n, bytes -= n) {
		const struct memfile_run *run = over_at(s, offset);

		if (!run || offset < run->offset) {
			n = run ? MIN(bytes, run->offset - offset) : bytes;
			r = sparse_copy_file(&s->to, to, b->fd, offset, n, s->e);
			continue;
		}
		n = MIN(bytes, run->offset + run->bytes - offset);
		r = sparse_copy_file(&s->to, to, b->over_fd,
			b->over_at[s->over] + (offset - run->offset), n, s->e);
	}
	return r;
}

static int put_stretch(struct saver *s, const uint8_t *host, uint64_t offset, uint64_t bytes,
	uint64_t to, enum page_kind kind)
{
	if (kind != PAGE_OWN && s->g->base)
		return put_shared(s, offset, bytes, to);
	if (kind == PAGE_UNTOUCHED)
		return 0;
	return sparse_copy_put(&s->to, to, host, bytes, s->e);
}

/* `bytes` of RAM at `offset`, inside one region that begins at `start` of RAM. */
static int put_part(struct saver *s, const struct gmem_region *region, uint64_t start,
	uint64_t offset, uint64_t bytes, uint64_t to)
{
	enum page_kind kind;
	int r;

	for (uint64_t n; bytes; offset += n, to += n, bytes -= n) {
		uint64_t at = offset - start;
		const uint8_t *host = region->host + at;

		r = pagemap_stretch(s->pagemap, host, bytes, region->bytes - at, &kind, &n, s->e);
		if (r == 0)
			r = put_stretch(s, host, offset, n, to, kind);
		if (r < 0)
			return r;
	}
	return 0;
}

static int put_ram(struct saver *s, uint64_t offset, uint64_t bytes, uint64_t to)
{
	uint64_t start = 0, n;
	int r = 0;

	for (unsigned i = 0; i < s->g->n && bytes && r == 0; start += s->g->regions[i++].bytes) {
		const struct gmem_region *region = &s->g->regions[i];

		if (offset - start >= region->bytes)
			continue;
		n = MIN(bytes, region->bytes - (offset - start));
		r = put_part(s, region, start, offset, n, to);
		offset += n;
		to += n;
		bytes -= n;
	}
	return r;
}

static int finish(struct saver *s, uint64_t bytes, struct memfile_saved *ret)
{
	int r = sparse_copy_end(&s->to, bytes, s->e);

	if (r == 0)
		*ret = (struct memfile_saved){s->to.to.data_bytes, s->to.to.checksum};
	return r;
}

int memfile_save(
	const struct gmem *g, int pagemap_fd, int fd, struct memfile_saved *ret, struct err *e)
{
	CLEANUP(saver_fini) struct saver s;
	int r = saver_init(&s, g, pagemap_fd, fd, e);

	if (r == 0)
		r = put_ram(&s, 0, g->total, 0);
	if (r == 0)
		r = finish(&s, g->total, ret);
	return r < 0 ? err_object(e, "memory") : 0;
}

/* Adds the pages of each kind to the list for it; a list may be NULL. */
static int classify(const struct gmem *g, struct pagemap *pm, struct run_list *own,
	struct run_list *of_file, struct err *e)
{
	uint64_t start = 0, n;
	int r;

	for (unsigned i = 0; i < g->n; start += g->regions[i++].bytes) {
		for (uint64_t at = 0; at < g->regions[i].bytes; at += n) {
			uint64_t rest = g->regions[i].bytes - at;
			struct run_list *list;
			enum page_kind kind;

			r = pagemap_stretch(pm, g->regions[i].host + at, rest, rest, &kind, &n, e);
			if (r < 0)
				return r;
			list = kind == PAGE_OWN ? own : kind == PAGE_FILE ? of_file : NULL;
			if (list && run_list_add(list, start + at, n) < 0)
				return err_set(e, -ENOMEM, "no memory for the list of pages");
		}
	}
	return 0;
}

/* Both lists as one, in order. */
static int unite(const struct run_list *own, const struct memfile_runs *inherited,
	struct run_list *ret, struct err *e)
{
	size_t i = 0;
	uint32_t j = 0;
	int r = 0;

	while (r == 0 && (i < own->n || j < inherited->n)) {
		const struct memfile_run *run;

		if (j == inherited->n ||
			(i < own->n && own->items[i].offset <= inherited->items[j].offset))
			run = &own->items[i++];
		else
			run = &inherited->items[j++];
		r = run_list_add(ret, run->offset, run->bytes);
	}
	return r < 0 ? err_set(e, r, "no memory for the list of pages") : 0;
}

/* What differs from the file behind memfile_map, as few enough runs. */
static int find_changed(struct saver *s, const struct memfile_runs *inherited,
	struct memfile_runs *ret, struct err *e)
{
	const struct memfile_runs *mapped = &s->g->base->over;
	autorunlist struct run_list own = {0}, all = {0};
	uint64_t bytes;
	int r;

	if (!inherited || !inherited->n)
		inherited = mapped;
	r = memfile_runs_check(inherited, s->g->total, &bytes, e);
	if (r == 0)
		r = classify(s->g, s->pagemap, &own, NULL, e);
	if (r == 0)
		r = unite(&own, inherited, &all, e);
	if (r == 0 && run_list_take(&all, ret) < 0)
		r = err_set(e, -ENOMEM, "no memory for the list of pages");
	return r;
}

static int put_runs(struct saver *s, const struct memfile_runs *runs, struct memfile_saved *ret)
{
	uint64_t to = 0;
	int r = 0;

	for (uint32_t i = 0; i < runs->n && r == 0; i++) {
		r = put_ram(s, runs->items[i].offset, runs->items[i].bytes, to);
		to += runs->items[i].bytes;
	}
	return r < 0 ? r : finish(s, to, ret);
}

int memfile_save_diff(const struct gmem *g, const struct memfile_runs *inherited, int pagemap_fd,
	int fd, struct memfile_runs *ret_runs, struct memfile_saved *ret, struct err *e)
{
	CLEANUP(memfile_runs_fini) struct memfile_runs runs = {0};
	CLEANUP(saver_fini) struct saver s = {0};
	int r;

	if (!g->base || pagemap_fd < 0) {
		err_set(e, -EINVAL, "only a restored VM has a snapshot that it differs from");
		err_object(e, "memory");
		return err_remedy(e, "take a full snapshot");
	}
	r = saver_init(&s, g, pagemap_fd, fd, e);
	if (r == 0)
		r = find_changed(&s, inherited, &runs, e);
	if (r == 0)
		r = put_runs(&s, &runs, ret);
	if (r < 0)
		return err_object(e, "memory");
	*ret_runs = runs;
	runs = (struct memfile_runs){0}; /* handed over */
	return 0;
}

int memfile_touched(const struct gmem *g, int pagemap_fd, struct memfile_runs *ret_written,
	struct memfile_runs *ret_read, struct err *e)
{
	CLEANUP(memfile_runs_fini) struct memfile_runs written = {0};
	autorunlist struct run_list own = {0}, of_file = {0};
	autofree struct pagemap *pm = pagemap_new(pagemap_fd);
	int r;

	if (pagemap_fd < 0)
		r = err_set(e, -EINVAL, "without pagemap nobody knows which pages were touched");
	else if (!pm)
		r = err_set(e, -ENOMEM, "no memory to look at pages");
	else
		r = classify(g, pm, &own, &of_file, e);
	if (r == 0 && (run_list_take(&own, &written) < 0 || run_list_take(&of_file, ret_read) < 0))
		r = err_set(e, -ENOMEM, "no memory for the list of pages");
	if (r < 0)
		return err_object(e, "memory");
	*ret_written = written;
	written = (struct memfile_runs){0}; /* handed over */
	return 0;
}
