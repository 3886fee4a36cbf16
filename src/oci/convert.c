// SPDX-License-Identifier: Apache-2.0
#include "oci/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "oci/layer.h"
#include "oci/merge.h"
#include "oci/store_int.h"
#include "oci/unsquash.h"

enum { REPORT_EVERY_NS = 100000000 };

/* Reports how far one layer is, now and then. */
struct layer_watch {
	struct blob_watch blob;
	struct merge_watch merge;
	struct convert *convert;
	struct image_progress progress;
	uint64_t reported_ns;
};

static int report(struct convert *c, const struct image_progress *p)
{
	int r = 0;

	if (!c->options->progress)
		return 0;
	pthread_mutex_lock(&c->lock);
	r = c->options->progress(c->options->context, p);
	pthread_mutex_unlock(&c->lock);
	if (r)
		atomic_store(&c->is_ended, true);
	return r;
}

static int advance(struct layer_watch *w, uint64_t done_bytes)
{
	uint64_t now = clock_now_ns();

	if (atomic_load(&w->convert->is_ended))
		return -ECANCELED;
	w->progress.done_bytes = done_bytes;
	if (now - w->reported_ns < REPORT_EVERY_NS)
		return 0;
	w->reported_ns = now;
	return report(w->convert, &w->progress);
}

static int blob_advanced(struct blob_watch *b, uint64_t done_bytes)
{
	return advance(container_of(b, struct layer_watch, blob), done_bytes);
}

static int merge_advanced(struct merge_watch *m, uint64_t done_bytes)
{
	return advance(container_of(m, struct layer_watch, merge), done_bytes);
}

static void watch_init(struct layer_watch *w, struct convert *c, enum image_stage stage)
{
	*w = (struct layer_watch){.blob.advanced = blob_advanced,
		.merge.advanced = merge_advanced,
		.convert = c,
		.progress = {.stage = stage, .n_layers = c->manifest->n_layers}};
}

/* What a full disk means is the same for every way to notice it. */
static int explain_space(const struct convert *c, int code, struct err *e)
{
	if (code == -ENOSPC || code == -EDQUOT || code == -EFBIG)
		err_remedy(e,
			"make room in the image store %.100s, remove images that are not "
			"needed, or set SUPERMACHINE_STORE to a larger disk",
			c->store->path);
	return code;
}

static int convert_into(struct convert *c, unsigned i, struct object_slot *slot, struct err *e)
{
	const struct descriptor *blob = &c->manifest->layers[i];
	struct layer_watch w;
	struct layer_request q = {
		.source = c->source,
		.blob = *blob,
		.diff_id = &c->document->diff_ids[i],
		.max_bytes = c->options->max_layer_bytes,
		.n_workers = c->n_workers,
		.watch = &w.blob,
	};
	int r;

	watch_init(&w, c, IMAGE_CONVERT);
	digest_format(&blob->digest, w.progress.digest);
	w.progress.layer = i;
	w.progress.total_bytes = blob->bytes;
	r = layer_convert(&q, slot->fd, e);
	if (r < 0) {
		object_abandon(slot);
		explain_space(c, r, e);
		return err_object(e, "layer %u of %u, blob %s", i + 1, c->manifest->n_layers,
			w.progress.digest);
	}
	r = object_commit(slot, e);
	if (r < 0)
		return r;
	w.progress.stage = IMAGE_LAYER_READY;
	w.progress.done_bytes = blob->bytes;
	return report(c, &w.progress) ? err_set(e, -ECANCELED, "was given up") : 0;
}

static int convert_one(struct convert *c, unsigned i, struct err *e)
{
	const struct digest *id = &c->document->diff_ids[i];
	char name[OBJECT_NAME_BYTES];
	struct object_slot slot;
	int r;

	/* An empty layer changes nothing, unless there is nothing else. */
	if (is_empty_layer(id) && i + 1 < c->manifest->n_layers)
		return 0;
	object_layer_name(id, name);
	r = object_reserve(c->store, name, &slot, e);
	if (r)
		return r < 0 ? r : 0;
	return convert_into(c, i, &slot, e);
}

static void note_error(struct convert *c, const struct err *e)
{
	pthread_mutex_lock(&c->lock);
	if (!c->err.code)
		c->err = *e;
	pthread_mutex_unlock(&c->lock);
	atomic_store(&c->is_ended, true);
}

static void *convert_some(void *context)
{
	struct convert *c = context;

	while (!atomic_load(&c->is_ended)) {
		unsigned i = atomic_fetch_add(&c->next, 1);
		struct err e = {0};

		if (i >= c->manifest->n_layers)
			break;
		if (convert_one(c, i, &e) < 0)
			note_error(c, &e);
	}
	return NULL;
}

int convert_layers(struct convert *c, struct err *e)
{
	unsigned n = MIN(MIN(c->n_cpus, c->manifest->n_layers), (unsigned)CONVERT_THREADS_MAX);
	pthread_t threads[CONVERT_THREADS_MAX];
	unsigned started = 0;

	/* A lone layer gets all processors for its compression; many share them. */
	c->n_workers = MIN(MAX(c->n_cpus / n, 1u), (unsigned)CONVERT_THREADS_MAX);
	while (started + 1 < n && !pthread_create(&threads[started], NULL, convert_some, c))
		started++;
	convert_some(c);
	while (started)
		pthread_join(threads[--started], NULL);
	if (c->err.code) {
		if (e)
			*e = c->err;
		return c->err.code;
	}
	return atomic_load(&c->is_ended) ? err_set(e, -ECANCELED, "was given up") : 0;
}

static int open_layer(const struct convert *c, const struct digest *id, struct err *e)
{
	char name[OBJECT_NAME_BYTES];
	int fd;

	object_layer_name(id, name);
	fd = openat(c->store->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_sys(e, "open %s", name) : fd;
}

/* Layers under one whose root directory is opaque cannot be seen, but overlayfs does not look for
 * the mark there: they are left out instead. */
static int find_base(struct convert *c, struct image_record *r, struct err *e)
{
	for (unsigned i = r->n_diff_ids; i-- > 1;) {
		int fd, is_opaque;

		if (is_empty_layer(&r->diff_ids[i]))
			continue;
		fd = open_layer(c, &r->diff_ids[i], e);
		if (fd < 0)
			return fd;
		is_opaque = unsquash_is_root_opaque(fd, e);
		close(fd);
		if (is_opaque < 0)
			return is_opaque;
		if (!is_opaque)
			continue;
		r->base = i;
		return 0;
	}
	return 0;
}

static int merge_files(
	struct convert *c, const int *files, unsigned n, struct object_slot *slot, struct err *e)
{
	struct layer_watch w;
	int r;

	watch_init(&w, c, IMAGE_MERGE);
	for (unsigned i = 0; i < n; i++)
		w.progress.total_bytes += (uint64_t)lseek(files[i], 0, SEEK_END);
	r = merge_layers(
		files, n, slot->fd, MIN(c->n_cpus, (unsigned)CONVERT_THREADS_MAX), &w.merge, e);
	if (r < 0) {
		object_abandon(slot);
		explain_space(c, r, e);
		return err_object(e, "the lowest %u layers, merged", n);
	}
	return object_commit(slot, e);
}

static int merge_into(
	struct convert *c, const struct layer_plan *p, struct object_slot *slot, struct err *e)
{
	int *files = calloc(p->n_merged, sizeof(*files));
	unsigned n = 0;
	int r = files ? 0 : err_set(e, -ENOMEM, "out of memory");

	while (!r && n < p->n_merged) {
		files[n] = open_layer(c, &p->merged[n], e);
		r = MIN(files[n], 0);
		n += r == 0;
	}
	if (r < 0)
		object_abandon(slot);
	else
		r = merge_files(c, files, n, slot, e);
	while (n)
		close(files[--n]);
	free(files);
	return r;
}

static int merge_plan(struct convert *c, const struct layer_plan *p, struct err *e)
{
	char name[OBJECT_NAME_BYTES];
	struct object_slot slot;
	int r;

	if (p->n_merged < 2)
		return 0;
	object_layer_name(&p->keys[0], name);
	r = object_reserve(c->store, name, &slot, e);
	if (r)
		return r < 0 ? r : 0;
	return merge_into(c, p, &slot, e);
}

int convert_merge(struct convert *c, struct image_record *record, struct err *e)
{
	struct layer_plan p;
	int r = find_base(c, record, e);

	if (!r)
		r = layer_plan_make(record, c->options->max_layers, &p, e);
	if (r < 0)
		return r;
	r = merge_plan(c, &p, e);
	layer_plan_fini(&p);
	return r;
}
