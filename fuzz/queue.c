// SPDX-License-Identifier: Apache-2.0
/*
 * Rings full of anything: the input is the guest's memory. Whatever the device is given must lie
 * inside that memory, be bounded, and be completed once.
 *
 * Input: size (log2), event index or not, then memory from 0 on: descriptors at 0x000, available
 * ring at 0x400, used ring at 0x600, the rest for tables and buffers.
 */
#include "virtio/queue.c"

#include <stdlib.h>

enum { RAM = 64 * 1024, DESCRIPTORS = 0, AVAILABLE = 0x400, USED = 0x600, POPS = 64 };

#define CHECK(truth)                                                                               \
	do {                                                                                       \
		if (!(truth))                                                                      \
			abort();                                                                   \
	} while (0)

static void check_chain(const struct gmem *g, const struct vq_chain *c)
{
	const uint8_t *ram = g->regions[0].host;
	size_t out = 0, in = 0;

	CHECK(c->n_out + c->n_in <= VQ_SIZE_MAX);
	for (unsigned i = 0; i < c->n_out + c->n_in; i++) {
		const uint8_t *at = c->iov[i].iov_base;

		CHECK(at >= ram && at <= ram + RAM &&
			c->iov[i].iov_len <= (size_t)(ram + RAM - at));
		*(i < c->n_out ? &out : &in) += c->iov[i].iov_len;
	}
	CHECK(out == c->out_bytes && in == c->in_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gmem g;
	static struct vq_chain c;
	struct gmem_range ram = {0, RAM};
	struct virtq q;
	uint16_t used;
	int r = 0;

	if (size < 2 || size > RAM)
		return 0;
	if (!g.n && gmem_init(&g, &ram, 1, NULL) < 0)
		return 0;
	memset(g.regions[0].host, 0, RAM);
	memcpy(g.regions[0].host, data + 2, size - 2);
	vq_init(&q, &g, VQ_SIZE_MAX);
	q.size = (uint16_t)(1u << (data[0] % 6));
	q.desc_gpa = DESCRIPTORS;
	q.avail_gpa = AVAILABLE;
	q.used_gpa = USED;
	CHECK(vq_enable(&q, data[1] & 1) == 0);
	for (unsigned i = 0; i < POPS; i++) {
		vq_notify_off(&q);
		r = vq_pop(&q, &c);
		if (r != 1)
			break;
		check_chain(&g, &c);
		used = q.next_used;
		if (i % 5 == 4) {
			vq_unpop(&q);
			r = vq_pop(&q, &c);
			if (r != 1)
				break;
			check_chain(&g, &c);
		}
		vq_push(&q, c.head, 1);
		CHECK(q.next_used == (uint16_t)(used + 1) && q.in_flight == 0);
		vq_wants_interrupt(&q);
		vq_notify_on(&q);
	}
	CHECK(r == 0 || r == 1 || r == -EPROTO);
	if (r == -EPROTO)
		CHECK(vq_pop(&q, &c) == -EPROTO && !vq_notify_on(&q));
	return 0;
}
