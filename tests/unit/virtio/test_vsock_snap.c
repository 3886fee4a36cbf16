// SPDX-License-Identifier: Apache-2.0
/*
 * The vsock device stopped, saved, restored elsewhere, rolled back and started again, with the
 * muxer's own thread and live connections.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../base/snap_edit.h"
#include "base/clock.h"
#include "base/snapio.h"
#include "virtio/vsock.h"
#include "vsock_guest.h"

enum { STATE_MAX = 1 << 20 };

static struct buf save(struct fixture *f)
{
	struct snapio io;
	struct err e = {0};
	struct buf b;

	mux_stop(f->m);
	buf_init(&b, STATE_MAX);
	snapio_save_to(&io, "vsock", 1, &b);
	virtio_snap(f->d.dev, &io);
	assert_int_equal(snapio_end(&io, &e), 0);
	return b;
}

static void start(struct fixture *f)
{
	struct err e = {0};

	assert_int_equal(mux_start(f->m, &e), 0);
}

static int load(struct fixture *f, const struct buf *b, struct err *e)
{
	struct snapio io;

	mux_stop(f->m);
	snapio_load_from(&io, "vsock", 1, b->data, b->bytes);
	virtio_snap(f->d.dev, &io);
	return snapio_end(&io, e);
}

/* The guest of `from` wakes up in a machine of its own. */
static struct fixture *restore(struct fixture *from, const struct buf *b)
{
	struct err e = {0};
	void *state;
	struct fixture *f;

	setup(&state);
	f = state;
	mux_stop(f->m);
	drv_move(&f->d, &from->d);
	f->tx_sent = from->tx_sent;
	f->tx_done = from->tx_done;
	assert_int_equal(load(f, b, &e), 0);
	start(f);
	return f;
}

static void discard(struct fixture *f)
{
	void *state = f;

	teardown(&state);
}

/* The guest hears that exactly these of its connections are gone, before anything else. */
static void assert_stale_are_reset(struct fixture *f, uint32_t (*pairs)[2], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct mux_header h = await_any(f, NULL);
		bool is_known = false;

		assert_int_equal(h.op, RST);
		assert_true(h.src_cid == MUX_HOST_CID && h.dst_cid == GUEST && h.type == 1);
		for (unsigned k = 0; k < n && !is_known; k++) {
			is_known = pairs[k][0] == h.src_port && pairs[k][1] == h.dst_port;
			if (is_known)
				pairs[k][0] = 0; /* once each */
		}
		assert_true(is_known);
	}
}

static void stale_connections_are_reset_first(void **state)
{
	struct fixture *f = *state, *g;
	uint32_t pairs[4][2] = {{PORT, 50}, {PORT, 51}, {0, 60}, {0, 61}};
	uint32_t port;
	struct mux_header h;
	struct buf b;
	int fds[4], pair[2];

	fds[0] = open_incoming(f, 50);
	fds[1] = open_incoming(f, 51);
	fds[2] = open_outgoing(f, 60, &pairs[2][0]);
	/* One that the guest has not answered yet. */
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(mux_connect(f->m, 61, pair[0]), 0);
	pairs[3][0] = await(f, REQUEST, NULL).src_port;
	fds[3] = pair[1];
	settle_tx(f, 0);
	b = save(f);
	g = restore(f, &b);
	assert_int_equal(mux_connections(g->m), 0);
	/* Asked for at once, and yet after all that is of the past. */
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(mux_connect(g->m, 60, pair[0]), 0);
	assert_stale_are_reset(g, pairs, 4);
	h = await(g, REQUEST, NULL);
	assert_int_equal(h.dst_port, 60);
	for (unsigned i = 2; i < 4; i++)
		assert_int_not_equal(h.src_port, pairs[i][0]);
	send_op(g, 60, h.src_port, RESPONSE);
	assert_int_equal(send(pair[1], "new", 3, 0), 3);
	assert_int_equal(await(g, RW, NULL).len, 3);
	/* The guest may use its ports again. */
	close(open_incoming(g, 50));
	close(pair[1]);
	discard(g);
	/* Where it was saved nothing has changed. */
	start(f);
	assert_int_equal(mux_connections(f->m), 4);
	assert_int_equal(send(fds[0], "old", 3, 0), 3);
	h = await(f, RW, NULL);
	assert_int_equal(h.dst_port, 50);
	close(open_outgoing(f, 62, &port));
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
	buf_fini(&b);
}

/* Saved again before the guest has heard: it still hears, once. */
static void a_restored_machine_is_saved_again(void **state)
{
	struct fixture *f = *state, *g, *h;
	uint32_t pairs[2][2] = {{PORT, 50}, {PORT, 51}};
	struct buf b, again;
	int fds[2] = {open_incoming(f, 50), open_incoming(f, 51)};
	void *fresh;
	struct err e = {0};

	settle_tx(f, 0);
	b = save(f);
	setup(&fresh);
	g = fresh;
	drv_move(&g->d, &f->d);
	assert_int_equal(load(g, &b, &e), 0);
	again = save(g); /* its thread never ran */
	assert_int_equal(again.bytes, b.bytes);
	assert_memory_equal(again.data, b.data, b.bytes);
	h = restore(f, &again);
	assert_stale_are_reset(h, pairs, 2);
	buf_fini(&again);
	again = save(h);
	assert_true(again.bytes < b.bytes); /* told: none are left */
	discard(g);
	discard(h);
	close(fds[0]);
	close(fds[1]);
	buf_fini(&again);
	buf_fini(&b);
}

static void as_many_as_there_may_be(void **state)
{
	enum { N = MUX_CONNECTIONS_MAX };
	struct fixture *f = *state, *g;
	static uint32_t pairs[N][2];
	static int fds[N];
	struct buf b;

	for (unsigned i = 0; i < N; i++) {
		pairs[i][1] = 5000 + i;
		fds[i] = open_outgoing(f, 5000 + i, &pairs[i][0]);
	}
	settle_tx(f, 0);
	await_connections(f, N);
	b = save(f);
	g = restore(f, &b);
	assert_stale_are_reset(g, pairs, N);
	close(open_incoming(g, 50));
	discard(g);
	for (unsigned i = 0; i < N; i++)
		close(fds[i]);
	buf_fini(&b);
}

static void rolled_back_in_place(void **state)
{
	struct fixture *f = *state;
	uint32_t pairs[1][2] = {{PORT, 50}};
	struct drv before;
	struct err e = {0};
	struct buf b;
	int old = open_incoming(f, 50), later, never, pair[2];

	settle_tx(f, 0);
	b = save(f);
	drv_init(&before);
	drv_move(&before, &f->d);
	start(f);
	later = open_incoming(f, 51);
	settle_tx(f, 0);
	mux_stop(f->m);
	/* Asked of the machine as it was: it ends with it. */
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(mux_connect(f->m, 60, pair[0]), 0);
	never = pair[1];
	drv_move(&f->d, &before);
	f->tx_done = f->tx_sent;
	assert_int_equal(load(f, &b, &e), 0);
	assert_true(reads_end(old) && reads_end(later) && reads_end(never));
	start(f);
	assert_stale_are_reset(f, pairs, 1);
	close(open_incoming(f, 51));
	close(old);
	close(later);
	close(never);
	before.dev = NULL;
	loop_fini(&before.loop);
	gmem_fini(&before.gmem);
	buf_fini(&b);
}

static void a_reset_that_is_due_is_still_due(void **state)
{
	struct fixture *f = *state, *g;
	struct drv_queue *q;
	struct drv_buf buf = {drv_alloc(&f->d, 8, 8), 8, true};
	struct buf b;
	uint16_t head;
	uint32_t bytes;
	int fd = open_incoming(f, 50);

	settle_tx(f, 0);
	mux_reset(f->m);
	vsock_transport_reset(f->d.dev); /* the guest has no buffer for it */
	b = save(f);
	g = restore(f, &b);
	q = &g->d.queues[EVENT];
	drv_add(q, &buf, 1);
	drv_kick(&g->d, q);
	assert_true(drv_wait_used(q, &head, &bytes));
	assert_int_equal(bytes, 4);
	discard(g);
	close(fd);
	buf_fini(&b);
}

/* The guest asked, and nobody had looked when it was saved: it is answered where it wakes up. */
static void a_packet_that_was_not_looked_at(void **state)
{
	struct fixture *f = *state, *g;
	struct buf b;

	mux_stop(f->m);
	send_op(f, 55, PORT, REQUEST);
	b = save(f);
	g = restore(f, &b);
	assert_int_equal(await(g, RESPONSE, NULL).dst_port, 55);
	await_connections(g, 1);
	discard(g);
	start(f);
	await(f, RESPONSE, NULL);
	buf_fini(&b);
}

/* The driver resets its device, the muxer has not looked yet: there is nothing to save. */
static void a_driver_that_has_just_reset(void **state)
{
	struct fixture *f = *state, *g;
	int fd = open_incoming(f, 50);
	uint32_t bytes;
	struct buf b;

	settle_tx(f, 0);
	mux_stop(f->m);
	drv_write(&f->d, R_STATUS, 0);
	b = save(f);
	assert_int_equal(*snap_field(&b, "mux_connections", 0, &bytes), 0);
	g = restore(f, &b);
	bring_up(g, 32);
	close(open_incoming(g, 50));
	discard(g);
	close(fd);
	buf_fini(&b);
}

static void refused(struct fixture *f, struct buf *b, const char *field, uint64_t value)
{
	struct fixture *g;
	struct err e = {0};
	uint32_t bytes = 0;
	uint8_t was[8], *at = snap_field(b, field, 0, &bytes);
	void *fresh;

	assert_non_null(at);
	memcpy(was, at, bytes);
	assert_true(snap_edit(b, field, 0, value));
	setup(&fresh);
	g = fresh;
	drv_move(&g->d, &f->d);
	assert_int_equal(load(g, b, &e), -EBADMSG);
	assert_non_null(strstr(e.cause, field));
	assert_true(e.object[0] && e.remedy[0]);
	assert_int_equal(drv_read(&g->d, R_STATUS), 0);
	assert_false(mux_has_next(g->m));
	/* And can be used. */
	start(g);
	bring_up(g, 32);
	close(open_incoming(g, 50));
	discard(g);
	memcpy(at, was, bytes);
}

static void values_that_cannot_be(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f, 50);
	struct buf b;
	uint32_t bytes;

	settle_tx(f, 0);
	b = save(f);
	assert_int_equal(*snap_field(&b, "mux_connections", 0, &bytes), 1);
	refused(f, &b, "guest_cid", 4);
	refused(f, &b, "is_reset_due", 2);
	refused(f, &b, "mux_next_port", 1024);
	refused(f, &b, "mux_next_port", UINT32_MAX);
	refused(f, &b, "mux_connections", 4097);
	refused(f, &b, "mux_connections", UINT32_MAX);
	/* Fewer or more than follow. */
	assert_true(snap_edit(&b, "mux_connections", 0, 2));
	refused(f, &b, "connection_cid", MUX_HOST_CID);
	close(fd);
	buf_fini(&b);
}

static void cut_off_anywhere(void **state)
{
	struct fixture *f = *state, *g;
	int fd = open_incoming(f, 50);
	struct err e;
	struct buf b;
	void *fresh;

	settle_tx(f, 0);
	b = save(f);
	setup(&fresh);
	g = fresh;
	drv_move(&g->d, &f->d);
	mux_stop(g->m);
	for (size_t n = b.bytes; n--;) {
		struct buf cut = {.data = b.data, .bytes = n};

		assert_int_equal(load(g, &cut, &e), -EBADMSG);
		assert_int_equal(drv_read(&g->d, R_STATUS), 0);
		assert_false(mux_has_next(g->m));
	}
	discard(g);
	close(fd);
	buf_fini(&b);
}

/* --- Stopped and started again --- */

static void nothing_is_lost_while_stopped(void **state)
{
	struct fixture *f = *state;
	uint32_t out_port, in_port = 50;
	char back[BUFFER];
	int in = open_incoming(f, in_port), out = open_outgoing(f, 60, &out_port), pair[2];
	struct mux_header h;
	unsigned n_bytes = 0, n_requests = 0;

	for (unsigned round = 0; round < 20; round++) {
		settle_tx(f, 0);
		mux_stop(f->m);
		/* From the host, from the guest, and a new connection, all while nobody looks. */
		assert_int_equal(send(out, "host", 4, 0), 4);
		send_packet(f, header(f, in_port, PORT, RW, 5), "guest");
		assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		assert_int_equal(mux_connect(f->m, 61, pair[0]), 0);
		assert_int_equal(recv(in, back, 5, MSG_DONTWAIT), -1);
		assert_false(take(f, &h, NULL));
		start(f);
		assert_int_equal(recv(in, back, 5, MSG_WAITALL), 5);
		assert_memory_equal(back, "guest", 5);
		for (n_bytes = n_requests = 0; n_bytes < 4 || !n_requests;) {
			h = await_any(f, back);
			n_bytes += h.op == RW ? h.len : 0;
			n_requests += h.op == REQUEST;
			if (h.op == REQUEST)
				send_op(f, 61, h.src_port, RST);
		}
		assert_true(reads_end(pair[1]));
		close(pair[1]);
	}
	close(in);
	close(out);
}

struct stopper {
	struct fixture *f;
	_Atomic bool is_over;
	unsigned n;
};

static void *stop_and_start(void *ctx)
{
	struct stopper *s = ctx;

	while (!s->is_over) {
		mux_stop(s->f->m);
		if (mux_start(s->f->m, NULL) < 0)
			break;
		s->n++;
		nanosleep(&(struct timespec){.tv_nsec = 300 * 1000}, NULL);
	}
	return NULL;
}

static void *write_all(void *ctx)
{
	const int *fd = ctx;
	static uint8_t data[1 << 16];

	for (unsigned i = 0; i < 64; i++) {
		for (unsigned k = 0; k < sizeof(data); k++)
			data[k] = (uint8_t)(i * 31 + k * 7 + (k >> 8));
		for (size_t sent = 0; sent < sizeof(data);) {
			ssize_t n = send(*fd, data + sent, sizeof(data) - sent, MSG_NOSIGNAL);

			if (n <= 0)
				return NULL;
			sent += (size_t)n;
		}
	}
	shutdown(*fd, SHUT_WR);
	return NULL;
}

/* 4 MiB to the guest while the thread is ended and begun hundreds of times: byte for byte. */
static void a_stream_through_many_stops(void **state)
{
	struct fixture *f = *state;
	struct stopper s = {.f = f};
	uint8_t payload[BUFFER];
	pthread_t stopper, writer;
	size_t got = 0;
	struct mux_header h;
	int fd = open_incoming(f, 50);

	assert_int_equal(pthread_create(&writer, NULL, write_all, &fd), 0);
	assert_int_equal(pthread_create(&stopper, NULL, stop_and_start, &s), 0);
	for (;;) {
		h = await_any(f, payload);
		if (h.op == SHUTDOWN)
			break;
		for (unsigned i = 0; h.op == RW && i < h.len; i++, got++) {
			unsigned k = got % (1 << 16);

			if (payload[i] != (uint8_t)((got >> 16) * 31 + k * 7 + (k >> 8)))
				fail_msg("byte %zu is another", got);
		}
		f->fwd = (uint32_t)got;
		if (h.op == CREDIT_REQUEST || (h.op == RW && got % (WINDOW / 4) < h.len))
			send_op(f, 50, PORT, CREDIT_UPDATE);
	}
	assert_int_equal(got, 64 << 16);
	s.is_over = true;
	pthread_join(stopper, NULL);
	pthread_join(writer, NULL);
	assert_in_range(s.n, 5, UINT32_MAX);
	close(fd);
}

/* The guest cannot answer while it stands still, so that time does not count against it. */
static void time_limits_stand_still(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f, 50);
	struct mux_header h;

	close(fd);
	await(f, SHUTDOWN, NULL); /* the guest has 2 s to answer */
	mux_stop(f->m);
	nanosleep(&(struct timespec){.tv_sec = 2, .tv_nsec = 100 * 1000 * 1000}, NULL);
	start(f);
	nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
	assert_int_equal(mux_connections(f->m), 1);
	assert_false(take(f, &h, NULL));
	send_op(f, 50, PORT, RST);
	await_connections(f, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_up, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stale_connections_are_reset_first),
		TEST(a_restored_machine_is_saved_again),
		TEST(as_many_as_there_may_be),
		TEST(rolled_back_in_place),
		TEST(a_reset_that_is_due_is_still_due),
		TEST(a_packet_that_was_not_looked_at),
		TEST(a_driver_that_has_just_reset),
		TEST(values_that_cannot_be),
		TEST(cut_off_anywhere),
		TEST(nothing_is_lost_while_stopped),
		TEST(a_stream_through_many_stops),
		TEST(time_limits_stand_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
