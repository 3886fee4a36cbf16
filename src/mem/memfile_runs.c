// SPDX-License-Identifier: Apache-2.0
/*
 * Lists of runs: found while pages are looked at, kept to a number that can be mapped, saved, and
 * checked when they come back from a stranger.
 */
#include "mem/memfile_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/le.h"
#include "base/snapio.h"

enum {
	ROOM_FIRST = 256,
	ROOM_MAX = 1 << 20, /* runs kept while more are looked for: 16 MiB */
	RUN_SAVED_BYTES = 16,
};

void memfile_runs_fini(struct memfile_runs *runs)
{
	free(runs->items);
	*runs = (struct memfile_runs){0};
}

static uint64_t run_end(const struct memfile_run *run)
{
	return run->offset + run->bytes;
}

void run_list_fini(struct run_list *l)
{
	free(l->items);
	*l = (struct run_list){0};
}

static int grow(struct run_list *l)
{
	size_t room = l->room ? l->room * 2 : ROOM_FIRST;
	struct memfile_run *items;

	if (room > ROOM_MAX)
		return run_list_limit(l, ROOM_MAX / 2);
	items = realloc(l->items, room * sizeof(*items));
	if (!items)
		return -ENOMEM;
	l->items = items;
	l->room = room;
	return 0;
}

int run_list_add(struct run_list *l, uint64_t offset, uint64_t bytes)
{
	struct memfile_run *last = l->n ? &l->items[l->n - 1] : NULL;
	int r;

	if (last && offset <= run_end(last)) {
		last->bytes = MAX(last->bytes, offset + bytes - last->offset);
		return 0;
	}
	r = l->n == l->room ? grow(l) : 0;
	if (r < 0)
		return r;
	l->items[l->n++] = (struct memfile_run){offset, bytes};
	return 0;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Fills every gap below `limit` and so many that are as large, from the front. */
static void fill_gaps(struct run_list *l, uint64_t limit, size_t n_equal)
{
	struct memfile_run *last = l->items;
	size_t n = l->n;

	for (size_t i = 1; i < n; i++) {
		struct memfile_run run = l->items[i];
		uint64_t gap = run.offset - run_end(last);

		if (gap < limit || (gap == limit && n_equal)) {
			n_equal -= gap == limit;
			last->bytes = run.offset + run.bytes - last->offset;
		} else {
			*++last = run;
		}
	}
	l->n = (size_t)(last - l->items) + 1;
}

int run_list_limit(struct run_list *l, size_t max)
{
	autofree uint64_t *gaps = NULL;
	size_t n_filled, n_equal = 0;

	if (l->n <= max)
		return 0;
	gaps = malloc((l->n - 1) * sizeof(*gaps));
	if (!gaps)
		return -ENOMEM;
	for (size_t i = 1; i < l->n; i++)
		gaps[i - 1] = l->items[i].offset - run_end(&l->items[i - 1]);
	qsort(gaps, l->n - 1, sizeof(*gaps), by_size);
	n_filled = l->n - max;
	while (n_equal < n_filled && gaps[n_filled - 1 - n_equal] == gaps[n_filled - 1])
		n_equal++;
	fill_gaps(l, gaps[n_filled - 1], n_equal);
	return 0;
}

int run_list_take(struct run_list *l, struct memfile_runs *ret)
{
	int r = run_list_limit(l, MEMFILE_RUNS_MAX);

	if (r < 0)
		return r;
	*ret = (struct memfile_runs){.items = l->items, .n = (uint32_t)l->n};
	*l = (struct run_list){0};
	return 0;
}

static const char *fault_of(
	const struct memfile_run *run, uint64_t floor, uint64_t ram_bytes, bool is_first)
{
	uint64_t end;

	if (!run->bytes)
		return "is empty";
	if ((run->offset | run->bytes) % MEMFILE_PAGE_BYTES)
		return "is not whole pages";
	if (add_overflows(run->offset, run->bytes, &end) || end > ram_bytes)
		return "lies outside RAM";
	if (!is_first && run->offset <= floor)
		return "does not come after the one before it";
	return NULL;
}

int memfile_runs_check(
	const struct memfile_runs *runs, uint64_t ram_bytes, uint64_t *ret_bytes, struct err *e)
{
	uint64_t floor = 0, bytes = 0;

	if (runs->n > MEMFILE_RUNS_MAX)
		return err_set(e, -EBADMSG, "%u runs of pages, at most %d are possible", runs->n,
			MEMFILE_RUNS_MAX);
	for (uint32_t i = 0; i < runs->n; i++) {
		const struct memfile_run *run = &runs->items[i];
		const char *fault = fault_of(run, floor, ram_bytes, i == 0);

		if (fault)
			return err_set(e, -EBADMSG, "run %u of pages (0x%llx bytes at 0x%llx) %s",
				i, (unsigned long long)run->bytes, (unsigned long long)run->offset,
				fault);
		floor = run->offset + run->bytes;
		bytes += run->bytes;
	}
	*ret_bytes = bytes;
	return 0;
}

static void encode(const struct memfile_runs *runs, uint8_t *to)
{
	for (uint32_t i = 0; i < runs->n; i++, to += RUN_SAVED_BYTES) {
		le64_store(to, runs->items[i].offset);
		le64_store(to + 8, runs->items[i].bytes);
	}
}

static void decode(struct memfile_runs *runs, const uint8_t *from)
{
	for (uint32_t i = 0; i < runs->n; i++, from += RUN_SAVED_BYTES)
		runs->items[i] = (struct memfile_run){le64_load(from), le64_load(from + 8)};
}

static void load(struct memfile_runs *runs, uint64_t ram_bytes, const uint8_t *room, uint32_t n,
	struct snapio *io)
{
	struct memfile_runs loaded = {.n = n};
	struct err e = {0};
	uint64_t bytes;

	loaded.items = malloc(n * sizeof(*loaded.items));
	if (!loaded.items) {
		err_set(&io->err, -ENOMEM, "no memory for %u runs of pages", n);
		return;
	}
	decode(&loaded, room);
	if (memfile_runs_check(&loaded, ram_bytes, &bytes, &e) < 0) {
		snapio_fail(io, "runs", "%s", e.cause);
		memfile_runs_fini(&loaded);
		return;
	}
	memfile_runs_fini(runs);
	*runs = loaded;
}

/* All of them as one field: there may be many, and a restore waits for it. */
void memfile_runs_snap(struct memfile_runs *runs, uint64_t ram_bytes, struct snapio *io)
{
	autofree uint8_t *room = NULL;
	uint32_t n = runs->n;

	snapio_count(io, "n_runs", &n, MEMFILE_RUNS_MAX);
	if (!snapio_is_good(io))
		return;
	if (!n) {
		if (snapio_is_loading(io))
			memfile_runs_fini(runs);
		return;
	}
	room = malloc((size_t)n * RUN_SAVED_BYTES);
	if (!room) {
		err_set(&io->err, -ENOMEM, "no memory for %u runs of pages", n);
		return;
	}
	if (!snapio_is_loading(io))
		encode(runs, room);
	snapio_bytes(io, "runs", room, (size_t)n * RUN_SAVED_BYTES);
	if (snapio_is_loading(io) && snapio_is_good(io))
		load(runs, ram_bytes, room, n, io);
}
