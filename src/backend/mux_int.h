// SPDX-License-Identifier: Apache-2.0
/*
 * The muxer from inside: connections and the two directions. Private to src/backend/mux_*.c and
 * vsock_mux.c. All of it belongs to the muxer's thread but the fields under `lock`.
 *
 * States of a connection, and what moves it on:
 *
 *   CONNECTING  a program of the host asked, the guest has not answered
 *     -> OPEN       guest: RESPONSE
 *     -> ENDED      guest: RST or nonsense; host gave up; no answer in time
 *   OPEN        bytes flow; either side may have finished one direction (host_shut, guest_shut)
 *     -> CLOSING    host finished both: SHUTDOWN goes to the guest, which answers RST
 *     -> ENDED      guest finished both, or RST, or nonsense; the host's socket failed
 *   CLOSING     the socket is closed
 *     -> ENDED      guest: RST or SHUTDOWN; no answer in time
 *   ENDED       may still have an RST to tell the guest, and bytes of the guest that the host has
 *               not taken yet; freed when it has neither
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "backend/vsock_mux.h"
#include "base/loop.h"

/* virtio 1.2 §5.10.6 */
enum {
	VSOCK_TYPE_STREAM = 1,

	VSOCK_OP_REQUEST = 1,
	VSOCK_OP_RESPONSE = 2,
	VSOCK_OP_RST = 3,
	VSOCK_OP_SHUTDOWN = 4,
	VSOCK_OP_RW = 5,
	VSOCK_OP_CREDIT_UPDATE = 6,
	VSOCK_OP_CREDIT_REQUEST = 7,

	VSOCK_SHUT_RECEIVE = 1, /* the sender of the packet will not receive any more */
	VSOCK_SHUT_SEND = 2,	/* ... will not send any more */
	VSOCK_SHUT_BOTH = 3,
};

enum {
	/* What the guest may have sent and the host not taken, for each connection. The first ones
	 * get room for speed; with many, the sum stays bounded (16 + 30 MiB). */
	CONN_BUFFER_LARGE = 256 * 1024,
	CONN_BUFFER_SMALL = 32 * 1024,
	CONN_LARGE_MAX = 64,

	CONN_PACKET_MAX = 64 * 1024, /* payload of one packet to the guest */
	CONN_IOV_MAX = 16,	     /* entries of its room that are used */

	CONNECT_TIMEOUT_MS = 10 * 1000, /* from the moment the guest has the request */
	CLOSE_TIMEOUT_MS = 2 * 1000,

	BUCKETS = 256,	    /* of the connection table; a power of two */
	REFUSALS_MAX = 128, /* resets waiting to be told for what has no connection */
	STALE_MAX = 4096,   /* the same of connections that a snapshot names */

	/* Ports that the host's connections come from: 2^30 of them, so that one is not used again
	 * soon; above what people choose by hand, below VMADDR_PORT_ANY. */
	FIRST_PORT = 0x40000000,
	LAST_PORT = 0x7fffffff,
};

struct link {
	struct link *prev, *next;
};

enum conn_state { CONN_CONNECTING, CONN_OPEN, CONN_CLOSING, CONN_ENDED };

/* Packets that a connection owes the guest. */
enum {
	TELL_RST = 1 << 0,
	TELL_REQUEST = 1 << 1,
	TELL_RESPONSE = 1 << 2,
	TELL_SHUTDOWN = 1 << 3,
	ASK_CREDIT = 1 << 4,
	TELL_CREDIT = 1 << 5,
};

struct conn {
	struct mux *mux;
	struct link all;   /* in mux->all */
	struct link ready; /* in mux->ready when it may have a packet for the guest */
	struct conn *bucket_next;
	bool is_in_table;
	bool is_ready;

	struct loop_watch watch; /* fd is -1 when closed */
	bool is_watched;
	unsigned interest; /* what the loop watches for */

	enum conn_state state;
	uint32_t host_port, guest_port;
	unsigned tell;
	unsigned host_shut;   /* VSOCK_SHUT_*: what the host's program does no more */
	unsigned guest_shut;  /* the same of the guest's */
	bool is_readable;     /* the socket may have bytes, or its end, to read */
	bool is_hung;	      /* both directions of the socket are over; bytes may be left in it */
	uint64_t deadline_ns; /* 0: none */

	/* Host to guest: virtio 1.2 §5.10.6.3. */
	uint32_t peer_buf_alloc, peer_fwd_cnt, tx_cnt;
	bool has_asked_credit;

	/* Guest to host. */
	uint32_t buf_alloc, rx_cnt, fwd_cnt;
	uint32_t fwd_told; /* fwd_cnt as the guest knows it */
	uint8_t *spill;	   /* ring of buf_alloc bytes that the socket did not take; NULL if empty */
	uint32_t spill_at, spill_n;
};

struct refusal {
	uint64_t cid; /* whom the guest meant to reach */
	uint32_t host_port, guest_port;
	uint16_t type;
};

/* What other threads asked for. */
struct request {
	struct request *next;
	uint32_t guest_port;
	int fd;
};

struct mux {
	struct mux_config config;
	struct loop loop;
	struct loop_watch wake; /* an eventfd: there are requests */
	void (*kick)(void *ctx);
	void *kick_ctx;

	struct conn *buckets[BUCKETS];
	struct link all, ready;
	_Atomic unsigned n_conns;
	uint32_t next_port;
	uint64_t next_deadline_ns; /* not later than any connection's; UINT64_MAX: none */
	struct refusal refusals[REFUSALS_MAX];
	unsigned refusal_at, n_refusals;
	struct refusal *stale; /* of a snapshot; told before all else. NULL when there are none */
	uint32_t stale_at, n_stale; /* the first that is not told yet, how many are not */
	uint64_t stopped_ns;	    /* when the thread ended; 0: it never ran */

	pthread_mutex_t lock;
	pthread_cond_t reset_done;
	struct request *first, **last;	    /* lock */
	bool want_reset;		    /* lock; comes before the requests */
	uint64_t resets_asked, resets_made; /* lock */
	bool is_running;		    /* lock */
	pthread_t thread;
};

static inline void link_init(struct link *l)
{
	l->prev = l->next = l;
}

static inline void link_add_last(struct link *list, struct link *l)
{
	l->prev = list->prev;
	l->next = list;
	list->prev->next = l;
	list->prev = l;
}

static inline void link_remove(struct link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	link_init(l);
}

/* mux_conn.c: one connection and its socket. */

/* A connection in the table; takes fd on success. NULL when the table is full or memory short. */
struct conn *conn_new(
	struct mux *m, uint32_t host_port, uint32_t guest_port, int fd, enum conn_state state);
void conn_free(struct conn *c);
struct conn *conn_find(struct mux *m, uint32_t host_port, uint32_t guest_port);

/* Ends it, telling the guest or not; what the guest sent still goes to the host. c may be gone
 * afterwards. */
void conn_end(struct conn *c, bool tell_guest);

/* The host's program has finished with a direction (VSOCK_SHUT_*). Never frees c: what is left of
 * it still has to be told. */
void conn_host_shut(struct conn *c, unsigned shut);

/* The guest has finished with a direction, not both. */
void conn_guest_shut(struct conn *c, unsigned shut);

/* Gives the guest's bytes to the host, now or later. The caller has checked the credit. */
void conn_deliver(struct conn *c, const struct iovec *iov, unsigned n, uint32_t bytes);

/* Reads from the host. Returns the bytes, 0 when there are none now, or -errno: the socket failed.
 * The end of the stream counts as none and is noted. */
ssize_t conn_read(struct conn *c, const struct iovec *room, unsigned n);

/* Looks again at what follows from the fields: whether it is ready, watched, or to be freed. */
void conn_settle(struct conn *c);

/* Gives it `timeout_ms` for the next step; conn_expire ends those that are late. */
void conn_set_deadline(struct conn *c, int timeout_ms);
void conn_expire(struct mux *m);

/* Whether a read may be tried for the guest. */
bool conn_may_read(const struct conn *c);

/* Bytes that the guest still has room for. */
uint32_t conn_credit(const struct conn *c);

/* vsock_mux.c: every connection and every packet that waits for the guest. */
void mux_drop_all(struct mux *m);

/* mux_tx.c */

/* Remembers to answer RST to a packet that belongs to no connection. Dropped when too many wait:
 * the guest then runs into its own time limit. */
void mux_refuse(struct mux *m, const struct mux_header *header);
