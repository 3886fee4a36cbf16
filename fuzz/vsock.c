// SPDX-License-Identifier: Apache-2.0
/*
 * A guest that sends any packets, and a host whose programs send, read and leave at any moment.
 *
 * Input: steps of 8 bytes. A packet goes to one of few ports so that it often meets a connection.
 * Invariants: packets for the guest are well-formed and within the guest's credit as the muxer was
 * told; the table and its counter agree; nothing leaks (ASan).
 */
#include "backend/vsock_mux.c"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/le.h"

enum { GUEST = 3, FIRST = 1000, PORTS = 3, STEP = 8, STEPS = 400, FDS = 16, ROOM = 4096 };

#define CHECK(truth)                                                                               \
	do {                                                                                       \
		if (!(truth))                                                                      \
			abort();                                                                   \
	} while (0)

struct host {
	struct mux *m;
	int fds[FDS];
	unsigned n;
	uint32_t last_port; /* of the newest connection that the host asked for */
};

static void keep_fd(struct host *h, int fd)
{
	unsigned at = h->n++ % FDS;

	if (h->fds[at] >= 0)
		close(h->fds[at]);
	h->fds[at] = fd;
}

static int on_incoming(void *ctx, uint32_t port, int fd)
{
	CHECK(port >= FIRST && port < FIRST + PORTS);
	if (((struct host *)ctx)->n % 7 == 6) {
		((struct host *)ctx)->n++;
		return -ECONNREFUSED;
	}
	keep_fd(ctx, fd);
	return 0;
}

static void from_guest(struct host *host, const uint8_t *s)
{
	static uint8_t payload[0x8000];
	bool is_own_port = s[1] & 0x40;
	struct mux_header h = {
		.src_cid = s[1] & 0x20 ? s[2] : GUEST,
		.dst_cid = s[1] & 0x10 ? s[2] : MUX_HOST_CID,
		.src_port = is_own_port ? 77 : 50 + s[2] % 4,
		.dst_port = is_own_port ? host->last_port : FIRST + s[3] % (PORTS + 1u),
		.type = s[1] & 0x80 ? s[2] : 1,
		.op = s[1] & 0x0f,
		.flags = s[4],
		.len = le16_load(s + 5) & 0x7fff,
		.buf_alloc = s[7] & 1 ? s[4] : 0x10000,
		.fwd_cnt = s[7] & 2 ? s[3] : 0,
	};
	struct iovec iov = {payload, h.len};

	if (h.op != 5)
		h.len = 0;
	mux_receive(host->m, &h, &iov, h.len ? 1 : 0, s[7] & 0x80);
}

static void to_guest(struct host *host, unsigned room_bytes)
{
	static uint8_t room[ROOM];
	struct iovec iov = {room, 1 + room_bytes % ROOM};
	struct mux_header h;
	unsigned packets = 0;

	while (packets++ < 64 && mux_has_next(host->m) && mux_next(host->m, &h, &iov, 1)) {
		CHECK(h.dst_cid == GUEST);
		CHECK(h.op >= VSOCK_OP_REQUEST && h.op <= VSOCK_OP_CREDIT_REQUEST);
		CHECK(h.len <= iov.iov_len && (h.op == VSOCK_OP_RW) == (h.len > 0));
		if (h.op == VSOCK_OP_REQUEST)
			host->last_port = h.src_port;
	}
}

static void host_does(struct host *host, const uint8_t *s)
{
	static uint8_t data[0x10000];
	int *fd = &host->fds[s[2] % FDS], pair[2];

	switch (s[1] % 6) {
	case 0:
		(void)!send(*fd, data, le16_load(s + 3), MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 1:
		(void)!recv(*fd, data, le16_load(s + 3), MSG_DONTWAIT);
		break;
	case 2:
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
		break;
	case 3:
		shutdown(*fd, s[3] % 3);
		break;
	case 4:
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
			break;
		CHECK(mux_connect(host->m, 77, pair[0]) == 0);
		keep_fd(host, pair[1]);
		break;
	default:
		if (s[3] == 0)
			mux_reset(host->m);
		break;
	}
}

static void check_table(struct mux *m)
{
	unsigned n = 0;

	for (struct link *at = m->all.next; at != &m->all; at = at->next) {
		struct conn *c = container_of(at, struct conn, all);

		n++;
		CHECK(c->spill_n <= c->buf_alloc && c->rx_cnt - c->fwd_cnt <= c->buf_alloc);
		CHECK(c->spill_n == 0 || c->spill);
		CHECK(c->is_in_table == (conn_find(m, c->host_port, c->guest_port) == c) ||
			c->state == CONN_ENDED);
		CHECK(c->state == CONN_CONNECTING || c->state == CONN_OPEN ||
			c->host_shut == VSOCK_SHUT_BOTH || c->state == CONN_ENDED);
		CHECK(c->is_ready == (c->tell || conn_may_read(c)));
	}
	CHECK(n == mux_connections(m) && n <= MUX_CONNECTIONS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct host host = {0};
	struct mux_config config = {GUEST, FIRST, PORTS, on_incoming, &host};

	for (unsigned i = 0; i < FDS; i++)
		host.fds[i] = -1;
	if (mux_new(&config, &host.m, NULL) < 0)
		return 0;
	for (size_t i = 0; i + STEP <= size && i < STEP * STEPS; i += STEP) {
		const uint8_t *s = data + i;

		if (s[0] & 1)
			from_guest(&host, s);
		else if (s[0] & 2)
			host_does(&host, s);
		else if (s[0] & 4)
			to_guest(&host, le16_load(s + 1));
		else
			loop_turn(mux_loop(host.m), 0);
		check_table(host.m);
	}
	for (unsigned i = 0; i < FDS; i++)
		if (host.fds[i] >= 0)
			close(host.fds[i]);
	mux_free(host.m);
	return 0;
}
