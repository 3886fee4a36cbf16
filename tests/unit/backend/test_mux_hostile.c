// SPDX-License-Identifier: Apache-2.0
/* A guest that breaks the rules or asks for too much: refused, reset, bounded. */
#include "mux_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static void a_guest_that_exceeds_its_credit_is_reset(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f);
	static uint8_t data[ROOM];

	for (unsigned i = 0; i < 64 && f->last.op != RST; i++) {
		send_bytes(f, PORT, data, ROOM);
		while (next(f) == CREDIT_UPDATE)
			;
	}
	assert_int_equal(f->last.op, RST);
	close(fd);
}

static void strangers_packets(void **state)
{
	struct fixture *f = *state;
	struct mux_header h = header(f, PORT, REQUEST, 0);

	h.src_cid = 4; /* not this guest: no answer */
	mux_receive(f->m, &h, NULL, 0, false);
	assert_int_equal(next(f), 0);
	h = header(f, PORT, REQUEST, 0);
	h.dst_cid = 9; /* another guest */
	mux_receive(f->m, &h, NULL, 0, false);
	assert_int_equal(next(f), RST);
	assert_int_equal(f->last.src_cid, 9);
	h = header(f, PORT, REQUEST, 0);
	h.type = 2; /* SEQPACKET was not offered */
	mux_receive(f->m, &h, NULL, 0, false);
	assert_int_equal(next(f), RST);
	assert_int_equal(f->last.type, 2);
	for (int op = 0; op < 20; op++) {
		if (op == REQUEST)
			continue;
		send_op(f, PORT, op, 3); /* no such connection */
		assert_int_equal(next(f), op == RST ? 0 : RST);
	}
	assert_int_equal(mux_connections(f->m), 0);
	assert_int_equal(f->incoming, -1);
}

static void nonsense_on_a_connection_resets_it(void **state)
{
	struct fixture *f = *state;
	static const int ops[] = {0, REQUEST, RESPONSE, 8, 65535};

	for (unsigned i = 0; i < 5; i++) {
		int fd = open_incoming(f);

		send_op(f, PORT, ops[i], 0);
		assert_true(is_at_end(fd));
		assert_int_equal(next(f), RST);
		assert_int_equal(mux_connections(f->m), 0);
		close(fd);
	}
}

static void malformed_packets_reset(void **state)
{
	struct fixture *f = *state;
	struct mux_header h;
	int fd = open_incoming(f);

	h = header(f, PORT, RW, 1000);
	mux_receive(f->m, &h, NULL, 0, true);
	assert_int_equal(next(f), RST);
	assert_true(is_at_end(fd));
	h = header(f, PORT, REQUEST, 1000);
	mux_receive(f->m, &h, NULL, 0, true);
	assert_int_equal(next(f), RST);
	assert_int_equal(mux_connections(f->m), 0);
	close(fd);
}

static void an_answer_before_the_request_was_told(void **state)
{
	struct fixture *f = *state;
	int pair[2];
	uint32_t port;
	int fd = begin_outgoing(f, &port);

	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(mux_connect(f->m, GUEST_PORT, pair[0]), 0);
	mux_settle(f->m);
	send_op(f, port + 1, RESPONSE, 0); /* guessed */
	assert_true(is_at_end(pair[1]));
	assert_int_equal(next(f), 0);
	assert_int_equal(mux_connections(f->m), 1);
	send_bytes(f, port, "x", 1); /* before its answer */
	assert_int_equal(next(f), RST);
	assert_true(is_at_end(fd));
	close(pair[1]);
	close(fd);
}

static void the_table_is_bounded(void **state)
{
	struct fixture *f = *state;
	int *fds = calloc(MUX_CONNECTIONS_MAX, sizeof(*fds));
	struct mux_header h = header(f, PORT, REQUEST, 0);
	struct rlimit files;
	int pair[2];

	/* Both ends of each are ours here. */
	assert_return_code(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = MIN(files.rlim_max, (rlim_t)4 * MUX_CONNECTIONS_MAX);
	assert_return_code(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (unsigned i = 0; i < MUX_CONNECTIONS_MAX; i++) {
		h.src_port = 10000 + i;
		mux_receive(f->m, &h, NULL, 0, false);
		assert_int_equal(next(f), RESPONSE);
		fds[i] = f->incoming;
		f->incoming = -1;
	}
	h.src_port = 9;
	mux_receive(f->m, &h, NULL, 0, false);
	assert_int_equal(next(f), RST);
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(mux_connect(f->m, 1, pair[0]), 0);
	turn(f);
	assert_true(is_at_end(pair[1]));
	close(pair[1]);
	assert_int_equal(mux_connections(f->m), MUX_CONNECTIONS_MAX);
	/* One goes, one comes. */
	h.src_port = 10500;
	h.op = RST;
	mux_receive(f->m, &h, NULL, 0, false);
	assert_true(is_at_end(fds[500]));
	h.src_port = 9;
	h.op = REQUEST;
	mux_receive(f->m, &h, NULL, 0, false);
	assert_int_equal(next(f), RESPONSE);
	mux_reset(f->m);
	assert_int_equal(mux_connections(f->m), 0);
	for (unsigned i = 0; i < MUX_CONNECTIONS_MAX; i++) {
		assert_true(is_at_end(fds[i]));
		close(fds[i]);
	}
	free(fds);
}

static void refusals_are_bounded(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	for (unsigned i = 0; i < 5000; i++)
		send_op(f, 1, REQUEST, 0);
	while (next(f) == RST)
		n++;
	assert_in_range(n, 16, 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_guest_that_exceeds_its_credit_is_reset),
		TEST(strangers_packets),
		TEST(nonsense_on_a_connection_resets_it),
		TEST(malformed_packets_reset),
		TEST(an_answer_before_the_request_was_told),
		TEST(the_table_is_bounded),
		TEST(refusals_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
