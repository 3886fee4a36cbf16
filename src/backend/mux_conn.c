// SPDX-License-Identifier: Apache-2.0
/* A connection: its place in the table, its socket, the bytes that wait for the host. */
#include "backend/mux_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/iov.h"

static struct conn **bucket_of(struct mux *m, uint32_t host_port, uint32_t guest_port)
{
	/* Multiplicative hashing; ports are mostly counted up. */
	uint32_t mixed = (host_port * 0x9e3779b1u) ^ (guest_port * 0x85ebca6bu);

	return &m->buckets[(mixed >> 16) & (BUCKETS - 1)];
}

struct conn *conn_find(struct mux *m, uint32_t host_port, uint32_t guest_port)
{
	struct conn *c = *bucket_of(m, host_port, guest_port);

	while (c && (c->host_port != host_port || c->guest_port != guest_port))
		c = c->bucket_next;
	return c;
}

static void leave_table(struct conn *c)
{
	struct conn **at;

	if (!c->is_in_table)
		return;
	at = bucket_of(c->mux, c->host_port, c->guest_port);
	while (*at != c)
		at = &(*at)->bucket_next;
	*at = c->bucket_next;
	c->is_in_table = false;
}

static void unwatch(struct conn *c)
{
	if (c->is_watched)
		loop_remove(&c->mux->loop, &c->watch);
	c->is_watched = false;
}

static void drop_spill(struct conn *c)
{
	c->fwd_cnt += c->spill_n;
	c->spill_n = 0;
	free(c->spill);
	c->spill = NULL;
}

static void close_socket(struct conn *c)
{
	unwatch(c);
	if (c->watch.fd >= 0)
		close(c->watch.fd);
	c->watch.fd = -1;
	c->is_readable = false;
	drop_spill(c);
}

void conn_free(struct conn *c)
{
	close_socket(c);
	leave_table(c);
	link_remove(&c->all);
	link_remove(&c->ready);
	atomic_fetch_sub(&c->mux->n_conns, 1);
	free(c);
}

uint32_t conn_credit(const struct conn *c)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;

	return in_flight < c->peer_buf_alloc ? c->peer_buf_alloc - in_flight : 0;
}

static bool is_reading(const struct conn *c)
{
	return c->state == CONN_OPEN && !(c->host_shut & VSOCK_SHUT_SEND) &&
	       !(c->guest_shut & VSOCK_SHUT_RECEIVE);
}

bool conn_may_read(const struct conn *c)
{
	return c->is_readable && is_reading(c) && conn_credit(c);
}

static void update_ready(struct conn *c)
{
	bool is_ready;

	if (c->is_readable && is_reading(c) && !conn_credit(c) && !c->has_asked_credit) {
		c->has_asked_credit = true;
		c->tell |= ASK_CREDIT;
	}
	is_ready = c->tell || conn_may_read(c);
	if (is_ready == c->is_ready)
		return;
	c->is_ready = is_ready;
	if (is_ready)
		link_add_last(&c->mux->ready, &c->ready);
	else
		link_remove(&c->ready);
}

/* A socket that has bytes stays reported by the loop until they are read. That costs nothing while
 * they are read at once, so READ is only given up by on_event, when it finds them still there; it
 * is asked for again here once they are gone. */
static void update_interest(struct conn *c)
{
	unsigned want = c->spill_n ? LOOP_WRITE : 0;

	if (!c->is_watched)
		return;
	if (is_reading(c))
		want |= c->is_readable ? c->interest & LOOP_READ : LOOP_READ;
	if (want != c->interest && loop_change(&c->mux->loop, &c->watch, want) == 0)
		c->interest = want;
}

/* What follows from the fields for the loop and for the guest's turn. */
static void refresh(struct conn *c)
{
	update_interest(c);
	update_ready(c);
}

void conn_settle(struct conn *c)
{
	if (c->state == CONN_ENDED && !c->tell) {
		leave_table(c);
		if (c->watch.fd < 0) {
			conn_free(c);
			return;
		}
	}
	refresh(c);
}

void conn_end(struct conn *c, bool tell_guest)
{
	/* A request that the guest never got needs no answer. */
	bool is_known = c->state != CONN_CONNECTING || !(c->tell & TELL_REQUEST);

	c->state = CONN_ENDED;
	c->tell = tell_guest && is_known ? TELL_RST : 0;
	c->deadline_ns = 0;
	c->is_readable = false;
	if (!c->spill_n || c->is_hung)
		close_socket(c);
	conn_settle(c);
}

void conn_host_shut(struct conn *c, unsigned shut)
{
	unsigned added = shut & ~c->host_shut;

	if (!added || c->state != CONN_OPEN)
		return;
	c->host_shut |= added;
	c->tell |= TELL_SHUTDOWN;
	if (added & VSOCK_SHUT_SEND)
		c->is_readable = false;
	if (added & VSOCK_SHUT_RECEIVE)
		drop_spill(c);
	if (c->host_shut == VSOCK_SHUT_BOTH) {
		c->state = CONN_CLOSING;
		close_socket(c);
	}
	refresh(c);
}

/* The end of what the guest sends follows the last of its bytes. */
static void pass_on_end(struct conn *c)
{
	if (c->guest_shut & VSOCK_SHUT_SEND && !c->spill_n)
		(void)shutdown(c->watch.fd, SHUT_WR);
}

void conn_guest_shut(struct conn *c, unsigned shut)
{
	unsigned added = shut & ~c->guest_shut;

	c->guest_shut |= added;
	if (added & VSOCK_SHUT_SEND)
		pass_on_end(c);
	if (added & VSOCK_SHUT_RECEIVE) {
		c->is_readable = false;
		(void)shutdown(c->watch.fd, SHUT_RD);
		if (c->is_hung)
			conn_host_shut(c, VSOCK_SHUT_BOTH);
	}
	conn_settle(c);
}

/* Never blocks and never raises SIGPIPE, whatever flags the descriptor has: it may be shared with
 * the program at the other end of a SCM_RIGHTS message. Returns bytes or -errno. */
static ssize_t send_some(struct conn *c, const struct iovec *iov, unsigned n)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (int)n};
	ssize_t sent;

	do
		sent = sendmsg(c->watch.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

/* The guest's bytes have gone: it may send as many more. It is told once a quarter of the buffer
 * has come together, so that it neither starves nor is told of every packet. */
static void forwarded(struct conn *c, uint32_t bytes)
{
	c->fwd_cnt += bytes;
	if (c->fwd_cnt - c->fwd_told >= c->buf_alloc / 4 && c->state == CONN_OPEN)
		c->tell |= TELL_CREDIT;
}

/* What to do when the socket takes no bytes: -EAGAIN is for waiting, all else is for ever. */
static void send_failed(struct conn *c, ssize_t error)
{
	if (error == -EAGAIN)
		return;
	drop_spill(c);
	if (c->state == CONN_OPEN)
		conn_host_shut(c, VSOCK_SHUT_RECEIVE);
	else
		close_socket(c);
}

static bool keep(struct conn *c, const struct iovec *iov, unsigned n, size_t skip, uint32_t bytes)
{
	uint32_t end, before_wrap;

	if (!c->spill) {
		c->spill = malloc(c->buf_alloc);
		c->spill_at = 0;
	}
	if (!c->spill)
		return false;
	end = (c->spill_at + c->spill_n) % c->buf_alloc;
	before_wrap = MIN(bytes, c->buf_alloc - end);
	iov_gather(c->spill + end, iov, n, skip, before_wrap);
	iov_gather(c->spill, iov, n, skip + before_wrap, bytes - before_wrap);
	c->spill_n += bytes;
	return true;
}

void conn_deliver(struct conn *c, const struct iovec *iov, unsigned n, uint32_t bytes)
{
	ssize_t sent = 0;

	c->rx_cnt += bytes;
	if (c->is_hung || c->host_shut & VSOCK_SHUT_RECEIVE) {
		c->fwd_cnt += bytes; /* nobody reads it; the guest has been told, or will be */
		conn_settle(c);
		return;
	}
	if (!c->spill_n) {
		sent = send_some(c, iov, n);
		if (sent < 0 && sent != -EAGAIN) {
			c->fwd_cnt += bytes;
			send_failed(c, sent);
			return;
		}
		sent = MAX(sent, 0);
		forwarded(c, (uint32_t)sent);
	}
	if ((uint32_t)sent < bytes && !keep(c, iov, n, (size_t)sent, bytes - (uint32_t)sent)) {
		conn_end(c, true); /* no memory: better none of the stream than a part */
		return;
	}
	conn_settle(c);
}

static void flush_spill(struct conn *c)
{
	struct iovec iov[2];
	uint32_t first = MIN(c->spill_n, c->buf_alloc - c->spill_at);
	ssize_t sent;

	iov[0] = (struct iovec){c->spill + c->spill_at, first};
	iov[1] = (struct iovec){c->spill, c->spill_n - first};
	sent = send_some(c, iov, iov[1].iov_len ? 2 : 1);
	if (sent < 0) {
		send_failed(c, sent);
		return;
	}
	c->spill_at = (c->spill_at + (uint32_t)sent) % c->buf_alloc;
	c->spill_n -= (uint32_t)sent;
	forwarded(c, (uint32_t)sent);
	if (c->spill_n)
		return;
	drop_spill(c);
	if (c->state == CONN_ENDED)
		close_socket(c);
	else
		pass_on_end(c);
}

static ssize_t no_bytes(struct conn *c)
{
	c->is_readable = false;
	return 0;
}

ssize_t conn_read(struct conn *c, const struct iovec *room, unsigned n)
{
	struct iovec iov[CONN_IOV_MAX];
	size_t most = MIN(conn_credit(c), (uint32_t)CONN_PACKET_MAX);
	struct msghdr msg = {.msg_iov = iov};
	ssize_t got;

	msg.msg_iovlen = (int)iov_slice(iov, room, MIN(n, (unsigned)CONN_IOV_MAX), 0, most);
	most = iov_bytes(iov, (unsigned)msg.msg_iovlen);
	do
		got = recvmsg(c->watch.fd, &msg, MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	/* A socket that hung up has bytes or an end; "nothing now" would be for ever. */
	if (got < 0)
		return errno == EAGAIN && !c->is_hung ? no_bytes(c) : -errno;
	if (got == 0) {
		conn_host_shut(c, c->is_hung ? VSOCK_SHUT_BOTH : VSOCK_SHUT_SEND);
		return 0;
	}
	/* Fewer than asked for: there are no more now, and the loop says when there are. A socket
	 * that hung up is not watched any more, so it is read to its end. */
	if ((size_t)got < most && !c->is_hung)
		c->is_readable = false;
	return got;
}

static bool has_bytes(const struct conn *c)
{
	char byte;

	return recv(c->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Both directions of the socket are over. The loop would report that again and again, so it is not
 * asked any more; bytes that are still in the socket go to the guest as it has room. */
static void hung_up(struct conn *c)
{
	c->is_hung = true;
	unwatch(c);
	drop_spill(c);
	if (c->state == CONN_ENDED) {
		close_socket(c);
		conn_settle(c);
	} else if (c->state == CONN_CONNECTING) {
		if (has_bytes(c))
			c->is_readable = true;
		else
			conn_end(c, true);
	} else if (is_reading(c)) {
		c->is_readable = true;
		conn_host_shut(c, VSOCK_SHUT_RECEIVE);
		conn_settle(c);
	} else {
		conn_host_shut(c, VSOCK_SHUT_BOTH);
	}
}

static void on_event(struct loop_watch *w, unsigned events)
{
	struct conn *c = container_of(w, struct conn, watch);

	if (events & LOOP_HANGUP) {
		hung_up(c);
		return;
	}
	if (events & LOOP_WRITE && c->spill_n)
		flush_spill(c);
	if (events & LOOP_READ && is_reading(c)) {
		if (c->is_readable && c->is_watched) {
			unsigned rest = c->interest & ~(unsigned)LOOP_READ;

			if (loop_change(&c->mux->loop, &c->watch, rest) == 0)
				c->interest = rest;
		}
		c->is_readable = true;
	}
	conn_settle(c);
}

struct conn *conn_new(
	struct mux *m, uint32_t host_port, uint32_t guest_port, int fd, enum conn_state state)
{
	unsigned n = atomic_load(&m->n_conns);
	struct conn *c, **bucket;

	if (n >= MUX_CONNECTIONS_MAX)
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	*c = (struct conn){
		.mux = m,
		.watch = {.fd = fd, .ready = on_event},
		.interest = state == CONN_OPEN ? LOOP_READ : 0,
		.state = state,
		.host_port = host_port,
		.guest_port = guest_port,
		.buf_alloc = n < CONN_LARGE_MAX ? CONN_BUFFER_LARGE : CONN_BUFFER_SMALL,
	};
	if (loop_add(&m->loop, &c->watch, c->interest) < 0) {
		free(c);
		return NULL;
	}
	c->is_watched = true;
	bucket = bucket_of(m, host_port, guest_port);
	c->bucket_next = *bucket;
	*bucket = c;
	c->is_in_table = true;
	link_add_last(&m->all, &c->all);
	link_init(&c->ready);
	atomic_fetch_add(&m->n_conns, 1);
	return c;
}

void conn_set_deadline(struct conn *c, int timeout_ms)
{
	struct mux *m = c->mux;

	c->deadline_ns = clock_deadline_ns(timeout_ms);
	m->next_deadline_ns = MIN(m->next_deadline_ns, c->deadline_ns);
}

void conn_expire(struct mux *m)
{
	uint64_t now, next = UINT64_MAX;
	struct link *at, *after;

	if (m->next_deadline_ns == UINT64_MAX)
		return;
	now = clock_now_ns();
	if (now < m->next_deadline_ns)
		return;
	for (at = m->all.next; at != &m->all; at = after) {
		struct conn *c = container_of(at, struct conn, all);

		after = at->next;
		if (!c->deadline_ns)
			continue;
		if (c->deadline_ns <= now)
			conn_end(c, true);
		else
			next = MIN(next, c->deadline_ns);
	}
	m->next_deadline_ns = next;
}
