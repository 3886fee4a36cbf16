// SPDX-License-Identifier: Apache-2.0
/*
 * Where an image's blobs come from, behind four functions: an OCI layout directory, a tar archive
 * of one, and later a registry. A source gives bytes and promises nothing about them; whoever
 * reads them checks size and digest (source_read_document here, blob.h for layers).
 *
 * A source is used by one thread while it resolves; open_blob may then be called from several
 * threads at once, and each stream belongs to the thread that opened it.
 */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "oci/manifest.h"

struct source;

struct blob_stream {
	/* Up to `bytes` bytes; 0 at the end, -errno with e set on failure. */
	ssize_t (*read)(struct blob_stream *s, void *data, size_t bytes, struct err *e);
	void (*close)(struct blob_stream *s);
};

struct source_ops {
	const char *name; /* as in a reference: "oci", "oci-archive" */
	/* The index of all images at this place; a registry would ask for one tag instead. */
	int (*resolve)(struct source *s, const struct ref *ref, const struct platform *wanted,
		struct descriptor *ret, struct err *e);
	int (*open_blob)(
		struct source *s, const struct digest *d, struct blob_stream **ret, struct err *e);
	void (*close)(struct source *s);
};

/* First member of each kind of source. */
struct source {
	const struct source_ops *ops;
};

/* An OCI layout directory. -ENOENT when it is not there or is no layout. Nothing outside of the
 * directory is ever read, whatever symbolic links it holds. */
int layout_open(const char *path, struct source **ret, struct err *e) MUST_CHECK;

void source_close(struct source *s);

/* Reads a small document and checks its size and digest: only what is right is given out. */
int source_read_document(
	struct source *s, const struct descriptor *d, struct buf *ret, struct err *e) MUST_CHECK;

/* Follows indexes (at most INDEX_DEPTH_MAX, one in another) down to the manifest that the
 * reference and platform mean. */
enum { INDEX_DEPTH_MAX = 4 };
int source_find_manifest(struct source *s, const struct ref *ref, const struct platform *wanted,
	struct descriptor *ret, struct err *e) MUST_CHECK;

/* For sources that hold an OCI layout: the text of its two fixed files → the chosen entry. */
int layout_check_marker(const struct buf *oci_layout, struct err *e) MUST_CHECK;
int layout_choose(const struct buf *index_json, const struct ref *ref,
	const struct platform *wanted, struct descriptor *ret, struct err *e) MUST_CHECK;
