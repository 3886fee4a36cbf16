// SPDX-License-Identifier: Apache-2.0
/*
 * The vsock muxer: joins stream connections of one guest to stream sockets of the host.
 *
 * It keeps the connection table, the credits and the sockets (virtio 1.2 §5.10.6), runs on a thread
 * and a loop of its own, and knows neither queues nor guest memory layout: the device hands it
 * packets that the guest sent and asks it for packets to give. It opens no socket but fresh pairs.
 *
 * Back-pressure goes both ways: the guest gets no more credit than a connection's buffer has room,
 * and a host socket is not read while the guest has no room. Everything is bounded: connections,
 * bytes kept for each, refusals waiting to be told.
 */
#pragma once

#include <sys/uio.h>

#include "base/err.h"

struct loop;
struct mux;

enum {
	MUX_HOST_CID = 2, /* virtio 1.2 §5.10.4: the host's well-known address */
	MUX_CONNECTIONS_MAX = 1024,
	MUX_STACK_BYTES = 64 * 1024, /* of the muxer's thread */
};

/* The packet header in the order and byte order of the wire: virtio 1.2 §5.10.6. */
struct mux_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len;
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc, fwd_cnt;
} PACKED;

_Static_assert(sizeof(struct mux_header) == 44, "wire format");

struct mux_config {
	uint64_t guest_cid;
	uint32_t host_port_first; /* the ports of the host that the guest may connect to */
	uint32_t host_port_count;
	/* The guest connected to a host port: `fd` is the other end of its stream. Takes fd on
	 * success (0); a negative return refuses the connection. Called on the muxer's thread; must
	 * not block, nor call the muxer. NULL refuses all. */
	int (*incoming)(void *ctx, uint32_t port, int fd);
	void *ctx;
};

/* Makes a muxer without connections, its thread not running. Gives *ret_mux. Returns 0 or negative
 * with e set. */
int mux_new(const struct mux_config *config, struct mux **ret_mux, struct err *e) MUST_CHECK;

/* Starts and ends the thread. mux_start has an error of its own. mux_stop returns when the thread
 * has ended; it is harmless when it never ran. Not from the muxer's thread. */
int mux_start(struct mux *m, struct err *e) MUST_CHECK;
void mux_stop(struct mux *m);

/* Stops, closes every connection, frees. The device that uses it must have been freed before. */
void mux_free(struct mux *m);

/* Joins fd, a stream socket, to a new connection to a port of the guest. Takes fd, on failure
 * too. It reads end of file when the guest refuses, does not answer, or dies; what is written to it
 * before the guest has answered waits in it. Any thread. Returns 0 or -ENOMEM. */
int mux_connect(struct mux *m, uint32_t guest_port, int fd) MUST_CHECK;

/* Drops every connection and every packet that waits for the guest, and tells neither side's
 * program but by end of file. Done when it returns. Any thread but the muxer's. */
void mux_reset(struct mux *m);

struct snapio;

/* Walks the guest's connections (their ports, no bytes). Loading drops every connection of this
 * muxer, as mux_reset does, and remembers to send the guest a reset (VIRTIO_VSOCK_OP_RST) for each
 * that was saved, before any other packet: connections are of the host that saved them. The thread
 * must not run. */
void mux_snap(struct mux *m, struct snapio *io);

/* Connections at this moment. Any thread. */
unsigned mux_connections(const struct mux *m);

/* --- For the device; all on the muxer's thread unless said otherwise. --- */

/* The loop that the muxer's thread runs. Watches may be added before mux_start from any thread. */
struct loop *mux_loop(struct mux *m);

/* `kick` is called when packets wait for the guest, once for each turn of the loop. Set before
 * mux_start. */
void mux_set_kick(struct mux *m, void (*kick)(void *ctx), void *ctx);

/* As mux_reset, but from any thread and without waiting: it is done before the muxer looks at any
 * packet that comes after. For a driver that resets its device. */
void mux_post_reset(struct mux *m);

/* Carries out what other threads asked for; the device calls it before it looks at a queue. */
void mux_settle(struct mux *m);

/* One packet from the guest. Its payload is iov, whose length must equal header->len; pass NULL
 * and 0 with is_malformed when it does not: the connection is then reset. */
void mux_receive(struct mux *m, const struct mux_header *header, const struct iovec *iov,
	unsigned n, bool is_malformed);

/* Whether mux_next may have a packet. */
bool mux_has_next(const struct mux *m);

/* The next packet for the guest: header in *ret_header, its payload read straight into `room` (at
 * least one byte, not more than it holds). Returns true, or false when there is none after all. */
bool mux_next(struct mux *m, struct mux_header *ret_header, const struct iovec *room, unsigned n);
