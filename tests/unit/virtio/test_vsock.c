// SPDX-License-Identifier: Apache-2.0
/* virtio-vsock whole: handshakes, streams, credit, resets, through queues, threads and sockets. */
#include "virtio/vsock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "vsock_guest.h"

static void tells_its_cid(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(drv_read(&f->d, R_ID), VIRTIO_ID_VSOCK);
	assert_int_equal(drv_read(&f->d, R_CONFIG), GUEST);
	assert_int_equal(drv_read(&f->d, R_CONFIG + 4), 0);
}

static void both_directions_of_both_kinds(void **state)
{
	struct fixture *f = *state;
	char back[BUFFER] = {0};
	uint32_t host_port;
	int in, out;

	in = open_incoming(f, 50);
	send_packet(f, header(f, 50, PORT, RW, 5), "guest");
	assert_int_equal(recv(in, back, 5, MSG_WAITALL), 5);
	assert_memory_equal(back, "guest", 5);
	out = open_outgoing(f, 60, &host_port);
	assert_int_equal(send(out, "host", 4, 0), 4);
	assert_int_equal(await(f, RW, back).len, 4);
	assert_memory_equal(back, "host", 4);
	send_op(f, 60, host_port, RST);
	assert_true(reads_end(out));
	close(in);
	assert_int_equal(await(f, SHUTDOWN, NULL).flags, 3);
	send_op(f, 50, PORT, RST);
	await_connections(f, 0);
	assert_true(f->d.interrupts > 0);
	close(out);
}

static void a_connection_asked_for_before_the_guest_is_up(void **state)
{
	struct fixture *f = *state;
	struct mux_header h;
	int pair[2];
	char back[8];

	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(send(pair[1], "early", 5, 0), 5);
	assert_int_equal(mux_connect(f->m, 7, pair[0]), 0);
	await_connections(f, 1);
	bring_up(f, 16); /* resets first, as drivers do */
	h = await(f, REQUEST, NULL);
	send_op(f, 7, h.src_port, RESPONSE);
	assert_int_equal(await(f, RW, back).len, 5);
	close(pair[1]);
}

struct pump {
	int fd;
	size_t bytes;
	bool is_sender;
	bool is_good;
};

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 31 + (at >> 8));
}

/* The host's program: sends or checks so many bytes of the pattern. */
static void *pump(void *ctx)
{
	struct pump *p = ctx;
	uint8_t chunk[10000];
	size_t done = 0;

	while (done < p->bytes) {
		size_t n = MIN(sizeof(chunk), p->bytes - done);
		ssize_t r;

		for (size_t i = 0; p->is_sender && i < n; i++)
			chunk[i] = pattern(done + i);
		r = p->is_sender ? send(p->fd, chunk, n, MSG_NOSIGNAL) : recv(p->fd, chunk, n, 0);
		if (r <= 0)
			return NULL;
		for (ssize_t i = 0; !p->is_sender && i < r; i++)
			if (chunk[i] != pattern(done + (size_t)i))
				return NULL;
		done += (size_t)r;
	}
	p->is_good = true;
	return NULL;
}

/* Ten megabytes each way at the same time over one connection, credit kept on both sides. */
static void move_both_ways(struct fixture *f)
{
	const size_t total = 10 << 20;
	struct pump pumps[2] = {{.bytes = total, .is_sender = true}, {.bytes = total}};
	uint8_t *chunk = malloc(TX_BUFFER), back[BUFFER];
	uint32_t sent = 0, got = 0, peer_fwd = 0, peer_window = 0, told = 0;
	uint64_t deadline = clock_deadline_ns(100 * 1000);
	pthread_t threads[2];
	int fd = open_incoming(f, 50);

	f->fwd = 0;
	for (int i = 0; i < 2; i++) {
		pumps[i].fd = fd;
		assert_int_equal(pthread_create(&threads[i], NULL, pump, &pumps[i]), 0);
	}
	send_op(f, 50, PORT, CREDIT_REQUEST);
	while ((sent < total || got < total) && clock_now_ns() < deadline) {
		uint32_t room = peer_window - (sent - peer_fwd);
		uint32_t n = (uint32_t)MIN(MIN(room, (uint32_t)TX_BUFFER), total - sent);
		struct mux_header h;

		if (n) {
			for (uint32_t i = 0; i < n; i++)
				chunk[i] = pattern(sent + i);
			send_packet(f, header(f, 50, PORT, RW, n), chunk);
			sent += n;
		}
		while (take(f, &h, back)) {
			peer_fwd = h.fwd_cnt;
			peer_window = h.buf_alloc;
			if (h.op == CREDIT_UPDATE || h.op == CREDIT_REQUEST)
				continue;
			assert_int_equal(h.op, RW);
			for (uint32_t i = 0; i < h.len; i++)
				if (back[i] != pattern(got + i))
					fail_msg("byte %u is wrong", got + i);
			got += h.len;
		}
		f->fwd = got;
		if (got - told > WINDOW / 2) {
			send_op(f, 50, PORT, CREDIT_UPDATE);
			told = got;
		}
	}
	assert_int_equal(sent, total);
	assert_int_equal(got, total);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_true(pumps[i].is_good);
	}
	f->fwd = 0;
	close(fd);
	await(f, SHUTDOWN, NULL);
	send_op(f, 50, PORT, RST);
	await_connections(f, 0);
	free(chunk);
}

static void ten_megabytes_both_ways(void **state)
{
	move_both_ways(*state);
}

static void ten_megabytes_into_split_buffers(void **state)
{
	struct fixture *f = *state;

	f->is_split = true;
	bring_up(f, 32);
	move_both_ways(f);
}

static void a_guest_without_buffers_holds_the_host_up(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[1 << 20];
	struct mux_header h;
	size_t got = 0, sent;
	ssize_t n;
	int fd;

	bring_up(f, 1);
	fd = open_incoming(f, 50); /* one buffer, given back: so one packet fits */
	for (sent = 0; (n = send(fd, data, sizeof(data), MSG_DONTWAIT)) > 0; sent += (size_t)n)
		nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
	assert_int_equal(errno, EAGAIN);
	assert_in_range(sent, BUFFER, 4 << 20);
	while (got < sent) {
		h = await_any(f, NULL);
		if (h.op == CREDIT_REQUEST || got - f->fwd >= WINDOW / 4) {
			f->fwd = (uint32_t)(got + (h.op == RW ? h.len : 0));
			send_op(f, 50, PORT, CREDIT_UPDATE);
		}
		if (h.op == RW)
			got += h.len;
	}
	assert_int_equal(got, sent);
	close(fd);
}

static void many_connections(void **state)
{
	enum { N = 60 };
	struct fixture *f = *state;
	int fds[N];
	bool has_answered[N] = {false};
	char back[BUFFER];

	for (unsigned i = 0; i < N; i++) {
		uint32_t id = i;

		fds[i] = open_incoming(f, 1000 + i);
		send_packet(f, header(f, 1000 + i, PORT, RW, 4), &id);
	}
	for (unsigned i = 0; i < N; i++) {
		uint32_t id = 0;

		assert_int_equal(recv(fds[i], &id, 4, MSG_WAITALL), 4);
		assert_int_equal(id, i);
		assert_int_equal(send(fds[i], &id, 4, 0), 4);
	}
	for (unsigned i = 0; i < N; i++) {
		struct mux_header h = await(f, RW, back);

		assert_int_equal(h.len, 4);
		assert_int_equal(*(uint32_t *)back, h.dst_port - 1000);
		assert_false(has_answered[h.dst_port - 1000]);
		has_answered[h.dst_port - 1000] = true;
	}
	assert_int_equal(mux_connections(f->m), N);
	for (unsigned i = 0; i < N; i++)
		close(fds[i]);
	for (unsigned i = 0; i < N; i++) {
		struct mux_header h = await(f, SHUTDOWN, NULL);

		send_op(f, h.dst_port, PORT, RST);
	}
	await_connections(f, 0);
}

static void malformed_packets(void **state)
{
	struct fixture *f = *state;
	struct mux_header h = header(f, 50, PORT, RW, 100);
	gpa_t at = drv_alloc(&f->d, 4096, 16);
	struct drv_buf bufs[] = {{at, 20, false}, {at + 20, 24, false}, {at + 44, 10, false}};
	struct drv_queue *q = &f->d.queues[TX];
	uint16_t head;
	uint32_t bytes;
	int fd = open_incoming(f, 50);

	settle_tx(f, 0);
	memcpy(drv_ptr(&f->d, at), &h, sizeof(h));
	drv_add(q, bufs, 1); /* half a header: nobody to answer */
	drv_kick(&f->d, q);
	assert_true(drv_wait_used(q, &head, &bytes));
	drv_add(q, bufs, 3); /* 10 of 100 bytes */
	drv_kick(&f->d, q);
	assert_true(drv_wait_used(q, &head, &bytes));
	await(f, RST, NULL);
	assert_true(reads_end(fd));
	/* A header cut in the middle is a header all the same. */
	h = header(f, 50, PORT, REQUEST, 0);
	memcpy(drv_ptr(&f->d, at), &h, sizeof(h));
	drv_add(q, bufs, 2);
	drv_kick(&f->d, q);
	assert_true(drv_wait_used(q, &head, &bytes));
	await(f, RESPONSE, NULL);
	/* Bytes beyond the length are not part of the packet. */
	h = header(f, 50, PORT, RW, 4);
	memcpy(drv_ptr(&f->d, at), &h, sizeof(h));
	memcpy(drv_ptr(&f->d, at + 44), "abcdefghij", 10);
	drv_add(q, bufs, 3);
	drv_kick(&f->d, q);
	assert_true(drv_wait_used(q, &head, &bytes));
	assert_int_equal(recv(f->incoming[1], drv_ptr(&f->d, at), 10, 0), 4);
	close(fd);
}

static void a_receive_buffer_too_small_for_a_packet(void **state)
{
	struct fixture *f = *state;
	struct drv_buf buf = {f->rx[0], HEADER, true};
	uint64_t deadline = clock_deadline_ns(10 * 1000);

	bring_up(f, 0);
	drv_add(&f->d.queues[RX], &buf, 1);
	send_op(f, 1, 1, REQUEST);
	while (!(drv_read(&f->d, R_STATUS) & VIRTIO_S_NEEDS_RESET) && clock_now_ns() < deadline)
		;
	assert_true(drv_read(&f->d, R_STATUS) & VIRTIO_S_NEEDS_RESET);
}

static void a_driver_reset_ends_every_connection(void **state)
{
	struct fixture *f = *state;
	uint32_t host_port;
	int in = open_incoming(f, 50), out = open_outgoing(f, 60, &host_port);

	settle_tx(f, 0);
	drv_write(&f->d, R_STATUS, 0);
	assert_true(reads_end(in));
	assert_true(reads_end(out));
	await_connections(f, 0);
	bring_up(f, 32);
	close(open_incoming(f, 50));
	close(in);
	close(out);
}

static void a_transport_reset_is_told(void **state)
{
	struct fixture *f = *state;
	gpa_t at = drv_alloc(&f->d, 8, 8);
	struct drv_buf buf = {at, 8, true};
	struct drv_queue *q = &f->d.queues[EVENT];
	uint16_t head;
	uint32_t bytes;
	int fd = open_incoming(f, 50);

	memset(drv_ptr(&f->d, at), 0xff, 8);
	mux_reset(f->m);
	assert_int_equal(mux_connections(f->m), 0);
	vsock_transport_reset(f->d.dev); /* no buffer yet: it waits for one */
	drv_add(q, &buf, 1);
	drv_kick(&f->d, q);
	assert_true(drv_wait_used(q, &head, &bytes));
	assert_int_equal(bytes, 4);
	assert_int_equal(*(uint32_t *)drv_ptr(&f->d, at), 0);
	assert_int_equal(*(uint32_t *)drv_ptr(&f->d, at + 4), UINT32_MAX);
	drv_add(q, &buf, 1);
	drv_kick(&f->d, q);
	vsock_transport_reset(f->d.dev); /* a buffer is there: at once */
	assert_true(drv_used(q, &head, &bytes));
	assert_true(reads_end(fd));
	close(fd);
	close(open_incoming(f, 51));
}

struct storm {
	struct fixture *f;
	unsigned ends;
};

static void *connect_storm(void *ctx)
{
	struct storm *s = ctx;

	for (unsigned i = 0; i < 300; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			break;
		if (mux_connect(s->f->m, 60, pair[0]) == 0 && i % 7 == 0)
			mux_reset(s->f->m);
		if (i % 3)
			s->ends += (unsigned)send(pair[1], "x", 1, MSG_NOSIGNAL) == 1;
		close(pair[1]);
	}
	return NULL;
}

/* Connects, resets and traffic from several threads at once: nothing hangs, nothing is left. */
static void threads_storm_the_muxer(void **state)
{
	struct fixture *f = *state;
	struct storm storms[2] = {{f, 0}, {f, 0}};
	pthread_t threads[2];
	struct mux_header h;

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, connect_storm, &storms[i]), 0);
	for (unsigned i = 0; i < 3000; i++) {
		if (take(f, &h, NULL) && h.op == REQUEST)
			send_op(f, 60, h.src_port, i % 2 ? RESPONSE : RST);
		if (i % 1000 == 999)
			vsock_transport_reset(f->d.dev);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	mux_reset(f->m);
	assert_int_equal(mux_connections(f->m), 0);
	settle_tx(f, 0);
	bring_up(f, 32);
	close(open_incoming(f, 50));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_up, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tells_its_cid),
		TEST(both_directions_of_both_kinds),
		cmocka_unit_test_setup_teardown(
			a_connection_asked_for_before_the_guest_is_up, setup, teardown),
		TEST(ten_megabytes_both_ways),
		TEST(ten_megabytes_into_split_buffers),
		cmocka_unit_test_setup_teardown(
			a_guest_without_buffers_holds_the_host_up, setup, teardown),
		TEST(many_connections),
		TEST(malformed_packets),
		cmocka_unit_test_setup_teardown(
			a_receive_buffer_too_small_for_a_packet, setup, teardown),
		TEST(a_driver_reset_ends_every_connection),
		TEST(a_transport_reset_is_told),
		TEST(threads_storm_the_muxer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
