// SPDX-License-Identifier: Apache-2.0
#include "vsock_guest.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "virtio/vsock.h"

static int on_incoming(void *ctx, uint32_t port, int fd)
{
	struct fixture *f = ctx;

	(void)port;
	f->incoming[atomic_load(&f->n_incoming)] = fd;
	atomic_fetch_add(&f->n_incoming, 1);
	return 0;
}

static void give_rx(struct fixture *f, unsigned i)
{
	struct drv_buf bufs[2] = {{f->rx[i], HEADER + BUFFER, true}, {0}};

	if (f->is_split) {
		bufs[0].bytes = HEADER;
		bufs[1] = (struct drv_buf){f->rx[i] + HEADER, BUFFER, true};
	}
	drv_add(&f->d.queues[RX], bufs, f->is_split ? 2 : 1);
}

void bring_up(struct fixture *f, unsigned n)
{
	drv_up(&f->d, drv_features(&f->d), 3, QUEUE);
	f->tx_sent = f->tx_done = 0;
	for (unsigned i = 0; i < n; i++)
		give_rx(f, i);
	drv_kick(&f->d, &f->d.queues[RX]);
}

int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct mux_config config = {GUEST, PORT, 8, on_incoming, f};
	struct virtio_dev *dev;
	struct err e = {0};

	drv_init(&f->d);
	assert_int_equal(mux_new(&config, &f->m, &e), 0);
	assert_int_equal(vsock_new(&f->d.host, f->m, GUEST, &dev, &e), 0);
	drv_plug(&f->d, dev);
	assert_int_equal(mux_start(f->m, &e), 0);
	for (unsigned i = 0; i < QUEUE; i++)
		f->rx[i] = drv_alloc(&f->d, HEADER + BUFFER, 64);
	for (unsigned i = 0; i < TX_SLOTS; i++)
		f->tx[i] = drv_alloc(&f->d, HEADER + TX_BUFFER, 64);
	*state = f;
	return 0;
}

int setup_up(void **state)
{
	int r = setup(state);

	bring_up(*state, 64);
	return r;
}

int teardown(void **state)
{
	struct fixture *f = *state;

	mux_stop(f->m);
	drv_fini(&f->d);
	mux_free(f->m);
	for (unsigned i = 0; i < f->n_incoming; i++)
		if (f->incoming[i] >= 0)
			close(f->incoming[i]);
	free(f);
	return 0;
}

void settle_tx(struct fixture *f, unsigned left)
{
	uint16_t head;
	uint32_t bytes;

	while (f->tx_sent - f->tx_done > left) {
		assert_true(drv_wait_used(&f->d.queues[TX], &head, &bytes));
		assert_int_equal(bytes, 0);
		f->tx_done++;
	}
}

void send_packet(struct fixture *f, struct mux_header h, const void *data)
{
	gpa_t at;
	struct drv_buf bufs[2];

	settle_tx(f, TX_SLOTS - 1);
	at = f->tx[f->tx_sent % TX_SLOTS];
	memcpy(drv_ptr(&f->d, at), &h, sizeof(h));
	if (h.len)
		memcpy(drv_ptr(&f->d, at + HEADER), data, h.len);
	bufs[0] = (struct drv_buf){at, HEADER, false};
	bufs[1] = (struct drv_buf){at + HEADER, h.len, false};
	drv_add(&f->d.queues[TX], bufs, h.len ? 2 : 1);
	f->tx_sent++;
	drv_kick(&f->d, &f->d.queues[TX]);
}

struct mux_header header(struct fixture *f, uint32_t from, uint32_t to, int op, uint32_t len)
{
	return (struct mux_header){.src_cid = GUEST,
		.dst_cid = MUX_HOST_CID,
		.src_port = from,
		.dst_port = to,
		.len = len,
		.type = 1,
		.op = (uint16_t)op,
		.buf_alloc = WINDOW,
		.fwd_cnt = f->fwd};
}

void send_op(struct fixture *f, uint32_t from, uint32_t to, int op)
{
	send_packet(f, header(f, from, to, op, 0), NULL);
}

bool take(struct fixture *f, struct mux_header *h, void *data)
{
	struct drv_queue *q = &f->d.queues[RX];
	uint16_t head;
	uint32_t bytes;
	gpa_t at;

	if (!drv_used(q, &head, &bytes))
		return false;
	at = q->desc[head].gpa;
	memcpy(h, drv_ptr(&f->d, at), sizeof(*h));
	assert_int_equal(bytes, HEADER + h->len);
	assert_int_equal(h->dst_cid, GUEST);
	if (data)
		memcpy(data, drv_ptr(&f->d, at + HEADER), h->len);
	for (unsigned i = 0; i < QUEUE; i++)
		if (f->rx[i] == at)
			give_rx(f, i);
	drv_kick(&f->d, q);
	return true;
}

struct mux_header await_any(struct fixture *f, void *data)
{
	uint64_t deadline = clock_deadline_ns(10 * 1000);
	struct mux_header h;

	while (!take(f, &h, data)) {
		if (clock_now_ns() > deadline)
			fail_msg("no packet in 10 s");
		nanosleep(&(struct timespec){.tv_nsec = 20 * 1000}, NULL);
	}
	return h;
}

struct mux_header await(struct fixture *f, int op, void *data)
{
	struct mux_header h;

	do
		h = await_any(f, data);
	while (h.op == CREDIT_UPDATE && op != CREDIT_UPDATE);
	assert_int_equal(h.op, op);
	return h;
}

int open_incoming(struct fixture *f, uint32_t from)
{
	unsigned n = f->n_incoming;
	int fd;

	send_op(f, from, PORT, REQUEST);
	await(f, RESPONSE, NULL);
	assert_int_equal(f->n_incoming, n + 1);
	fd = f->incoming[n];
	f->incoming[n] = -1;
	return fd;
}

int open_outgoing(struct fixture *f, uint32_t guest_port, uint32_t *ret_host_port)
{
	struct mux_header h;
	int pair[2];

	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(mux_connect(f->m, guest_port, pair[0]), 0);
	h = await(f, REQUEST, NULL);
	assert_int_equal(h.dst_port, guest_port);
	*ret_host_port = h.src_port;
	send_op(f, guest_port, h.src_port, RESPONSE);
	return pair[1];
}

bool reads_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	return poll(&p, 1, 10 * 1000) == 1 && recv(fd, &byte, 1, 0) == 0;
}

void await_connections(struct fixture *f, unsigned n)
{
	uint64_t deadline = clock_deadline_ns(10 * 1000);

	while (mux_connections(f->m) != n && clock_now_ns() < deadline)
		nanosleep(&(struct timespec){.tv_nsec = 50 * 1000}, NULL);
	assert_int_equal(mux_connections(f->m), n);
}
