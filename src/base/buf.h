// SPDX-License-Identifier: Apache-2.0
/* A growable byte buffer with a mandatory ceiling, so that no stranger can make it eat the host. */
#pragma once

#include "base/cc.h"

struct buf {
	uint8_t *data;
	size_t bytes;
	size_t room;
	size_t ceiling;
};

#define autobuf CLEANUP(buf_fini)

/* Empty; will never hold more than `ceiling` bytes. */
void buf_init(struct buf *b, size_t ceiling);
void buf_fini(struct buf *b);

/* Makes room for `bytes` more and returns where they go (not counted until buf_grew), or NULL when
 * that would pass the ceiling or memory is short. */
void *buf_reserve(struct buf *b, size_t bytes);
void buf_grew(struct buf *b, size_t bytes);

/* Append. Return 0, -E2BIG at the ceiling, -ENOMEM. */
int buf_append(struct buf *b, const void *data, size_t bytes) MUST_CHECK;
int buf_append_str(struct buf *b, const char *s) MUST_CHECK;
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_CHECK;

/* Drops the first `bytes` bytes (at most all of them). */
void buf_consume(struct buf *b, size_t bytes);

/* The bytes as a C string, valid until the next change; NULL when memory is short. */
const char *buf_cstr(struct buf *b);

/* Reads the whole of fd from its current offset. Returns 0, -E2BIG, -ENOMEM or -errno. */
int buf_read_fd(struct buf *b, int fd) MUST_CHECK;
