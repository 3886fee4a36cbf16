// SPDX-License-Identifier: Apache-2.0
/*
 * The JSON documents of an image (OCI image-spec v1.1, Docker image manifest v2 schema 2): index,
 * manifest, configuration. Pure functions from verified bytes to plain data; every document may be
 * hostile. Errors say what is wrong; the caller names the document.
 */
#pragma once

#include "oci/image.h"
#include "oci/platform.h"
#include "oci/ref.h"

enum {
	DOCUMENT_BYTES_MAX = 4 << 20, /* image-spec "implementations": a manifest of 4 MiB */
	MANIFEST_LAYERS_MAX = 1024,   /* Docker stops at 127 */
	MEDIA_TYPE_BYTES = 128,
};

enum media_kind {
	MEDIA_OTHER,
	MEDIA_INDEX,
	MEDIA_MANIFEST,
	MEDIA_CONFIG,
	MEDIA_LAYER,
};

struct descriptor {
	enum media_kind kind;
	char media_type[MEDIA_TYPE_BYTES];
	struct digest digest;
	uint64_t bytes;
	bool has_platform;
	struct platform platform;
	char ref_name[REF_TAG_BYTES]; /* org.opencontainers.image.ref.name; "" when absent */
};

struct index {
	struct descriptor *items;
	size_t n;
};

struct manifest {
	struct descriptor config;
	struct descriptor *layers; /* lowest first */
	unsigned n_layers;
};

/* The configuration document: what runs, and what it is made of. */
struct image_document {
	struct image_config config;
	struct platform platform;
	char *created; /* RFC 3339 text as written, NULL when absent */
	struct digest *diff_ids;
	unsigned n_diff_ids;
};

int index_parse(const void *json, size_t bytes, struct index *ret, struct err *e) MUST_CHECK;
void index_fini(struct index *index);

int manifest_parse(const void *json, size_t bytes, struct manifest *ret, struct err *e) MUST_CHECK;
void manifest_fini(struct manifest *m);

int image_document_parse(
	const void *json, size_t bytes, struct image_document *ret, struct err *e) MUST_CHECK;
void image_document_fini(struct image_document *doc);

/* The entry for a tag ("" when none was asked for) or digest, and a platform. Without a tag: the
 * only image there is, else the one tagged "latest". -ENOENT lists what there is instead. */
int index_choose(const struct index *index, const struct ref *ref, const struct platform *wanted,
	const struct descriptor **ret, struct err *e) MUST_CHECK;

/* The same by platform alone, for an index inside an index. */
int index_choose_platform(const struct index *index, const struct platform *wanted,
	const struct descriptor **ret, struct err *e) MUST_CHECK;
