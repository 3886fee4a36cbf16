// SPDX-License-Identifier: Apache-2.0
#include "mux_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/loop.h"

static int on_incoming(void *ctx, uint32_t port, int fd)
{
	struct fixture *f = ctx;

	if (f->refusal)
		return f->refusal;
	f->incoming = fd;
	f->port = port;
	return 0;
}

int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct mux_config config = {GUEST, PORT, 4, on_incoming, f};
	struct err e = {0};

	f->incoming = -1;
	*state = f;
	return mux_new(&config, &f->m, &e);
}

int teardown(void **state)
{
	struct fixture *f = *state;

	mux_free(f->m);
	if (f->incoming >= 0)
		close(f->incoming);
	free(f);
	return 0;
}

void turn(struct fixture *f)
{
	mux_settle(f->m);
	while (loop_turn(mux_loop(f->m), 0) > 0 && !mux_has_next(f->m))
		;
}

int next_in(struct fixture *f, size_t room)
{
	struct iovec iov = {f->payload, room};

	turn(f);
	memset(&f->last, 0, sizeof(f->last));
	if (!mux_next(f->m, &f->last, &iov, 1))
		return 0;
	assert_int_equal(f->last.dst_cid, GUEST);
	return f->last.op;
}

int next(struct fixture *f)
{
	return next_in(f, ROOM);
}

struct mux_header header(struct fixture *f, uint32_t port, int op, uint32_t len)
{
	return (struct mux_header){.src_cid = GUEST,
		.dst_cid = MUX_HOST_CID,
		.src_port = GUEST_PORT,
		.dst_port = port,
		.len = len,
		.type = 1,
		.op = (uint16_t)op,
		.buf_alloc = 256 * 1024,
		.fwd_cnt = f->fwd};
}

void send_op(struct fixture *f, uint32_t port, int op, uint32_t flags)
{
	struct mux_header h = header(f, port, op, 0);

	h.flags = flags;
	mux_receive(f->m, &h, NULL, 0, false);
}

void send_bytes(struct fixture *f, uint32_t port, const void *data, uint32_t n)
{
	struct mux_header h = header(f, port, RW, n);
	struct iovec iov[2] = {
		{(char *)(uintptr_t)data, n / 3}, {(char *)(uintptr_t)data + n / 3, n - n / 3}};

	mux_receive(f->m, &h, iov, 2, false);
}

int open_incoming(struct fixture *f)
{
	int fd;

	send_op(f, PORT, REQUEST, 0);
	assert_int_equal(f->port, PORT);
	assert_int_equal(next(f), RESPONSE);
	assert_int_equal(f->last.src_port, PORT);
	assert_int_equal(f->last.dst_port, GUEST_PORT);
	assert_true(f->last.buf_alloc >= 65536);
	assert_int_equal(next(f), 0);
	fd = f->incoming;
	f->incoming = -1;
	return fd;
}

int begin_outgoing(struct fixture *f, uint32_t *ret_port)
{
	int pair[2];

	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(mux_connect(f->m, GUEST_PORT, pair[0]), 0);
	assert_int_equal(next(f), REQUEST);
	assert_int_equal(f->last.src_cid, MUX_HOST_CID);
	assert_int_equal(f->last.dst_port, GUEST_PORT);
	*ret_port = f->last.src_port;
	return pair[1];
}

bool is_at_end(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}
