// SPDX-License-Identifier: Apache-2.0
/*
 * The one step between a restored machine and its user's code. In this order: nothing random is
 * shared with another clone, the time is right, the name is its own, the clone can learn which one
 * it is, old connections are gone, the host hears of it; then the workload thaws. What fails leaves
 * it frozen. Every restore waits for this, so nothing is done that changes nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent_int.h"
#include "guest/clonefiles.h"
#include "guest/identity.h"
#include "guest/snapreq.h"
#include "guest/vsock.h"

enum { NS_PER_S = 1000000000, CONNECT_MS = 5000 };

static int reseed(struct agent *a, const struct resume *q, struct err *e)
{
	int r = a->ops->reseed ? a->ops->reseed(q->entropy, q->entropy_bytes, a->context)
			       : -EOPNOTSUPP;

	return r < 0 ? err_set(e, r,
			       "the kernel does not take a new beginning for its random "
			       "numbers: %s",
			       strerror(-r))
		     : 0;
}

/* The host's time is some microseconds old: as old as the request is here. */
static int set_clock(struct agent *a, const struct resume *q, uint64_t began_ns, struct err *e)
{
	uint64_t ns = q->clock.nanoseconds + (clock_now_ns() - began_ns);
	struct timespec now = {
		.tv_sec = (time_t)(q->clock.seconds + ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};
	int r = a->ops->set_clock ? a->ops->set_clock(&now, a->context) : -EOPNOTSUPP;

	return r < 0 ? err_set(e, r, "the wall clock cannot be set: %s", strerror(-r)) : 0;
}

static int take_identity(struct agent *a, const struct resume *q, struct err *e)
{
	struct utsname was;
	int r = 0;

	if (uname(&was) < 0)
		return err_sys(e, "the host name is not known");
	if (q->hostname[0] && strcmp(q->hostname, was.nodename)) {
		r = a->ops->set_hostname ? a->ops->set_hostname(q->hostname, a->context)
					 : -EOPNOTSUPP;
		if (r < 0)
			return err_set(e, r, "cannot become the host name: %s", strerror(-r));
		r = identity_rename(a->etc, was.nodename, q->hostname, e);
	}
	if (r == 0 && q->machine_id[0])
		r = identity_write_machine_id(a->etc, q->machine_id, e);
	return r;
}

/* ---- what a clone is told ----------------------------------------------------------------- */

/* From now on every command has these in its environment. */
static int keep_env(struct agent *a, struct resume *q, struct err *e)
{
	char **all = calloc(q->n_env + ARRAY_LEN(a->clone_variables), sizeof(*all));
	size_t n = 0;

	if (!all)
		return err_set(e, -ENOMEM, "the guest has no memory for its variables");
	if (q->clone.count) {
		snprintf(a->clone_variables[0], sizeof(a->clone_variables[0]),
			"SUPERMACHINE_CLONE_INDEX=%u", q->clone.index);
		snprintf(a->clone_variables[1], sizeof(a->clone_variables[1]),
			"SUPERMACHINE_CLONE_COUNT=%u", q->clone.count);
		all[n++] = a->clone_variables[0];
		all[n++] = a->clone_variables[1];
	}
	for (size_t i = 0; i < q->n_env; i++)
		all[n++] = q->env[i];
	free(a->host.env);
	free(a->env_memory);
	a->host.env = all;
	a->host.n_env = n;
	a->env_memory = take_ptr(&q->memory);
	return 0;
}

static int tell_clone(struct agent *a, struct resume *q, struct err *e)
{
	char id[CLONEFILES_ID_CHARS + 1];
	uint8_t random[CLONEFILES_ID_CHARS / 2];
	struct clonefiles files = {
		.index = q->clone.index,
		.count = q->clone.count ? q->clone.count : 1,
		.id = q->machine_id[0] ? q->machine_id : id,
		.env = q->env,
		.n_env = q->n_env,
	};
	int r;

	if (!q->machine_id[0]) {
		if (getrandom(random, sizeof(random), 0) != sizeof(random))
			return err_sys(e, "no random numbers for the clone's identity");
		for (size_t i = 0; i < sizeof(random); i++)
			snprintf(id + 2 * i, 3, "%02x", random[i]);
	}
	files.want_env = q->n_env || a->has_env_file;
	a->has_env_file |= q->n_env > 0;
	r = clonefiles_write(a->clone_dir, &files, e);
	return r < 0 ? r : keep_env(a, q, e);
}

/* ---- connections -------------------------------------------------------------------------- */

/* Ends the connections of the machine that this one was: their commands stay. */
static void drop_old(struct agent *a, const struct conn *except)
{
	a->frost = ORPHANED;
	a->frost_deadline_ns = UINT64_MAX;
	a->freeze_conn = NULL;
	for (unsigned i = a->n_conns; i-- > 0;)
		if (a->conns[i] != except && a->conns[i]->is_old)
			agent_drop_conn(a, a->conns[i]);
	for (unsigned i = 0; i < a->n_detached; i++)
		a->detached[i]->is_lost = false;
}

/* Begins to connect: the answer comes while there is other work to do. */
static int reach_host(struct agent *a, struct err *e)
{
	return a->ops->connect_events ? a->ops->connect_events(e, a->context)
				      : err_set(e, -EOPNOTSUPP, "there is no way to the host");
}

static int announce(struct agent *a, int *fd, struct err *e)
{
	int r = vsock_connected(*fd, CONNECT_MS, e);

	return r < 0 ? r : agent_announce(a, take_fd(fd), e);
}

static int thaw(struct agent *a, const struct conn *c, struct err *e)
{
	int r = freeze_thaw(a, c);

	return r < 0 ? err_set(e, r, "the kernel does not thaw the workload: %s", strerror(-r)) : 0;
}

/* ---- the step ----------------------------------------------------------------------------- */

static int carry_out(
	struct agent *a, struct conn *c, struct resume *q, uint64_t began_ns, struct err *e)
{
	autoclose int event_fd = reach_host(a, e);
	int r;

	if (event_fd < 0)
		return event_fd;
	r = reseed(a, q, e);
	if (r < 0)
		return r;
	r = set_clock(a, q, began_ns, e);
	if (r < 0)
		return r;
	r = take_identity(a, q, e);
	if (r < 0)
		return r;
	r = tell_clone(a, q, e);
	if (r < 0)
		return r;
	drop_old(a, c);
	r = announce(a, &event_fd, e);
	if (r < 0)
		return r;
	r = thaw(a, c, e);
	if (r < 0)
		return r;
	a->is_restored = true;
	return 0;
}

static void refuse(struct conn *c, int code, const struct err *e)
{
	char cause[sizeof(((struct agent_failed *)NULL)->cause)];

	snprintf(cause, sizeof(cause), "%.100s%s%.140s", e->object, e->object[0] ? ": " : "",
		e->cause);
	conn_fail(c, code, AGENT_STAGE_RESUME, cause);
}

static void say_resumed(const struct agent *a, struct conn *c, uint64_t began_ns)
{
	struct agent_resumed m = {
		.did = AGENT_DID_ALL,
		.n_execs = a->n_detached,
		.took_us = (uint32_t)((clock_now_ns() - began_ns) / 1000),
	};

	c->state = CONN_CLOSING;
	/* Without memory even for this, the end of the stream says that it did not happen. */
	(void)!wire_queue(&c->wire, AGENT_RESUMED, &m, sizeof(m));
}

void resume_begin(struct conn_host *h, struct conn *c, const uint8_t *payload, size_t bytes)
{
	struct agent *a = container_of(h, struct agent, host);
	uint64_t began_ns = clock_now_ns();
	struct err e = {0};
	struct resume q;
	int r;

	if (a->frost == THAWED || a->frost == FREEZING || h->is_ending) {
		conn_fail(c, -EINVAL, AGENT_STAGE_RESUME, "the workload is not frozen");
		return;
	}
	r = resume_decode(payload, bytes, &q, &e);
	if (r < 0) {
		refuse(c, r, &e);
		return;
	}
	r = carry_out(a, c, &q, began_ns, &e);
	resume_fini(&q);
	if (r < 0)
		refuse(c, r, &e);
	else
		say_resumed(a, c, began_ns);
}
