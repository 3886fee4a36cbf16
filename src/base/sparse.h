// SPDX-License-Identifier: Apache-2.0
/*
 * Sparse files: written without their zeroes, checked without reading their holes.
 *
 * A checksum of such a file counts pages (SPARSE_PAGE_BYTES) that are not all zeroes, each with its
 * place, in ascending order: whether a page of zeroes is a hole or is stored makes no difference,
 * so a copy of the file by any tool still has it.
 */
#pragma once

#include "base/err.h"

enum { SPARSE_PAGE_BYTES = 4096 };

/* A file being written, front to back. */
struct sparse_writer {
	int fd; /* borrowed; empty at first */
	uint64_t data_bytes;
	uint64_t checksum;
	uint64_t end; /* nothing before it may be written any more */
};

void sparse_begin(struct sparse_writer *w, int fd);

/* Writes `bytes` bytes (whole pages) at `offset` (whole pages, not below what was written before);
 * pages of zeroes are left out. Returns 0 or -errno. */
int sparse_write(
	struct sparse_writer *w, uint64_t offset, const void *data, uint64_t bytes) MUST_CHECK;

/* Gives the file its size, `bytes`. Returns 0 or -errno. */
int sparse_end(struct sparse_writer *w, uint64_t bytes) MUST_CHECK;

/* The next piece of a file of `size` bytes at or after `from` that may hold data: whole pages, cut
 * off at `size`; it begins no later than `from` when that lies in data. The file's position moves.
 * Returns 1, 0 when only holes follow, or -errno. */
int sparse_next_data(
	int fd, uint64_t from, uint64_t size, uint64_t *ret_at, uint64_t *ret_end) MUST_CHECK;

/* The checksum of a file as it is now, and its bytes of data. Reads its data once. */
int sparse_checksum(
	int fd, uint64_t *ret_checksum, uint64_t *ret_data_bytes, struct err *e) MUST_CHECK;
