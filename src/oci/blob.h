// SPDX-License-Identifier: Apache-2.0
/*
 * A large blob read as a stream and verified on the way: what was read may be trusted once
 * blob_verify says so, and nothing made of it may be kept before. One thread.
 */
#pragma once

#include <sys/types.h>

#include "oci/hash.h"
#include "oci/source.h"

/* Told how much of a blob has been read; a value other than 0 gives up (-ECANCELED). */
struct blob_watch {
	int (*advanced)(struct blob_watch *w, uint64_t done_bytes);
};

struct blob {
	struct blob_stream *stream;
	struct blob_watch *watch; /* may be NULL */
	struct hasher hasher;
	struct digest digest;
	uint64_t bytes; /* as the descriptor says */
	uint64_t done_bytes;
	bool is_longer; /* than it may be: nothing more is read */
};

int blob_open(struct blob *b, struct source *s, const struct descriptor *d,
	struct blob_watch *watch, struct err *e) MUST_CHECK;
void blob_close(struct blob *b);

/* Up to `bytes` bytes; 0 at the end, -errno. Never more in all than the descriptor says. */
ssize_t blob_read(struct blob *b, void *data, size_t bytes, struct err *e) MUST_CHECK;

/* Reads what is left and compares size and digest: 0, -EBADMSG, or another -errno. */
int blob_verify(struct blob *b, struct err *e) MUST_CHECK;
