// SPDX-License-Identifier: Apache-2.0
/*
 * The split virtqueue, device side (virtio 1.2 §2.7).
 *
 * Everything in a ring is hostile. Each descriptor is copied once, then checked; a chain is bounded
 * by the queue's size, its buffers must be guest RAM, readable ones come before writable ones.
 * A ring that breaks a rule is broken as a whole: vq_pop says so for ever after, until reset.
 *
 * A popped chain is completed exactly once with vq_push. Used by one thread at a time; the device's
 * lock sees to that.
 */
#pragma once

#include <sys/uio.h>

#include "base/cc.h"
#include "mem/gpa.h"

struct gmem;

enum { VQ_SIZE_MAX = 256 };

struct virtq {
	const struct gmem *gmem;
	uint16_t size_max; /* what the device offers */
	uint16_t size;	   /* what the driver chose */
	bool is_ready;
	bool is_broken;
	bool has_event_idx;
	gpa_t desc_gpa, avail_gpa, used_gpa; /* driver, driver, device area */
	void *desc, *avail, *used;	     /* the same as host memory while ready */
	uint16_t next_avail;		     /* index of the next entry to pop */
	uint16_t next_used;		     /* index of the next entry to push */
	uint16_t signalled;		     /* next_used when an interrupt was last decided on */
	uint16_t in_flight;		     /* popped, not pushed yet */
};

/* The buffers of one request as host memory: first those that the device reads, then those that it
 * writes. */
struct vq_chain {
	uint16_t head;
	unsigned n_out, n_in; /* entries of iov: n_out, then n_in */
	size_t out_bytes, in_bytes;
	struct iovec iov[VQ_SIZE_MAX];
};

static inline const struct iovec *vq_in(const struct vq_chain *c)
{
	return c->iov + c->n_out;
}

void vq_init(struct virtq *q, const struct gmem *gmem, uint16_t size_max);

/* Forgets all that the driver set up. */
void vq_reset(struct virtq *q);

/* Takes the driver's size and areas into use. Returns 0, or -EINVAL when they break a rule (the
 * size, an alignment) or do not lie in RAM. */
int vq_enable(struct virtq *q, bool has_event_idx) MUST_CHECK;

/* The next request. Returns 1 with *ret_chain filled, 0 when there is none, -EPROTO when the ring
 * is broken. */
int vq_pop(struct virtq *q, struct vq_chain *ret_chain) MUST_CHECK;

/* Puts back the chain popped last, as if it had never been popped. Only before it is pushed. */
void vq_unpop(struct virtq *q);

/* Completes a chain of which the device has written the first `written` writable bytes. */
void vq_push(struct virtq *q, uint16_t head, uint32_t written);

/* Whether the driver wants an interrupt for what was pushed since this was last asked. */
bool vq_wants_interrupt(struct virtq *q);

struct snapio;

/* Walks the queue's state; nothing may be in flight. What is loaded is checked like vq_enable does,
 * and the areas are found in RAM again. */
void vq_snap(struct virtq *q, struct snapio *io);

/* Asks the driver (a hint, no more) not to notify while the device looks at the queue anyway. */
void vq_notify_off(struct virtq *q);

/* Asks for notifications again. True when requests came meanwhile: look once more. */
bool vq_notify_on(struct virtq *q);
