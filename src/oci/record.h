// SPDX-License-Identifier: Apache-2.0
/*
 * What the store remembers: of an image, which layers its manifest means (images/HEX.json), and of
 * a reference, which manifest it meant (names/HEX.json). Records are read as if a stranger had
 * written them.
 */
#pragma once

#include "oci/manifest.h"
#include "oci/store.h"

struct image_record {
	struct digest manifest;
	struct digest config;
	struct platform platform;
	char *created; /* NULL when not known */
	unsigned n_diff_ids;
	struct digest *diff_ids; /* lowest first, all of them */
	unsigned base;		 /* the lowest one that can be seen: those below are hidden whole */
};

/* Which state of an archive file a name record was made from; all zero for anything else. */
struct file_identity {
	uint64_t device, inode, bytes, mtime_ns, ctime_ns;
};

struct name_record {
	char *reference; /* normalised */
	struct platform platform;
	struct digest manifest;
	uint64_t added_at; /* seconds since 1970 */
	struct file_identity file;
};

/* -ENOENT when there is none or it cannot be used (e is then not set). */
int image_record_load(
	struct store *s, const struct digest *manifest, struct image_record *ret) MUST_CHECK;
int image_record_save(struct store *s, const struct image_record *r, struct err *e) MUST_CHECK;
void image_record_fini(struct image_record *r);

int name_record_load(struct store *s, const char *reference, const struct platform *platform,
	struct name_record *ret) MUST_CHECK;
int name_record_load_file(struct store *s, const char *name, struct name_record *ret) MUST_CHECK;
int name_record_save(struct store *s, const struct name_record *n, struct err *e) MUST_CHECK;
void name_record_fini(struct name_record *n);

/* False when the path cannot be looked at. */
bool file_identity_of(const char *path, struct file_identity *ret);

/* The layer files an image is made of for one ceiling on their number: each is one layer, or
 * (only the lowest) several merged. Pure arithmetic; nothing is looked up. */
struct layer_plan {
	struct digest *keys; /* lowest first: names of layer files */
	unsigned n;
	unsigned n_merged;     /* how many diff IDs keys[0] stands for; 1 when not merged */
	struct digest *merged; /* those, lowest first */
};

int layer_plan_make(const struct image_record *r, unsigned max_layers, struct layer_plan *ret,
	struct err *e) MUST_CHECK;
void layer_plan_fini(struct layer_plan *p);

/* True for the diff ID of an empty tar, which many tools use for steps that change no file. */
bool is_empty_layer(const struct digest *diff_id);
