// SPDX-License-Identifier: Apache-2.0
/* Packets to the guest: whose turn it is, and what it has to say. */
#include "backend/mux_int.h"

#include <stdlib.h>

#include "base/iov.h"

static void fill(struct conn *c, struct mux_header *h, uint16_t op, uint32_t len, uint32_t flags)
{
	*h = (struct mux_header){
		.src_cid = MUX_HOST_CID,
		.dst_cid = c->mux->config.guest_cid,
		.src_port = c->host_port,
		.dst_port = c->guest_port,
		.len = len,
		.type = VSOCK_TYPE_STREAM,
		.op = op,
		.flags = flags,
		.buf_alloc = c->buf_alloc,
		.fwd_cnt = c->fwd_cnt,
	};
	/* Every packet tells the credit. */
	c->fwd_told = c->fwd_cnt;
	c->tell &= ~(unsigned)TELL_CREDIT;
}

static void fill_plain(struct conn *c, struct mux_header *h, unsigned told, uint16_t op)
{
	c->tell &= ~told;
	fill(c, h, op, 0, 0);
}

static bool tell_shutdown(struct conn *c, struct mux_header *h)
{
	c->tell &= ~(unsigned)TELL_SHUTDOWN;
	fill(c, h, VSOCK_OP_SHUTDOWN, 0, c->host_shut);
	if (c->state == CONN_CLOSING)
		conn_set_deadline(c, CLOSE_TIMEOUT_MS);
	return true;
}

/* Bytes of the host's program as a packet, if there are any. A socket that fails ends the
 * connection, which then has an RST to tell. */
static bool tell_bytes(struct conn *c, struct mux_header *h, const struct iovec *room, unsigned n)
{
	ssize_t got = conn_read(c, room, n);

	if (got < 0)
		conn_end(c, true);
	if (got <= 0)
		return false;
	c->tx_cnt += (uint32_t)got;
	fill(c, h, VSOCK_OP_RW, (uint32_t)got, 0);
	return true;
}

/* The most urgent packet of a connection. Bytes go before the word that no more will come. */
static bool next_of(struct conn *c, struct mux_header *h, const struct iovec *room, unsigned n)
{
	if (c->tell & TELL_REQUEST) {
		fill_plain(c, h, TELL_REQUEST, VSOCK_OP_REQUEST);
		conn_set_deadline(c, CONNECT_TIMEOUT_MS);
		return true;
	}
	if (c->tell & TELL_RESPONSE) {
		fill_plain(c, h, TELL_RESPONSE, VSOCK_OP_RESPONSE);
		return true;
	}
	if (conn_may_read(c) && tell_bytes(c, h, room, n))
		return true;
	if (c->tell & TELL_RST) {
		fill_plain(c, h, TELL_RST, VSOCK_OP_RST);
		return true;
	}
	if (c->tell & TELL_SHUTDOWN)
		return tell_shutdown(c, h);
	if (c->tell & ASK_CREDIT) {
		fill_plain(c, h, ASK_CREDIT, VSOCK_OP_CREDIT_REQUEST);
		return true;
	}
	if (c->tell & TELL_CREDIT) {
		fill_plain(c, h, TELL_CREDIT, VSOCK_OP_CREDIT_UPDATE);
		return true;
	}
	return false;
}

void mux_refuse(struct mux *m, const struct mux_header *header)
{
	unsigned at = (m->refusal_at + m->n_refusals) % REFUSALS_MAX;

	/* virtio 1.2 §5.10.6.6: an RST is never answered. */
	if (header->op == VSOCK_OP_RST || m->n_refusals == REFUSALS_MAX)
		return;
	m->refusals[at] =
		(struct refusal){header->dst_cid, header->dst_port, header->src_port, header->type};
	m->n_refusals++;
}

static void fill_refusal(const struct mux *m, const struct refusal *refusal, struct mux_header *h)
{
	*h = (struct mux_header){
		.src_cid = refusal->cid,
		.dst_cid = m->config.guest_cid,
		.src_port = refusal->host_port,
		.dst_port = refusal->guest_port,
		.type = refusal->type,
		.op = VSOCK_OP_RST,
	};
}

static void next_stale(struct mux *m, struct mux_header *h)
{
	fill_refusal(m, &m->stale[m->stale_at++], h);
	if (--m->n_stale)
		return;
	free(m->stale);
	m->stale = NULL;
}

static void next_refusal(struct mux *m, struct mux_header *h)
{
	fill_refusal(m, &m->refusals[m->refusal_at], h);
	m->refusal_at = (m->refusal_at + 1) % REFUSALS_MAX;
	m->n_refusals--;
}

bool mux_has_next(const struct mux *m)
{
	return m->n_stale || m->n_refusals || m->ready.next != &m->ready;
}

bool mux_next(struct mux *m, struct mux_header *ret_header, const struct iovec *room, unsigned n)
{
	if (m->n_stale) {
		next_stale(m, ret_header);
		return true;
	}
	if (m->n_refusals) {
		next_refusal(m, ret_header);
		return true;
	}
	while (m->ready.next != &m->ready) {
		struct conn *c = container_of(m->ready.next, struct conn, ready);
		bool has_packet;

		/* To the end of the line: conn_settle puts it back when it has more. */
		link_remove(&c->ready);
		c->is_ready = false;
		has_packet = next_of(c, ret_header, room, n);
		conn_settle(c);
		if (has_packet)
			return true;
	}
	return false;
}
