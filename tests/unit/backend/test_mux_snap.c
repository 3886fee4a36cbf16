// SPDX-License-Identifier: Apache-2.0
/* Which connections a snapshot names: those that the guest knows of, and no others. */
#include "mux_guest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "../base/snap_edit.h"
#include "base/snapio.h"

enum { STATE_MAX = 1 << 20 };

static struct buf save(struct fixture *f)
{
	struct snapio io;
	struct err e = {0};
	struct buf b;

	buf_init(&b, STATE_MAX);
	snapio_save_to(&io, "mux", 1, &b);
	mux_snap(f->m, &io);
	assert_int_equal(snapio_end(&io, &e), 0);
	return b;
}

static int load(struct fixture *f, const struct buf *b)
{
	struct snapio io;
	struct err e = {0};

	snapio_load_from(&io, "mux", 1, b->data, b->bytes);
	mux_snap(f->m, &io);
	return snapio_end(&io, &e);
}

/* Saves, and gives how many connections are named. */
static uint32_t count(struct fixture *f)
{
	uint32_t bytes, n;
	struct buf b = save(f);
	uint8_t *at = snap_field(&b, "mux_connections", 0, &bytes);

	assert_non_null(at);
	n = le32_load(at);
	buf_fini(&b);
	return n;
}

static int ask(struct fixture *f)
{
	int pair[2];

	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(mux_connect(f->m, GUEST_PORT, pair[0]), 0);
	return pair[1];
}

static void only_what_the_guest_has_heard_of(void **state)
{
	struct fixture *f = *state;
	uint32_t port;
	int fd = ask(f);

	assert_int_equal(count(f), 0); /* asked for, nobody has looked */
	mux_settle(f->m);
	assert_int_equal(mux_connections(f->m), 1);
	assert_int_equal(count(f), 0); /* its REQUEST waits here */
	assert_int_equal(next(f), REQUEST);
	port = f->last.src_port;
	assert_int_equal(count(f), 1);
	send_op(f, port, RESPONSE, 0);
	assert_int_equal(count(f), 1);
	close(fd);
	assert_int_equal(next(f), SHUTDOWN);
	assert_int_equal(count(f), 1); /* the guest has not answered */
	send_op(f, port, RST, 0);
	assert_int_equal(count(f), 0);
}

static void the_guest_ends_one_but_the_host_has_not_read_it(void **state)
{
	static uint8_t data[64 * 1024];
	struct fixture *f = *state;
	int fd = open_incoming(f), room = 4096;

	assert_return_code(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	for (unsigned i = 0; i < 4; i++)
		send_bytes(f, PORT, data, sizeof(data));
	send_op(f, PORT, RST, 0);
	assert_int_equal(mux_connections(f->m), 1); /* bytes wait for the host */
	assert_int_equal(count(f), 0);
	close(fd);
}

static void a_reset_that_waits_is_kept(void **state)
{
	struct fixture *f = *state;
	void *other;
	struct mux_header h = header(f, PORT, REQUEST, 0);
	struct buf b;
	int fd = open_incoming(f);

	/* The guest breaks a rule, and has yet to hear what came of it. */
	send_op(f, PORT, RESPONSE, 0);
	assert_int_equal(count(f), 1);
	/* So it has of what it asked of somebody who is not there, in its own words. */
	h.dst_cid = 9;
	h.type = 2;
	h.src_port = 78;
	mux_receive(f->m, &h, NULL, 0, false);
	b = save(f);
	setup(&other);
	f = other;
	assert_int_equal(load(f, &b), 0);
	assert_int_equal(next(f), RST);
	assert_int_equal(f->last.src_cid, 9);
	assert_int_equal(f->last.type, 2);
	assert_int_equal(f->last.src_port, PORT);
	assert_int_equal(f->last.dst_port, 78);
	assert_int_equal(next(f), RST);
	assert_int_equal(f->last.src_cid, MUX_HOST_CID);
	assert_int_equal(f->last.type, 1);
	assert_int_equal(f->last.src_port, PORT);
	assert_int_equal(f->last.dst_port, GUEST_PORT);
	assert_int_equal(next(f), 0);
	teardown(&other);
	close(fd);
	buf_fini(&b);
}

static void ports_go_on_counting(void **state)
{
	struct fixture *f = *state;
	uint32_t first, second;
	void *other;
	struct buf b;

	close(begin_outgoing(f, &first));
	b = save(f);
	setup(&other);
	f = other;
	assert_int_equal(load(f, &b), 0);
	assert_int_equal(next(f), RST);
	assert_int_equal(f->last.src_port, first);
	close(begin_outgoing(f, &second));
	assert_int_equal(second, first + 1);
	teardown(&other);
	buf_fini(&b);
}

/* A guest that takes no packets, in a machine that is saved and restored again and again: what has
 * to be told stays bounded. */
static void what_is_kept_is_bounded(void **state)
{
	struct fixture *f = *state;
	unsigned told = 0;

	for (unsigned round = 0; round < 50; round++) {
		struct buf b;

		for (unsigned i = 0; i < 200; i++) {
			struct mux_header h = header(f, PORT - 1, REQUEST, 0);

			h.src_port = 10000 + round * 200 + i;
			mux_receive(f->m, &h, NULL, 0, false);
		}
		b = save(f);
		assert_int_equal(load(f, &b), 0);
		buf_fini(&b);
	}
	while (next(f) == RST) {
		assert_in_range(f->last.dst_port, 10000, 20000);
		told++;
	}
	assert_int_equal(told, 4096);
}

/* The caller of before reads the end of its stream. */
static void loading_drops_what_was_there(void **state)
{
	struct fixture *f = *state;
	struct buf b = save(f);
	int fd = open_incoming(f), asked = ask(f);

	assert_int_equal(load(f, &b), 0);
	assert_true(is_at_end(fd) && is_at_end(asked));
	assert_int_equal(mux_connections(f->m), 0);
	assert_int_equal(next(f), 0);
	/* So it does when the state is no good. */
	close(fd);
	fd = open_incoming(f);
	b.bytes--;
	assert_int_equal(load(f, &b), -EBADMSG);
	assert_true(is_at_end(fd));
	assert_int_equal(next(f), 0);
	close(fd);
	close(asked);
	buf_fini(&b);
}

/* The guest has reset its device, or is put back: it has nothing to hear of any more. */
static void a_reset_drops_what_waits(void **state)
{
	struct fixture *f = *state;
	int fd = open_incoming(f);
	struct buf b = save(f);

	assert_int_equal(load(f, &b), 0);
	assert_true(mux_has_next(f->m));
	mux_reset(f->m);
	assert_false(mux_has_next(f->m));
	assert_int_equal(next(f), 0);
	assert_int_equal(count(f), 0);
	close(fd);
	buf_fini(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(only_what_the_guest_has_heard_of),
		TEST(the_guest_ends_one_but_the_host_has_not_read_it),
		TEST(a_reset_that_waits_is_kept),
		TEST(ports_go_on_counting),
		TEST(what_is_kept_is_bounded),
		TEST(loading_drops_what_was_there),
		TEST(a_reset_drops_what_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
