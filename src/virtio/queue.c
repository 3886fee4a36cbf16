// SPDX-License-Identifier: Apache-2.0
/*
 * Layout of the three areas, virtio 1.2 §2.7:
 *   descriptor table   size × { le64 address, le32 length, le16 flags, le16 next }
 *   available ring     le16 flags, le16 idx, size × le16 head, le16 used_event
 *   used ring          le16 flags, le16 idx, size × { le32 head, le32 length }, le16 avail_event
 *
 * The two indices are the only fields that the two sides synchronise on: the other side's is loaded
 * with acquire, ours stored with release. "Publish, then look whether the other side wants to hear
 * of it" needs a full barrier on both sides, or both may look before either publishes.
 */
#include "virtio/queue.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/snapio.h"
#include "mem/gmem.h"

enum {
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	DESC_INDIRECT = 4,

	DESC_ALIGN = 16,
	AVAIL_ALIGN = 2,
	USED_ALIGN = 4,

	AVAIL_NO_INTERRUPT = 1,
	USED_NO_NOTIFY = 1,

	RING_FLAGS = 0,
	RING_IDX = 2,
	RING_ENTRIES = 4,
	AVAIL_ENTRY = 2,
	USED_ENTRY = 8,
};

struct desc {
	uint64_t gpa;
	uint32_t bytes;
	uint16_t flags;
	uint16_t next;
};

_Static_assert(sizeof(struct desc) == 16, "virtio 1.2 §2.7.5");

/* A table to take descriptors from: the queue's, or the one of an indirect descriptor. */
struct table {
	const struct desc *descs; /* guest memory */
	uint32_t n;
	bool is_indirect;
};

static uint16_t load(const void *area, size_t at)
{
	return __atomic_load_n((const uint16_t *)((const char *)area + at), __ATOMIC_ACQUIRE);
}

static void store(void *area, size_t at, uint16_t value)
{
	__atomic_store_n((uint16_t *)((char *)area + at), value, __ATOMIC_RELEASE);
}

static size_t used_event_at(const struct virtq *q)
{
	return RING_ENTRIES + (size_t)q->size * AVAIL_ENTRY;
}

static size_t avail_event_at(const struct virtq *q)
{
	return RING_ENTRIES + (size_t)q->size * USED_ENTRY;
}

void vq_init(struct virtq *q, const struct gmem *gmem, uint16_t size_max)
{
	*q = (struct virtq){.gmem = gmem, .size_max = size_max};
}

void vq_reset(struct virtq *q)
{
	vq_init(q, q->gmem, q->size_max);
}

static void *area(const struct virtq *q, gpa_t gpa, size_t bytes, unsigned align)
{
	return gpa % align ? NULL : gmem_ptr(q->gmem, gpa, bytes);
}

int vq_enable(struct virtq *q, bool has_event_idx)
{
	size_t event = has_event_idx ? sizeof(uint16_t) : 0;
	uint16_t n = q->size;
	void *desc, *avail, *used;

	if (!n || n > q->size_max || n & (n - 1))
		return -EINVAL;
	desc = area(q, q->desc_gpa, (size_t)n * sizeof(struct desc), DESC_ALIGN);
	avail = area(q, q->avail_gpa, used_event_at(q) + event, AVAIL_ALIGN);
	used = area(q, q->used_gpa, avail_event_at(q) + event, USED_ALIGN);
	if (!desc || !avail || !used)
		return -EINVAL;

	q->desc = desc;
	q->avail = avail;
	q->used = used;
	q->has_event_idx = has_event_idx;
	q->next_avail = q->next_used = q->signalled = q->in_flight = 0;
	q->is_broken = false;
	q->is_ready = true;
	return 0;
}

/* Whether the driver has made more available than fits: it has lost count, or counts buffers that
 * the device still has. */
static bool is_overrun(const struct virtq *q, uint16_t waiting)
{
	return waiting > q->size - q->in_flight;
}

static uint16_t waiting_in(const struct virtq *q)
{
	return (uint16_t)(load(q->avail, RING_IDX) - q->next_avail);
}

static void walk_fields(struct virtq *q, struct snapio *io)
{
	snapio_u16(io, "queue_size", &q->size);
	snapio_bool(io, "queue_is_ready", &q->is_ready);
	snapio_bool(io, "queue_is_broken", &q->is_broken);
	snapio_bool(io, "queue_has_event_idx", &q->has_event_idx);
	snapio_u64(io, "queue_desc", &q->desc_gpa);
	snapio_u64(io, "queue_avail", &q->avail_gpa);
	snapio_u64(io, "queue_used", &q->used_gpa);
	snapio_u16(io, "queue_next_avail", &q->next_avail);
	snapio_u16(io, "queue_next_used", &q->next_used);
	snapio_u16(io, "queue_signalled", &q->signalled);
	snapio_u16(io, "queue_in_flight", &q->in_flight);
}

/* Takes what was loaded into use, if it is what a driver could have set up and a device at rest
 * could have left. */
static void check_loaded(struct virtq *q, const struct virtq *loaded, struct snapio *io)
{
	if (loaded->in_flight)
		snapio_fail(io, "queue_in_flight", "%u requests were under way", loaded->in_flight);
	if (loaded->next_avail != loaded->next_used)
		snapio_fail(io, "queue_next_used", "%u requests were taken, %u completed",
			loaded->next_avail, loaded->next_used);
	if (loaded->size > q->size_max)
		snapio_fail(io, "queue_size", "%u is more than the %u that there may be",
			loaded->size, q->size_max);
	q->size = loaded->size;
	q->desc_gpa = loaded->desc_gpa;
	q->avail_gpa = loaded->avail_gpa;
	q->used_gpa = loaded->used_gpa;
	if (!loaded->is_ready) {
		if (loaded->next_avail || loaded->signalled || loaded->is_broken ||
			loaded->has_event_idx)
			snapio_fail(io, "queue_is_ready", "it is not, but it was used");
		return;
	}
	if (snapio_is_good(io) && vq_enable(q, loaded->has_event_idx) < 0) {
		snapio_fail(io, "queue_desc",
			"a queue of %u entries whose areas are at %#llx, %#llx and %#llx cannot be",
			q->size, (unsigned long long)q->desc_gpa, (unsigned long long)q->avail_gpa,
			(unsigned long long)q->used_gpa);
	}
	if (!snapio_is_good(io))
		return;
	q->next_avail = loaded->next_avail;
	q->next_used = loaded->next_used;
	q->signalled = loaded->signalled;
	q->is_broken = loaded->is_broken;
	if (!q->is_broken && is_overrun(q, waiting_in(q)))
		snapio_fail(io, "queue_next_avail", "%u is not near %u, which the ring says",
			q->next_avail, load(q->avail, RING_IDX));
}

void vq_snap(struct virtq *q, struct snapio *io)
{
	struct virtq fields = snapio_is_loading(io) ? (struct virtq){.size = 0} : *q;

	if (!snapio_is_loading(io)) {
		if (q->in_flight)
			snapio_fail(
				io, "queue_in_flight", "%u requests are under way", q->in_flight);
		/* What vq_pop would find out when it looks next. */
		if (q->is_ready && !q->is_broken)
			fields.is_broken = is_overrun(q, waiting_in(q));
	}
	walk_fields(&fields, io);
	if (!snapio_is_loading(io))
		return;
	vq_reset(q);
	if (snapio_is_good(io))
		check_loaded(q, &fields, io);
	if (!snapio_is_good(io))
		vq_reset(q);
}

/* One copy of a descriptor: what is checked is what is used, whatever the guest does meanwhile. */
static int fetch(const struct table *t, uint32_t index, struct desc *ret)
{
	if (index >= t->n)
		return -EPROTO;
	memcpy(ret, &t->descs[index], sizeof(*ret));
	return 0;
}

/* Follows an indirect descriptor, virtio 1.2 §2.7.5.3: only from the queue's own table, without
 * NEXT, a whole number of descriptors and at least one. */
static int enter_indirect(const struct virtq *q, struct table *t, const struct desc *d)
{
	uint32_t n = d->bytes / (uint32_t)sizeof(struct desc);

	if (t->is_indirect || d->flags & DESC_NEXT || !n || d->bytes % sizeof(struct desc))
		return -EPROTO;
	t->descs = gmem_ptr(q->gmem, d->gpa, d->bytes);
	t->n = n;
	t->is_indirect = true;
	return t->descs ? 0 : -EPROTO;
}

static int add_buffer(const struct virtq *q, struct vq_chain *c, const struct desc *d)
{
	bool is_in = d->flags & DESC_WRITE;
	void *host;

	if (!is_in && c->n_in)
		return -EPROTO; /* §2.7.4.2: readable after writable */
	host = gmem_ptr(q->gmem, d->gpa, d->bytes);
	if (!host)
		return -EPROTO;
	if (!d->bytes)
		return 0;
	c->iov[c->n_out + c->n_in] = (struct iovec){host, d->bytes};
	if (is_in) {
		c->n_in++;
		c->in_bytes += d->bytes;
	} else {
		c->n_out++;
		c->out_bytes += d->bytes;
	}
	return 0;
}

/* Collects the buffers of the chain that begins at `head`. The bound on its length is also what
 * ends a chain that loops: the queue's size for its own table (§2.7.5), VQ_SIZE_MAX for an indirect
 * one, which drivers let grow beyond a small queue. */
static int walk(const struct virtq *q, uint16_t head, struct vq_chain *c)
{
	struct table t = {.descs = q->desc, .n = q->size};
	uint32_t index = head;
	struct desc d;
	unsigned seen = 0;
	int r;

	while (seen < (t.is_indirect ? VQ_SIZE_MAX : q->size)) {
		r = fetch(&t, index, &d);
		if (r < 0)
			return r;
		if (d.flags & DESC_INDIRECT) {
			r = enter_indirect(q, &t, &d);
			if (r < 0)
				return r;
			index = 0;
			continue;
		}
		r = add_buffer(q, c, &d);
		if (r < 0)
			return r;
		if (!(d.flags & DESC_NEXT))
			return 0;
		index = d.next;
		seen++;
	}
	return -EPROTO;
}

int vq_pop(struct virtq *q, struct vq_chain *ret_chain)
{
	uint16_t waiting, slot;
	int r;

	if (q->is_broken)
		return -EPROTO;
	if (!q->is_ready)
		return 0;
	waiting = waiting_in(q);
	if (!waiting)
		return 0;
	if (is_overrun(q, waiting)) {
		q->is_broken = true;
		return -EPROTO;
	}
	slot = q->next_avail & (q->size - 1);
	ret_chain->head = load(q->avail, RING_ENTRIES + (size_t)slot * AVAIL_ENTRY);
	ret_chain->n_out = ret_chain->n_in = 0;
	ret_chain->out_bytes = ret_chain->in_bytes = 0;
	r = walk(q, ret_chain->head, ret_chain);
	if (r < 0) {
		q->is_broken = true;
		return r;
	}
	q->next_avail++;
	q->in_flight++;
	return 1;
}

void vq_unpop(struct virtq *q)
{
	q->next_avail--;
	q->in_flight--;
}

void vq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	size_t slot = q->next_used & (q->size - 1);
	uint32_t entry[2] = {head, written};

	memcpy((char *)q->used + RING_ENTRIES + slot * USED_ENTRY, entry, sizeof(entry));
	q->next_used++;
	q->in_flight--;
	store(q->used, RING_IDX, q->next_used);
}

bool vq_wants_interrupt(struct virtq *q)
{
	uint16_t before = q->signalled;
	uint16_t event;

	if (!q->is_ready || before == q->next_used)
		return false;
	atomic_thread_fence(memory_order_seq_cst);
	q->signalled = q->next_used;
	if (!q->has_event_idx)
		return !(load(q->avail, RING_FLAGS) & AVAIL_NO_INTERRUPT);
	/* §2.7.10: whether entry number `event` is among those used since, modulo 65536. */
	event = load(q->avail, used_event_at(q));
	return (uint16_t)(q->next_used - event - 1) < (uint16_t)(q->next_used - before);
}

void vq_notify_off(struct virtq *q)
{
	/* With event indices the old avail_event, already passed, keeps the driver quiet. */
	if (q->is_ready && !q->has_event_idx)
		store(q->used, RING_FLAGS, USED_NO_NOTIFY);
}

bool vq_notify_on(struct virtq *q)
{
	if (!q->is_ready || q->is_broken)
		return false;
	if (q->has_event_idx)
		store(q->used, avail_event_at(q), q->next_avail);
	else
		store(q->used, RING_FLAGS, 0);
	atomic_thread_fence(memory_order_seq_cst);
	return load(q->avail, RING_IDX) != q->next_avail;
}
