// SPDX-License-Identifier: Apache-2.0
/*
 * The writing end of a ring of bytes in a file: a little-endian 64-bit count of all bytes ever
 * written at offset 0, the ring itself at a fixed offset. The bytes go in before the count, so a
 * reader always sees some whole prefix. The geometry is the caller's (proto/console_log.h).
 * One thread at a time.
 */
#pragma once

#include "base/cc.h"

struct console_ring {
	int fd; /* borrowed */
	uint64_t ring_at;
	uint64_t ring_bytes;
	uint64_t written;
	int error; /* the first failure, -errno: once set, nothing is written any more */
};

/* Starts an empty log (and says so in the file). Returns 0 or -errno. */
int console_ring_init(
	struct console_ring *c, int fd, uint64_t ring_at, uint64_t ring_bytes) MUST_CHECK;

/* Appends; overwrites the oldest bytes. A console must not stop the machine, so a failure is only
 * remembered in `error`. */
void console_ring_write(struct console_ring *c, const void *data, size_t bytes);
