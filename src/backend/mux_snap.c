// SPDX-License-Identifier: Apache-2.0
/*
 * Connections in a snapshot: only whom the guest has to be told about when it wakes up elsewhere.
 * Their bytes and credits are of sockets that stay behind.
 */
#include "backend/mux_int.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/snapio.h"

/* Whether the guest has an end of it that waits for something. */
static bool is_known_to_guest(const struct conn *c)
{
	if (c->state == CONN_CONNECTING)
		return !(c->tell & TELL_REQUEST);
	return c->state != CONN_ENDED || c->tell & TELL_RST;
}

static void add(struct refusal *list, uint32_t *n, const struct refusal *r)
{
	if (*n < STALE_MAX)
		list[(*n)++] = *r;
}

/* In the order in which the guest would hear of them. More than fit are dropped: the guest then
 * runs into its own time limit. */
static uint32_t gather(const struct mux *m, struct refusal *list)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->n_stale; i++)
		add(list, &n, &m->stale[m->stale_at + i]);
	for (unsigned i = 0; i < m->n_refusals; i++)
		add(list, &n, &m->refusals[(m->refusal_at + i) % REFUSALS_MAX]);
	for (struct link *at = m->all.next; at != &m->all; at = at->next) {
		const struct conn *c = container_of(at, struct conn, all);
		struct refusal r = {MUX_HOST_CID, c->host_port, c->guest_port, VSOCK_TYPE_STREAM};

		if (is_known_to_guest(c))
			add(list, &n, &r);
	}
	return n;
}

static void walk_port(struct mux *m, struct snapio *io)
{
	uint32_t next_port = m->next_port;

	snapio_u32(io, "mux_next_port", &next_port);
	if (next_port < FIRST_PORT || next_port > LAST_PORT)
		snapio_fail(io, "mux_next_port", "%u is not between %u and %u", next_port,
			FIRST_PORT, LAST_PORT);
	/* Goes on counting, so that no port is used that the guest may still remember. */
	if (snapio_is_good(io))
		m->next_port = next_port;
}

static void walk_refusals(struct refusal *list, uint32_t n, struct snapio *io)
{
	for (uint32_t i = 0; i < n && snapio_is_good(io); i++) {
		snapio_u64(io, "connection_cid", &list[i].cid);
		snapio_u32(io, "connection_host_port", &list[i].host_port);
		snapio_u32(io, "connection_guest_port", &list[i].guest_port);
		snapio_u16(io, "connection_type", &list[i].type);
	}
}

/* A reset that was asked for leaves no connection over. */
static bool is_reset_due(struct mux *m)
{
	bool is_due;

	pthread_mutex_lock(&m->lock);
	assert(!m->is_running);
	is_due = m->want_reset;
	pthread_mutex_unlock(&m->lock);
	return is_due;
}

static void save(struct mux *m, struct snapio *io)
{
	autofree struct refusal *list = calloc(STALE_MAX, sizeof(*list));
	uint32_t n;

	if (!list) {
		snapio_fail(io, "mux_connections", "no memory to save them");
		return;
	}
	n = is_reset_due(m) ? 0 : gather(m, list);
	snapio_count(io, "mux_connections", &n, STALE_MAX);
	walk_refusals(list, n, io);
}

static void load(struct mux *m, struct snapio *io)
{
	autofree struct refusal *list = NULL;
	uint32_t n = 0;

	snapio_count(io, "mux_connections", &n, STALE_MAX);
	if (!n)
		return;
	list = calloc(n, sizeof(*list));
	if (!list) {
		snapio_fail(io, "mux_connections", "no memory for %u of them", n);
		return;
	}
	walk_refusals(list, n, io);
	if (!snapio_is_good(io))
		return;
	m->stale = take_ptr(&list);
	m->stale_at = 0;
	m->n_stale = n;
}

void mux_snap(struct mux *m, struct snapio *io)
{
	if (snapio_is_loading(io))
		mux_reset(m);
	walk_port(m, io);
	if (snapio_is_loading(io))
		load(m, io);
	else
		save(m, io);
}
