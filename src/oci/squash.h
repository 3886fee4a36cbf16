// SPDX-License-Identifier: Apache-2.0
/*
 * Writes one squashfs file (format 4.0, zstd): file data as it comes, in any order; names and
 * metadata at the end, from a tree. The same calls give the same bytes. Opaque directories and
 * whiteouts get the form that Linux overlayfs reads. One thread calls; blocks are compressed by
 * worker threads inside libsquashfs.
 */
#pragma once

#include "oci/tree.h"

enum {
	SQUASH_BLOCK_BYTES = 128 << 10,
	SQUASH_PAD_BYTES = 4096, /* the file is a whole number of the largest disk sectors */
};

struct squash;

/* fd: an empty file, open for reading and writing; stays the caller's. */
int squash_open(int fd, unsigned n_workers, struct squash **ret, struct err *e) MUST_CHECK;
void squash_close(struct squash *q);

/* The content of a regular file: begin, append any number of times, end. */
int squash_begin_file(struct squash *q, struct tree_inode *i, struct err *e) MUST_CHECK;
int squash_append(struct squash *q, const void *data, size_t bytes, struct err *e) MUST_CHECK;
int squash_end_file(struct squash *q, struct err *e) MUST_CHECK;

/* Writes everything that is in the tree, and the superblock last. */
int squash_finish(struct squash *q, struct tree *t, struct err *e) MUST_CHECK;

/* libsquashfs' view of a descriptor, shared with the reader. Remembers the errno of a failure. */
struct sqfs_file_t;
struct sqfs_file_t *squash_file_new(int fd);
int squash_file_errno(const struct sqfs_file_t *f);

/* Sets e for one of libsquashfs' error numbers. */
int squash_failed(const struct sqfs_file_t *f, int code, const char *what, struct err *e);
