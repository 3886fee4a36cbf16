// SPDX-License-Identifier: Apache-2.0
/*
 * Objects of the store: files that appear whole under their name or not at all. Names are relative
 * to the store ("blobs/sha256/HEX"), made from parsed digests only.
 */
#pragma once

#include "base/buf.h"
#include "oci/store.h"

enum { OBJECT_NAME_BYTES = 160 };

/* Layer files are made anew when the way they are made changes: then change this name. */
#define OBJECT_LAYER_FORMAT "squashfs-zstd-1"

struct object_slot {
	struct store *store;
	int fd; /* where to write; read-write */
	char name[OBJECT_NAME_BYTES];
	char tmp[OBJECT_NAME_BYTES];
};

void object_layer_name(const struct digest *diff_id, char out[OBJECT_NAME_BYTES]);
void object_blob_name(const struct digest *d, char out[OBJECT_NAME_BYTES]);
void object_image_name(const struct digest *manifest, char out[OBJECT_NAME_BYTES]);
void object_reference_name(const struct digest *d, char out[OBJECT_NAME_BYTES]);

/* The size of an object, or -ENOENT, or another -errno. */
int64_t object_bytes(const struct store *s, const char *name);

/* Becomes the only writer of an object, or finds that it is there: returns 1 then, 0 when *ret is
 * to be written and given to object_commit or object_abandon. Waits while another process (or
 * thread) writes the same object. */
int object_reserve(
	struct store *s, const char *name, struct object_slot *ret, struct err *e) MUST_CHECK;

/* Makes what was written durable and visible. On failure the slot is abandoned. */
int object_commit(struct object_slot *slot, struct err *e) MUST_CHECK;
void object_abandon(struct object_slot *slot);

/* Writes a small object, in one step; replaces one that is there. For what is checked when it is
 * read (records, blobs): unlike a commit it is not made durable. */
int object_put(struct store *s, const char *name, const void *data, size_t bytes,
	struct err *e) MUST_CHECK;

/* Reads a small object; the buffer's ceiling bounds it. -ENOENT without a word in e. */
int object_get(const struct store *s, const char *name, struct buf *ret, struct err *e) MUST_CHECK;

int object_remove(struct store *s, const char *name);

/* Makes a directory of the store, for its owner alone, unless it is there. */
int object_make_directory(struct store *s, const char *name, struct err *e) MUST_CHECK;

/* Calls `each` with the full object name of every file in a directory of the store, in no order. */
int object_each(struct store *s, const char *directory,
	int (*each)(void *context, const char *name), void *context, struct err *e) MUST_CHECK;

/* Deletes what crashed writers left. */
void object_sweep(struct store *s);

/* The lock that keeps objects not yet named by any image from being collected: shared while an
 * image is being made, exclusive (and without waiting: -EBUSY) while collecting. Returns a
 * descriptor to close. */
int object_lock_images(struct store *s, bool is_exclusive, struct err *e) MUST_CHECK;

/* Sets e for a failed write into the store, with what to do about a full disk. Returns code. */
int object_write_failed(const struct store *s, int code, struct err *e);
