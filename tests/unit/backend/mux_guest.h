// SPDX-License-Identifier: Apache-2.0
/*
 * A guest made by hand for tests of the muxer, which here has neither thread nor queues: packets on
 * one side, real sockets on the other, the loop turned by the test. So every order of events can be
 * had.
 */
#pragma once

#include "backend/vsock_mux.h"

enum {
	GUEST = 3,
	PORT = 5000,	 /* the host accepts 5000..5003 */
	GUEST_PORT = 77, /* the guest's own */
	ROOM = 65536,

	REQUEST = 1,
	RESPONSE,
	RST,
	SHUTDOWN,
	RW,
	CREDIT_UPDATE,
	CREDIT_REQUEST,
	SHUT_RECEIVE = 1,
	SHUT_SEND = 2,
};

struct fixture {
	struct mux *m;
	int incoming; /* the newest descriptor, -1: none */
	uint32_t port;
	int refusal; /* what the callback answers */
	struct mux_header last;
	uint8_t payload[ROOM];
	uint32_t fwd; /* what the guest says it has taken */
};

int setup(void **state);
int teardown(void **state);
/* Lets the muxer look at its sockets and at what was asked, until it has a packet or nothing. */
void turn(struct fixture *f);

/* The next packet for the guest into f->last; its op, or 0 when there is none. */
int next_in(struct fixture *f, size_t room);

int next(struct fixture *f);
struct mux_header header(struct fixture *f, uint32_t port, int op, uint32_t len);
void send_op(struct fixture *f, uint32_t port, int op, uint32_t flags);
void send_bytes(struct fixture *f, uint32_t port, const void *data, uint32_t n);
/* A connection that the guest made. Returns the host's end. */
int open_incoming(struct fixture *f);

/* A connection that the host makes, as far as its REQUEST. Returns the host's end. */
int begin_outgoing(struct fixture *f, uint32_t *ret_port);

bool is_at_end(int fd);
