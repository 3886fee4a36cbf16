// SPDX-License-Identifier: Apache-2.0
/*
 * Memory and pieces of other files into one sparse file, front to back. Holes of the other files
 * are passed over; neighbours that are small are written together, large ones straight from where
 * they are. Errors name what is saved as the object and say what to do. Used by one thread.
 */
#pragma once

#include "base/sparse.h"

struct sparse_copy {
	struct sparse_writer to;
	const char *what; /* "memory", "disk": borrowed, for errors */
	uint8_t *room;	  /* owned; SPARSE_COPY_BYTES */
	uint64_t at;	  /* in the file being written: where the bytes that wait belong */
	uint64_t n;	  /* bytes that wait in room */
};

enum { SPARSE_COPY_BYTES = 256 << 10 };

/* fd is borrowed and empty. -ENOMEM. */
int sparse_copy_init(struct sparse_copy *c, int fd, const char *what, struct err *e) MUST_CHECK;
void sparse_copy_fini(struct sparse_copy *c);

/* `bytes` bytes (whole pages) go to `to` (whole pages, not below what went there before). */
int sparse_copy_put(struct sparse_copy *c, uint64_t to, const void *data, uint64_t bytes,
	struct err *e) MUST_CHECK;

/* The same for the `bytes` bytes at `at` of a file: -ENODATA when it ends before. */
int sparse_copy_file(struct sparse_copy *c, uint64_t to, int fd, uint64_t at, uint64_t bytes,
	struct err *e) MUST_CHECK;

/* Writes what waits and gives the file its size. c->to then has its checksum and bytes of data. */
int sparse_copy_end(struct sparse_copy *c, uint64_t bytes, struct err *e) MUST_CHECK;
