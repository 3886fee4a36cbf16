// SPDX-License-Identifier: Apache-2.0
/*
 * The compressed blob of a layer, taken apart while it streams: blob → gzip, zstd or nothing →
 * SHA-256 of the plain tar (the diff ID) → tar entries. All of it by libarchive, restricted to
 * those formats. One thread, and no locale of the process is touched.
 */
#pragma once

#include "oci/blob.h"

struct archive;
struct archive_entry;

struct tar_stream;

/* blob stays the caller's. max_bytes: ceiling for the plain tar. */
int tar_stream_open(
	struct blob *blob, uint64_t max_bytes, struct tar_stream **ret, struct err *e) MUST_CHECK;
void tar_stream_close(struct tar_stream *t);

/* The next entry, valid until the next call: 1, or 0 at the end of the archive. */
int tar_stream_next(struct tar_stream *t, struct archive_entry **ret, struct err *e) MUST_CHECK;

/* The next piece of the entry's content and its offset (what is left out is zeros): 1, or 0 at its
 * end. The bytes are valid until the next call. */
int tar_stream_data(struct tar_stream *t, const void **ret_data, size_t *ret_bytes,
	uint64_t *ret_offset, struct err *e) MUST_CHECK;

/* Reads what follows the archive's end and gives the digest of the whole plain tar. */
int tar_stream_diff_id(struct tar_stream *t, struct digest *ret, struct err *e) MUST_CHECK;
