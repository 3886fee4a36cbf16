// SPDX-License-Identifier: Apache-2.0
/*
 * Frames over a non-blocking stream socket. What the socket does not take at once is kept and sent
 * later; who produces frames without end looks at wire_is_clear before making the next one. Knows
 * nothing of what frames mean.
 */
#pragma once

#include "base/buf.h"
#include "proto/frame.h"

struct wire {
	int fd;	       /* owned */
	struct buf in; /* the beginning of a frame that is not there as a whole */
	struct buf out;
};

/* Handles one frame; the payload lives until it returns. A negative return ends the reading. */
typedef int (*wire_frame_fn)(
	void *context, const struct agent_frame *frame, const uint8_t *payload);

/* Takes fd. */
void wire_init(struct wire *w, int fd);
void wire_fini(struct wire *w);

/* Adds a frame to what is to be sent. Returns 0, -E2BIG or -ENOMEM. */
int wire_queue(struct wire *w, uint16_t type, const void *payload, size_t bytes) MUST_CHECK;

/* Sends a whole frame, head and all, that the caller has made; what does not go at once is kept.
 * Returns 0 or -errno. */
int wire_push(struct wire *w, const void *frame, size_t bytes) MUST_CHECK;

/* Sends what is kept, as much as goes. Returns 0 or -errno when the connection is broken. */
int wire_flush(struct wire *w) MUST_CHECK;

/* True when nothing is kept. */
bool wire_is_clear(const struct wire *w);

/* Reads once, with the help of `room` bytes at scratch, and calls fn for each frame that is now
 * whole. Returns 1, 0 at the end of the stream, -EAGAIN, -EPROTO for an impossible head, another
 * -errno when the connection is broken, or what fn returned. */
int wire_receive(
	struct wire *w, void *scratch, size_t room, wire_frame_fn fn, void *context) MUST_CHECK;
