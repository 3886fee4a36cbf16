// SPDX-License-Identifier: Apache-2.0
/* Packets from the guest: virtio 1.2 §5.10.6. Nothing in them is trusted. */
#include "backend/mux_int.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_host_port(const struct mux *m, uint32_t port)
{
	return port - m->config.host_port_first < m->config.host_port_count;
}

/* Makes a stream for the guest's connection and offers its other end. Returns 0 or -errno. */
static int accept_request(struct mux *m, const struct mux_header *h)
{
	struct conn *c;
	int pair[2];
	int r;

	if (!m->config.incoming || !is_host_port(m, h->dst_port))
		return -ECONNREFUSED;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	c = conn_new(m, h->dst_port, h->src_port, pair[0], CONN_OPEN);
	if (!c) {
		close(pair[0]);
		close(pair[1]);
		return -ENOSPC;
	}
	r = m->config.incoming(m->config.ctx, h->dst_port, pair[1]);
	if (r < 0) {
		close(pair[1]);
		conn_free(c);
		return r;
	}
	c->peer_buf_alloc = h->buf_alloc;
	c->peer_fwd_cnt = h->fwd_cnt;
	c->tell |= TELL_RESPONSE;
	conn_settle(c);
	return 0;
}

static void on_response(struct conn *c)
{
	if (c->state != CONN_CONNECTING || c->tell & TELL_REQUEST) {
		conn_end(c, true);
		return;
	}
	c->state = CONN_OPEN;
	c->deadline_ns = 0;
	conn_settle(c);
}

static void on_shutdown(struct conn *c, unsigned shut)
{
	if (c->state == CONN_CONNECTING) {
		conn_end(c, true);
		return;
	}
	/* §5.10.6.6: the answer to an end in both directions is RST; so is it when the two sides
	 * end at the same moment. */
	if ((c->guest_shut | shut) == VSOCK_SHUT_BOTH || c->state == CONN_CLOSING)
		conn_end(c, true);
	else
		conn_guest_shut(c, shut);
}

static void on_bytes(
	struct conn *c, const struct mux_header *h, const struct iovec *iov, unsigned n)
{
	uint32_t waiting = c->rx_cnt - c->fwd_cnt;

	if (c->state == CONN_CLOSING)
		return; /* crossed with our SHUTDOWN */
	if (c->state == CONN_CONNECTING || c->guest_shut & VSOCK_SHUT_SEND ||
		h->len > c->buf_alloc - waiting) {
		/* Before the answer, after the end, or beyond its credit (§5.10.6.3). */
		conn_end(c, true);
		return;
	}
	if (h->len)
		conn_deliver(c, iov, n, h->len);
	else
		conn_settle(c);
}

static void on_packet(
	struct conn *c, const struct mux_header *h, const struct iovec *iov, unsigned n)
{
	switch (h->op) {
	case VSOCK_OP_RESPONSE:
		on_response(c);
		break;
	case VSOCK_OP_RST:
		conn_end(c, false);
		break;
	case VSOCK_OP_SHUTDOWN:
		on_shutdown(c, h->flags & VSOCK_SHUT_BOTH);
		break;
	case VSOCK_OP_RW:
		on_bytes(c, h, iov, n);
		break;
	case VSOCK_OP_CREDIT_UPDATE:
		conn_settle(c);
		break;
	case VSOCK_OP_CREDIT_REQUEST:
		c->tell |= TELL_CREDIT;
		conn_settle(c);
		break;
	default: /* a second REQUEST, or no operation at all */
		conn_end(c, true);
		break;
	}
}

/* §5.10.6.3: every packet tells what room the guest has. */
static void learn_credit(struct conn *c, const struct mux_header *h)
{
	c->peer_buf_alloc = h->buf_alloc;
	c->peer_fwd_cnt = h->fwd_cnt;
	if (conn_credit(c))
		c->has_asked_credit = false;
}

void mux_receive(struct mux *m, const struct mux_header *header, const struct iovec *iov,
	unsigned n, bool is_malformed)
{
	struct conn *c;

	/* §5.10.6.4: a guest speaks for itself only, and here to the host only. */
	if (header->src_cid != m->config.guest_cid)
		return;
	if (header->dst_cid != MUX_HOST_CID || header->type != VSOCK_TYPE_STREAM) {
		mux_refuse(m, header);
		return;
	}
	c = conn_find(m, header->dst_port, header->src_port);
	if (!c) {
		if (header->op != VSOCK_OP_REQUEST || is_malformed || accept_request(m, header) < 0)
			mux_refuse(m, header);
		return;
	}
	if (c->state == CONN_ENDED) {
		/* It gets the RST that waits for it; its own means that it needs none. */
		if (header->op == VSOCK_OP_RST)
			conn_end(c, false);
		return;
	}
	if (is_malformed) {
		conn_end(c, true);
		return;
	}
	learn_credit(c, header);
	on_packet(c, header, iov, n);
}
