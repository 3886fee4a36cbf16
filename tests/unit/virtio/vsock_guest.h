// SPDX-License-Identifier: Apache-2.0
/*
 * A guest's vsock driver for tests: its queues on one side, real sockets on the other, the muxer's
 * own thread between them. It keeps 4096-byte buffers as Linux does and takes what comes for as
 * many connections as there are.
 */
#pragma once

#include <stdatomic.h>

#include "backend/vsock_mux.h"
#include "driver.h"

enum {
	GUEST = 3,
	PORT = 1024, /* the host accepts 1024..1031 */
	RX = 0,
	TX = 1,
	EVENT = 2,
	QUEUE = 128,
	HEADER = 44,
	BUFFER = 4096,
	TX_BUFFER = 65536,
	TX_SLOTS = 8,
	WINDOW = 256 * 1024, /* of the guest, for each connection */

	REQUEST = 1,
	RESPONSE,
	RST,
	SHUTDOWN,
	RW,
	CREDIT_UPDATE,
	CREDIT_REQUEST,
};

struct fixture {
	struct drv d;
	struct mux *m;
	gpa_t rx[QUEUE], tx[TX_SLOTS];
	unsigned tx_sent, tx_done;
	int incoming[64];
	_Atomic unsigned n_incoming;
	bool is_split; /* header and payload of receive buffers in two descriptors */
	uint32_t fwd;  /* bytes of one connection that the guest has taken */
};

/* The guest's side, up and running, with n receive buffers. */
void bring_up(struct fixture *f, unsigned n);
int setup(void **state);
int setup_up(void **state);
int teardown(void **state);

/* Waits until at most `left` packets to the device are not used yet. */
void settle_tx(struct fixture *f, unsigned left);

/* One packet to the device: header and payload in two descriptors, as Linux 6.1 sends them. */
void send_packet(struct fixture *f, struct mux_header h, const void *data);

/* A packet between these ports, to be sent by send_packet. */
struct mux_header header(struct fixture *f, uint32_t from, uint32_t to, int op, uint32_t len);
void send_op(struct fixture *f, uint32_t from, uint32_t to, int op);

/* Takes a packet that is there; copies at most BUFFER bytes of payload. False: none. */
bool take(struct fixture *f, struct mux_header *h, void *data);

/* The next packet, waited for at most 10 s; its payload (at most BUFFER bytes) into data. */
struct mux_header await_any(struct fixture *f, void *data);

/* The same; it must be `op`, credit updates passed over. */
struct mux_header await(struct fixture *f, int op, void *data);

/* A connection that the guest makes, or the host; the host's end of it. */
int open_incoming(struct fixture *f, uint32_t from);
int open_outgoing(struct fixture *f, uint32_t guest_port, uint32_t *ret_host_port);

/* Whether the descriptor reads end of file within 10 s. */
bool reads_end(int fd);
void await_connections(struct fixture *f, unsigned n);
