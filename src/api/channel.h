// SPDX-License-Identifier: Apache-2.0
/*
 * One connection to the agent (proto/agent.h): frames out, frames in, never blocking by itself.
 * Frames may be put by any thread; getting is for one thread at a time. What arrives comes from a
 * guest, so every frame is bounded and only its shape is believed.
 */
#pragma once

#include <pthread.h>

#include "api/link.h"
#include "proto/agent.h"

struct channel {
	int fd;
	struct link *link;    /* borrowed */
	unsigned epoch;	      /* of the link, when it was opened */
	pthread_mutex_t lock; /* of out */
	struct buf out;
	struct buf in;
	size_t in_at;	  /* what is before it was taken */
	bool has_hello;	  /* theirs */
	bool is_finished; /* end of file */
};

/* Connects to the agent; does not wait for an answer. Our hello goes out with the first frame. */
int channel_open(struct channel *c, struct link *l, struct err *e) MUST_CHECK;
void channel_close(struct channel *c);

/* Why the connection ended, as link_gone_error. */
int channel_gone_error(struct channel *c, struct err *e);

/* Appends a frame and sends what can be sent. Returns 0; -EPIPE when the connection is gone, which
 * the reader finds out about; -ENOMEM, -E2BIG. */
int channel_put(struct channel *c, uint16_t type, const void *payload, size_t bytes) MUST_CHECK;

/* Sends what can be sent. Returns the number of bytes still to go, or -EPIPE. */
ssize_t channel_flush(struct channel *c) MUST_CHECK;

/* Receives once. 0 something came (or is_finished was set), -EAGAIN nothing there. */
int channel_fill(struct channel *c) MUST_CHECK;

/* The next whole frame that is here: 1 with *ret and *ret_payload (valid until channel_fill), 0
 * none, -EPROTO nonsense. Their hello is checked and taken on the way. */
int channel_get(struct channel *c, struct agent_frame *ret, const uint8_t **ret_payload,
	struct err *e) MUST_CHECK;

/* Waits for a whole frame. -ETIMEDOUT, -EPROTO, or -ENODATA when the connection ended. */
int channel_wait(struct channel *c, uint64_t deadline_ns, struct agent_frame *ret,
	const uint8_t **ret_payload, struct err *e) MUST_CHECK;
