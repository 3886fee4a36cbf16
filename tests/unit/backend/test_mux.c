// SPDX-License-Identifier: Apache-2.0
/* The life of connections: opened from both sides, half closed, ended, reset; their credit. */
#include "mux_guest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/loop.h"

static void the_guest_connects_and_both_talk(void **state)
{
	struct fixture *f = *state;
	char back[16] = {0};
	int fd = open_incoming(f);

	send_bytes(f, PORT, "from guest", 10);
	assert_int_equal(recv(fd, back, sizeof(back), MSG_DONTWAIT), 10);
	assert_memory_equal(back, "from guest", 10);
	assert_int_equal(send(fd, "from host", 9, 0), 9);
	assert_int_equal(next(f), RW);
	assert_int_equal(f->last.len, 9);
	assert_int_equal(f->last.fwd_cnt, 10);
	assert_memory_equal(f->payload, "from host", 9);
	assert_int_equal(next(f), 0);
	close(fd);
}

static void ports_that_are_not_offered_are_refused(void **state)
{
	struct fixture *f = *state;
	static const uint32_t ports[] = {PORT - 1, PORT + 4, 0, UINT32_MAX};

	for (unsigned i = 0; i < 4; i++) {
		send_op(f, ports[i], REQUEST, 0);
		assert_int_equal(next(f), RST);
		assert_int_equal(f->last.src_port, ports[i]);
		assert_int_equal(f->last.dst_port, GUEST_PORT);
	}
	f->refusal = -ECONNREFUSED;
	send_op(f, PORT, REQUEST, 0);
	assert_int_equal(next(f), RST);
	assert_int_equal(mux_connections(f->m), 0);
	assert_int_equal(f->incoming, -1);
}

static void the_host_connects_and_early_bytes_wait(void **state)
{
	struct fixture *f = *state;
	uint32_t port;
	int fd = begin_outgoing(f, &port);

	assert_int_equal(send(fd, "early", 5, 0), 5);
	assert_int_equal(next(f), 0); /* not before the guest has answered */
	send_op(f, port, RESPONSE, 0);
	assert_int_equal(next(f), RW);
	assert_memory_equal(f->payload, "early", 5);
	close(fd);
}

static void a_refused_connection_reads_end_of_file(void **state)
{
	struct fixture *f = *state;
	uint32_t port;
	int fd = begin_outgoing(f, &port);

	send_op(f, port, RST, 0);
	assert_true(is_at_end(fd));
	assert_int_equal(mux_connections(f->m), 0);
	assert_int_equal(next(f), 0); /* an RST is not answered */
	close(fd);
}

static void a_host_that_gives_up_before_the_answer(void **state)
{
	struct fixture *f = *state;
	uint32_t port;
	int fd = begin_outgoing(f, &port), pair[2];

	close(fd);
	assert_int_equal(next(f), RST);
	assert_int_equal(mux_connections(f->m), 0);
	send_op(f, port, RESPONSE, 0); /* crossed with it */
	assert_int_equal(next(f), RST);

	/* Before the guest even heard of it: not a word. */
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(mux_connect(f->m, GUEST_PORT, pair[0]), 0);
	mux_settle(f->m);
	assert_int_equal(mux_connections(f->m), 1);
	close(pair[1]);
	loop_turn(mux_loop(f->m), 100);
	loop_turn(mux_loop(f->m), 0);
	assert_int_equal(next(f), 0);
	assert_int_equal(mux_connections(f->m), 0);
}

static void bytes_of_a_host_that_left_still_arrive(void **state)
{
	struct fixture *f = *state;
	uint32_t port;
	int fd = begin_outgoing(f, &port);

	assert_int_equal(send(fd, "last words", 10, 0), 10);
	close(fd);
	assert_int_equal(next(f), 0);
	send_op(f, port, RESPONSE, 0);
	assert_int_equal(next(f), RW);
	assert_memory_equal(f->payload, "last words", 10);
	assert_int_equal(next(f), SHUTDOWN);
	assert_int_equal(f->last.flags, SHUT_RECEIVE | SHUT_SEND);
	send_op(f, port, RST, 0);
	assert_int_equal(mux_connections(f->m), 0);
	assert_int_equal(next(f), 0);
}

static void the_guest_finishes_sending_first(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f);
	char back[8];

	send_bytes(f, PORT, "bye", 3);
	send_op(f, PORT, SHUTDOWN, SHUT_SEND);
	assert_int_equal(recv(fd, back, 8, MSG_DONTWAIT), 3);
	assert_true(is_at_end(fd));
	assert_int_equal(send(fd, "reply", 5, 0), 5); /* the other way still works */
	assert_int_equal(next(f), RW);
	send_bytes(f, PORT, "lie", 3); /* after the end: nonsense */
	assert_int_equal(next(f), RST);
	assert_int_equal(mux_connections(f->m), 0);
	close(fd);
}

static void the_guest_finishes_receiving_first(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f);
	char back[8];

	send_op(f, PORT, SHUTDOWN, SHUT_RECEIVE);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	send_bytes(f, PORT, "still", 5);
	assert_int_equal(recv(fd, back, 8, MSG_DONTWAIT), 5);
	send_op(f, PORT, SHUTDOWN, SHUT_SEND); /* the other half */
	assert_int_equal(next(f), RST);
	assert_true(is_at_end(fd));
	assert_int_equal(mux_connections(f->m), 0);
	close(fd);
}

static void the_host_finishes_one_way_then_the_other(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f);
	char back[8];

	assert_int_equal(send(fd, "end", 3, 0), 3);
	shutdown(fd, SHUT_WR);
	assert_int_equal(next(f), RW);
	assert_int_equal(next(f), SHUTDOWN);
	assert_int_equal(f->last.flags, SHUT_SEND);
	send_bytes(f, PORT, "more", 4);
	assert_int_equal(recv(fd, back, 8, MSG_DONTWAIT), 4);
	close(fd);
	assert_int_equal(next(f), SHUTDOWN);
	assert_int_equal(f->last.flags, SHUT_RECEIVE | SHUT_SEND);
	assert_int_equal(mux_connections(f->m), 1); /* until the guest has answered */
	send_bytes(f, PORT, "crossed", 7);
	assert_int_equal(next(f), 0);
	send_op(f, PORT, RST, 0);
	assert_int_equal(mux_connections(f->m), 0);
}

static void a_host_that_stops_reading(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f);

	shutdown(fd, SHUT_RD);
	send_bytes(f, PORT, "x", 1);
	assert_int_equal(next(f), SHUTDOWN);
	assert_int_equal(f->last.flags, SHUT_RECEIVE);
	send_bytes(f, PORT, "y", 1); /* crossed: swallowed */
	assert_int_equal(send(fd, "still", 5, 0), 5);
	assert_int_equal(next(f), RW);
	close(fd);
}

static void a_dead_host_resets_the_guest(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f);

	send_bytes(f, PORT, "unread", 6);
	close(fd); /* with bytes unread: the socket is reset */
	assert_true(next(f) != 0);
	while (f->last.op == SHUTDOWN && next(f))
		;
	assert_true(f->last.op == RST || mux_connections(f->m) == 1);
	send_op(f, PORT, RST, 0);
	assert_int_equal(mux_connections(f->m), 0);
}

static void the_guest_closes_and_its_bytes_still_arrive(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f), size = 4096;
	static uint8_t data[60000], back[70000];
	size_t got = 0;
	unsigned sent = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (; sent < 4; sent++)
		send_bytes(f, PORT, data, sizeof(data)); /* more than the socket takes */
	send_op(f, PORT, SHUTDOWN, SHUT_RECEIVE | SHUT_SEND);
	assert_int_equal(next(f), RST);
	send_op(f, PORT, REQUEST, 0); /* the same ports at once: another connection */
	assert_int_equal(next(f), RESPONSE);
	assert_int_equal(mux_connections(f->m), 2);
	while (!is_at_end(fd)) {
		ssize_t n = recv(fd, back, sizeof(back), MSG_DONTWAIT);

		for (ssize_t i = 0; i < n; i++)
			if (back[i] != data[(got + 1 + (size_t)i) % sizeof(data)])
				fail_msg("byte %zu is wrong", got + (size_t)i);
		got += 1 + (size_t)(n > 0 ? n : 0); /* is_at_end took one */
		turn(f);
	}
	assert_int_equal(got, 4 * sizeof(data));
	turn(f);
	assert_int_equal(mux_connections(f->m), 1);
	close(fd);
}

static void a_slow_host_stops_the_credit(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f);
	uint32_t window = 256 * 1024, sent = 0, told = 0;
	static uint8_t data[ROOM];
	size_t got = 0;

	/* The guest keeps to its credit; nobody reads. It must come to a stop. */
	for (;;) {
		uint32_t room = window - (sent - told);
		int op;

		while ((op = next(f)) != 0) {
			assert_int_equal(op, CREDIT_UPDATE);
			told = f->last.fwd_cnt;
			window = f->last.buf_alloc;
		}
		room = window - (sent - told);
		if (!room)
			break;
		send_bytes(f, PORT, data, room < ROOM ? room : ROOM);
		sent += room < ROOM ? room : ROOM;
	}
	assert_in_range(sent, window, 16 << 20);
	/* Reading makes room again, and the guest hears of it. */
	while (got < sent / 2) {
		ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

		assert_true(n > 0);
		got += (size_t)n;
		turn(f);
	}
	assert_int_equal(next(f), CREDIT_UPDATE);
	assert_true(f->last.fwd_cnt > told);
	assert_in_range(sent - f->last.fwd_cnt, 1, window - 1);
	while (got < sent) {
		ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

		assert_true(n > 0);
		got += (size_t)n;
		turn(f);
	}
	close(fd);
}

static void the_guests_credit_is_kept(void **state)
{
	struct fixture *f = *state;
	struct mux_header h = header(f, PORT, REQUEST, 0);
	static uint8_t data[100000];
	int fd;

	h.buf_alloc = 1000;
	mux_receive(f->m, &h, NULL, 0, false);
	assert_int_equal(next(f), RESPONSE);
	fd = f->incoming;
	f->incoming = -1;
	assert_int_equal(send(fd, data, sizeof(data), MSG_DONTWAIT), sizeof(data));
	assert_int_equal(next_in(f, 600), RW);
	assert_int_equal(f->last.len, 600);
	assert_int_equal(next(f), RW);
	assert_int_equal(f->last.len, 400);
	assert_int_equal(next(f), CREDIT_REQUEST); /* asked once */
	assert_int_equal(next(f), 0);
	h = header(f, PORT, CREDIT_UPDATE, 0);
	h.buf_alloc = 1000;
	h.fwd_cnt = 1000;
	mux_receive(f->m, &h, NULL, 0, false);
	assert_int_equal(next(f), RW);
	assert_int_equal(f->last.len, 1000);
	/* A guest that shrinks its buffer below what is on its way has no room, not a lot. */
	h.buf_alloc = 10;
	mux_receive(f->m, &h, NULL, 0, false);
	assert_int_equal(next(f), CREDIT_REQUEST);
	assert_int_equal(next(f), 0);
	h.op = CREDIT_REQUEST;
	mux_receive(f->m, &h, NULL, 0, false);
	assert_int_equal(next(f), CREDIT_UPDATE);
	close(fd);
}

static void credit_counters_wrap(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f);
	static uint8_t data[ROOM], back[ROOM];

	/* 4.3 GB take too long here; the same counters are moved by hand from the guest's side:
	 * what matters is that only differences count. */
	f->fwd = 0u - 100;
	send_op(f, PORT, CREDIT_UPDATE, 0); /* as if 100 bytes had been sent before the wrap */
	assert_int_equal(send(fd, data, 50, 0), 50);
	assert_int_equal(next(f), RW);
	assert_int_equal(f->last.len, 50);
	for (unsigned i = 0; i < 200; i++) {
		send_bytes(f, PORT, data, ROOM);
		assert_int_equal(recv(fd, back, ROOM, MSG_WAITALL), ROOM);
		while (next(f) == CREDIT_UPDATE)
			;
		assert_int_equal(f->last.op, 0);
	}
	close(fd);
}

static void reset_drops_everything(void **state)
{
	struct fixture *f = *state;
	uint32_t port;
	int in = open_incoming(f), out = begin_outgoing(f, &port), pair[2];

	send_op(f, 1, REQUEST, 0); /* a refusal waits */
	assert_int_equal(send(in, "x", 1, 0), 1);
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(mux_connect(f->m, 1, pair[0]), 0);
	mux_reset(f->m);
	assert_int_equal(next(f), 0);
	assert_int_equal(mux_connections(f->m), 0);
	assert_true(is_at_end(out));
	assert_true(is_at_end(pair[1]));
	/* And it goes on. */
	close(in);
	close(out);
	close(pair[1]);
	close(open_incoming(f));
}

static void turns_are_taken(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[100000];
	struct mux_header h = header(f, PORT, REQUEST, 0);
	unsigned from[3] = {0};
	int fds[3];

	for (unsigned i = 0; i < 3; i++) {
		h.src_port = 100 + i;
		mux_receive(f->m, &h, NULL, 0, false);
		assert_int_equal(next(f), RESPONSE);
		fds[i] = f->incoming;
		f->incoming = -1;
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(send(fds[i], data, sizeof(data), MSG_DONTWAIT), sizeof(data));
	loop_turn(mux_loop(f->m), 0);
	for (unsigned i = 0; i < 30; i++) {
		assert_int_equal(next_in(f, 1000), RW);
		from[f->last.dst_port - 100]++;
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_in_range(from[i], 8, 12);
		close(fds[i]);
	}
}

static void note_kick(void *ctx)
{
	atomic_store((atomic_bool *)ctx, true);
}

static void late_answers_end_the_attempt(void **state)
{
	static atomic_bool is_kicked;
	struct fixture *f = *state;
	int fd = open_incoming(f);

	/* CLOSE_TIMEOUT_MS is 2 s; the thread does this by the loop's time-out. */
	close(fd);
	assert_int_equal(next(f), SHUTDOWN);
	assert_int_equal(mux_connections(f->m), 1);
	atomic_store(&is_kicked, false);
	mux_set_kick(f->m, note_kick, &is_kicked);
	assert_int_equal(mux_start(f->m, NULL), 0);
	for (unsigned i = 0; i < 400 && !atomic_load(&is_kicked); i++)
		nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
	mux_stop(f->m);
	assert_int_equal(next(f), RST);
	assert_int_equal(mux_connections(f->m), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_guest_connects_and_both_talk),
		TEST(ports_that_are_not_offered_are_refused),
		TEST(the_host_connects_and_early_bytes_wait),
		TEST(a_refused_connection_reads_end_of_file),
		TEST(a_host_that_gives_up_before_the_answer),
		TEST(bytes_of_a_host_that_left_still_arrive),
		TEST(the_guest_finishes_sending_first),
		TEST(the_guest_finishes_receiving_first),
		TEST(the_host_finishes_one_way_then_the_other),
		TEST(a_host_that_stops_reading),
		TEST(a_dead_host_resets_the_guest),
		TEST(the_guest_closes_and_its_bytes_still_arrive),
		TEST(a_slow_host_stops_the_credit),
		TEST(the_guests_credit_is_kept),
		TEST(credit_counters_wrap),
		TEST(reset_drops_everything),
		TEST(turns_are_taken),
		TEST(late_answers_end_the_attempt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
