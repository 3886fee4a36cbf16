// SPDX-License-Identifier: Apache-2.0
/*
 * The `state` file of a snapshot: a header, a table of sections, the sections' bytes. Each section
 * has a name, a version and a checksum; the table has one of its own. docs/snapshot-format.md says
 * the bytes. Knows no device; works on memory, so that it is read with one call and fuzzed without
 * files. Used by one thread.
 */
#pragma once

#include "base/snapio.h"

enum {
	SNAPFILE_FORMAT = 1,
	SNAPFILE_BYTES_MAX = 16 << 20,
	SNAPFILE_SECTIONS_MAX = 128,
	SNAPFILE_NAME_MAX = 31,
};

struct snapfile_section {
	char name[SNAPFILE_NAME_MAX + 1];
	uint32_t version;
	size_t offset; /* of its bytes, from the start of the file */
	size_t bytes;
	uint64_t checksum;
};

/* A file being written. */
struct snapfile_writer {
	struct buf body; /* the sections' bytes */
	struct snapfile_section sections[SNAPFILE_SECTIONS_MAX];
	unsigned n;
	struct snapio io;
};

void snapfile_writer_init(struct snapfile_writer *w);
void snapfile_writer_fini(struct snapfile_writer *w);

/* Begins a section; walk the fields with what is returned, then snapfile_end. `name` is copied. */
struct snapio *snapfile_begin(struct snapfile_writer *w, const char *name, uint32_t version);
int snapfile_end(struct snapfile_writer *w, struct err *e) MUST_CHECK;

/* Writes the file from the start of fd, which must be empty, and gives its size. The caller sees to
 * fsync. Errors name "state". */
int snapfile_write(
	struct snapfile_writer *w, int fd, uint64_t *ret_bytes, struct err *e) MUST_CHECK;

/* A file that was read; points into the caller's bytes. */
struct snapfile {
	const uint8_t *data;
	size_t bytes;
	struct snapfile_section sections[SNAPFILE_SECTIONS_MAX];
	unsigned n;
};

/* Checks all of it: magic, format, table, bounds (overlap, overflow, order), every checksum. Errors
 * say what is wrong and what to do: -EBADMSG damaged or truncated, -ENOTSUP another format, each
 * naming the section where it is one. `data` is borrowed. */
int snapfile_open(const void *data, size_t bytes, struct snapfile *ret, struct err *e) MUST_CHECK;

/* Starts loading a section: -ENOENT when there is none, -ENOTSUP when its version is 0 or above
 * `newest`. Then walk, then snapio_end. */
int snapfile_load(const struct snapfile *f, const char *name, uint32_t newest, struct snapio *io,
	struct err *e) MUST_CHECK;
