// SPDX-License-Identifier: Apache-2.0
/*
 * An overlay disk written to a file, whole or only what it has of its own, and brought back to what
 * it was. Everything that is written is read, for it is summed: no range is handed to the kernel to
 * copy. Holes are passed over. The disk is at rest.
 */
#include "backend/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/disk_overlay.h"
#include "base/alloc.h"
#include "base/le.h"
#include "base/snapio.h"
#include "base/sparse_copy.h"

enum { RUN_SAVED_BYTES = 16 };

#define autocopy CLEANUP(sparse_copy_fini)

/* [offset, end) of the disk. */
static int copy_range(struct sparse_copy *c, const struct disk_layers *l, uint64_t offset,
	uint64_t end, uint64_t to, struct err *e)
{
	int r = 0;

	while (offset < end && r == 0) {
		struct disk_piece piece = disk_layers_piece(l, offset, end);

		r = sparse_copy_file(c, to, piece.fd, piece.at, piece.bytes, e);
		offset += piece.bytes;
		to += piece.bytes;
	}
	return r;
}

static int finish(struct sparse_copy *c, uint64_t bytes, struct disk_saved *ret, struct err *e)
{
	int r = sparse_copy_end(c, bytes, e);

	if (r == 0)
		*ret = (struct disk_saved){c->to.data_bytes, c->to.checksum};
	return r;
}

int disk_overlay_save(struct disk *d, int fd, struct disk_saved *ret, struct err *e)
{
	const struct disk_layers *l = disk_overlay_layers(d, e);
	autocopy struct sparse_copy c = {0};
	int r;

	if (!l)
		return -EINVAL;
	r = sparse_copy_init(&c, fd, "disk", e);
	if (r == 0)
		r = copy_range(&c, l, 0, d->bytes, 0, e);
	return r < 0 ? r : finish(&c, d->bytes, ret, e);
}

/* The runs of clusters that are not the base's, where gaps of up to `gap` bytes are none. Their
 * number is returned; those that there is room for go to items. */
static uint64_t find_runs(
	const struct disk_layers *l, uint64_t gap, struct disk_run *items, uint64_t room)
{
	uint64_t n = 0, last_end = 0;

	for (uint64_t at = 0; at < l->bytes;) {
		struct disk_piece piece = disk_layers_piece(l, at, l->bytes);
		bool is_more = n && at - last_end <= gap;

		if (piece.layer != LAYER_BASE) {
			n += !is_more;
			if (n <= room && is_more)
				items[n - 1].bytes = at + piece.bytes - items[n - 1].offset;
			else if (n <= room)
				items[n - 1] = (struct disk_run){at, piece.bytes};
			last_end = at + piece.bytes;
		}
		at += piece.bytes;
	}
	return n;
}

/* Fills gaps, larger ones each time, until the runs are few enough. */
static int list_runs(const struct disk_layers *l, struct disk_runs *ret)
{
	uint64_t gap = 0, n = find_runs(l, gap, NULL, 0);

	while (n > DISK_RUNS_MAX) {
		gap = gap ? gap * 2 : DISK_CLUSTER_BYTES;
		n = find_runs(l, gap, NULL, 0);
	}
	*ret = (struct disk_runs){.n = (uint32_t)n};
	if (!n)
		return 0;
	ret->items = calloc(n, sizeof(*ret->items));
	if (!ret->items)
		return -ENOMEM;
	find_runs(l, gap, ret->items, n);
	return 0;
}

static int copy_runs(struct sparse_copy *c, const struct disk_layers *l,
	const struct disk_runs *runs, struct disk_saved *ret, struct err *e)
{
	uint64_t to = 0;
	int r = 0;

	for (uint32_t i = 0; i < runs->n && r == 0; i++) {
		const struct disk_run *run = &runs->items[i];

		r = copy_range(c, l, run->offset, run->offset + run->bytes, to, e);
		to += run->bytes;
	}
	return r < 0 ? r : finish(c, to, ret, e);
}

int disk_overlay_save_diff(
	struct disk *d, int fd, struct disk_runs *ret_runs, struct disk_saved *ret, struct err *e)
{
	const struct disk_layers *l = disk_overlay_layers(d, e);
	autocopy struct sparse_copy c = {0};
	struct disk_runs runs = {0};
	int r;

	if (!l)
		return -EINVAL;
	r = sparse_copy_init(&c, fd, "disk", e);
	if (r < 0)
		return r;
	if (list_runs(l, &runs) < 0) {
		err_set(e, -ENOMEM, "no memory for the list of clusters");
		return err_object(e, "disk");
	}
	r = copy_runs(&c, l, &runs, ret, e);
	if (r < 0) {
		free(runs.items);
		return r;
	}
	*ret_runs = runs;
	return 0;
}

static const char *fault_of(
	const struct disk_run *run, uint64_t floor, uint64_t disk_bytes, bool is_first)
{
	uint64_t end;

	if (!run->bytes)
		return "is empty";
	if ((run->offset | run->bytes) % DISK_CLUSTER_BYTES)
		return "is not whole clusters";
	if (add_overflows(run->offset, run->bytes, &end) || end > disk_bytes)
		return "lies outside the disk";
	if (!is_first && run->offset < floor)
		return "does not come after the one before it";
	return NULL;
}

/* The runs as they lie in their file. */
static int place_runs(const struct disk_runs *runs, uint64_t disk_bytes,
	struct disk_diff_run *items, uint64_t *ret_bytes, struct err *e)
{
	uint64_t floor = 0, at = 0;

	for (uint32_t i = 0; i < runs->n; i++) {
		const struct disk_run *run = &runs->items[i];
		const char *fault = fault_of(run, floor, disk_bytes, i == 0);

		if (fault)
			return err_set(e, -EBADMSG,
				"run %u of clusters (0x%llx bytes at 0x%llx) %s", i,
				(unsigned long long)run->bytes, (unsigned long long)run->offset,
				fault);
		items[i] = (struct disk_diff_run){run->offset, run->bytes, at};
		floor = run->offset + run->bytes;
		at += run->bytes;
	}
	*ret_bytes = at;
	return 0;
}

static int check_size(int fd, uint64_t bytes, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "ask for the size of the differential disk file");
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EBADMSG, "the differential disk file is not a regular file");
	if ((uint64_t)st.st_size != bytes)
		return err_set(e, -EBADMSG,
			"the differential disk file has %llu bytes, its clusters need %llu",
			(unsigned long long)st.st_size, (unsigned long long)bytes);
	return 0;
}

static int load_diff(struct disk_layers *l, int fd, const struct disk_runs *runs, struct err *e)
{
	autofree struct disk_diff_run *items = NULL;
	uint64_t bytes = 0;
	int r;

	if (l->is_written || l->diff)
		return err_set(e, -EINVAL,
			"a differential snapshot goes over a disk that was not written to, once");
	if (runs->n > DISK_RUNS_MAX)
		return err_set(e, -EBADMSG, "%u runs of clusters, at most %d are possible", runs->n,
			DISK_RUNS_MAX);
	items = calloc(runs->n + 1u, sizeof(*items));
	if (!items)
		return err_set(e, -ENOMEM, "no memory for %u runs of clusters", runs->n);
	r = place_runs(runs, l->bytes, items, &bytes, e);
	if (r == 0)
		r = check_size(fd, bytes, e);
	if (r < 0)
		return r;
	l->diff_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (l->diff_fd < 0)
		return err_sys(e, "keep the differential disk file");
	l->diff = take_ptr(&items);
	l->n_diff = runs->n;
	return 0;
}

int disk_overlay_load_diff(struct disk *d, int fd, const struct disk_runs *runs, struct err *e)
{
	struct disk_layers *l = disk_overlay_layers(d, e);
	int r;

	if (!l)
		return -EINVAL;
	r = load_diff(l, fd, runs, e);
	if (r == -EBADMSG)
		err_remedy(e, "the snapshot is damaged: take it again");
	return r < 0 ? err_object(e, "disk") : 0;
}

int disk_overlay_rollback(struct disk *d, struct err *e)
{
	struct disk_layers *l = disk_overlay_layers(d, e);

	if (!l)
		return -EINVAL;
	if (!l->is_written)
		return 0;
	disk_layers_forget(l);
	if (ftruncate(l->own_fd, 0) < 0 || ftruncate(l->own_fd, (off_t)l->bytes) < 0) {
		err_sys(e, "give up what was written");
		return err_object(e, "disk");
	}
	return 0;
}

static void encode(const struct disk_runs *runs, uint8_t *to)
{
	for (uint32_t i = 0; i < runs->n; i++, to += RUN_SAVED_BYTES) {
		le64_store(to, runs->items[i].offset);
		le64_store(to + 8, runs->items[i].bytes);
	}
}

static void decode(struct disk_run *items, uint32_t n, const uint8_t *from)
{
	for (uint32_t i = 0; i < n; i++, from += RUN_SAVED_BYTES)
		items[i] = (struct disk_run){le64_load(from), le64_load(from + 8)};
}

/* All of them as one field: there may be many, and a restore waits for it. */
void disk_runs_snap(struct disk_runs *runs, struct snapio *io)
{
	autofree struct disk_run *items = NULL;
	autofree uint8_t *room = NULL;
	uint32_t n = runs->n;

	snapio_count(io, "n_runs", &n, DISK_RUNS_MAX);
	if (!snapio_is_good(io))
		return;
	room = malloc((size_t)n * RUN_SAVED_BYTES + 1);
	items = calloc(n + 1u, sizeof(*items));
	if (!room || !items) {
		err_set(&io->err, -ENOMEM, "no memory for %u runs of clusters", n);
		return;
	}
	if (!snapio_is_loading(io))
		encode(runs, room);
	if (n)
		snapio_bytes(io, "runs", room, (size_t)n * RUN_SAVED_BYTES);
	if (!snapio_is_loading(io) || !snapio_is_good(io))
		return;
	decode(items, n, room);
	free(runs->items);
	*runs = (struct disk_runs){.items = take_ptr(&items), .n = n};
}
