// SPDX-License-Identifier: Apache-2.0
/* Brings the workload to rest and back, and decides what a lost connection means meanwhile; the
 * states are drawn in agent_int.h. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "guest/agent_int.h"

enum { DOUBT_MS = 50 }; /* for all connections of a clone to be reset, after the first of them */

/* The next turn looks at what has happened; is_frozen makes the descriptor quiet again. */
static void rest_changed(struct loop_watch *w, unsigned events)
{
	(void)w;
	(void)events;
}

static void unwatch_rest(struct agent *a)
{
	if (a->is_rest_watched)
		loop_remove(&a->loop, &a->rest);
	a->is_rest_watched = false;
}

static void settle_all(struct agent *a, const struct conn *except)
{
	for (unsigned i = a->n_conns; i-- > 0;) {
		struct conn *c = i < a->n_conns ? a->conns[i] : NULL;

		if (!c || c == except)
			continue;
		if (c->exec)
			exec_release(c->exec);
		conn_settle(c);
	}
}

/* In a machine that goes on, a command whose connection broke meanwhile ends as it always does. */
static void end_lost(struct agent *a)
{
	for (unsigned i = a->n_detached; i-- > 0;) {
		if (!a->detached[i]->is_lost)
			continue;
		exec_free(agent_take_detached(a, i));
		a->host.n_execs--;
	}
}

void freeze_release(struct agent *a, const struct conn *except)
{
	a->host.exec.is_held = false;
	a->want_look = true;
	end_lost(a);
	settle_all(a, except);
}

int freeze_thaw(struct agent *a, const struct conn *except)
{
	int r = a->has_group ? a->ops->freeze(false, a->context) : 0;

	if (r < 0)
		return r;
	unwatch_rest(a);
	a->frost = THAWED;
	a->frost_deadline_ns = UINT64_MAX;
	a->freeze_conn = NULL;
	freeze_release(a, except);
	return 0;
}

/* ---- to rest ------------------------------------------------------------------------------ */

static void hold_all(struct agent *a)
{
	a->host.exec.is_held = true;
	for (unsigned i = 0; i < a->n_conns; i++)
		if (a->conns[i]->exec)
			exec_hold(a->conns[i]->exec);
}

/* Returns 0 when the workload has been told, or there is none and no need. */
static int tell_workload(struct agent *a)
{
	int r;

	/* Before anything stands still for it. */
	if (a->ops->trim)
		a->ops->trim(a->context);
	r = a->ops->freeze ? a->ops->freeze(true, a->context) : -EOPNOTSUPP;

	a->has_group = r == 0;
	if (r != -EOPNOTSUPP)
		return r;
	reaper_collect(&a->reaper);
	return reaper_is_alone() ? 0 : r;
}

void freeze_begin(struct conn_host *h, struct conn *c)
{
	struct agent *a = container_of(h, struct agent, host);
	char cause[160];
	int r = 0;

	if (h->is_ending)
		conn_fail(c, -ESHUTDOWN, AGENT_STAGE_FREEZE, "the guest is shutting down");
	else if (a->frost != THAWED)
		conn_fail(c, -EBUSY, AGENT_STAGE_FREEZE, "the workload is being frozen already");
	else
		r = tell_workload(a);
	if (c->state == CONN_CLOSING)
		return;
	if (r < 0) {
		snprintf(cause, sizeof(cause), "%s: %s",
			r == -EOPNOTSUPP ? "commands run, and the guest kernel has no control "
					   "group (version 2) to freeze them in"
					 : "the kernel does not freeze the workload",
			strerror(-r));
		conn_fail(c, r, AGENT_STAGE_FREEZE, cause);
		return;
	}
	a->frost = FREEZING;
	a->frost_deadline_ns = clock_deadline_ns(a->freeze_timeout_ms);
	a->freeze_conn = c;
	c->state = CONN_FREEZE;
	hold_all(a);
	a->rest.ready = rest_changed;
	/* Nothing asked for: the file is always readable, and hangs up when it has changed. When it
	 * cannot be watched, the time limit tells. */
	a->is_rest_watched = a->has_group && loop_add(&a->loop, &a->rest, 0) == 0;
}

static bool are_wires_clear(const struct agent *a)
{
	for (unsigned i = 0; i < a->n_conns; i++)
		if (!wire_is_clear(&a->conns[i]->wire))
			return false;
	return true;
}

static void give_up(struct agent *a, int code, const char *why)
{
	struct conn *c = a->freeze_conn;
	int r = freeze_thaw(a, c);
	char cause[160];

	if (r < 0) {
		/* It may be half frozen: whoever asks next finds it so. */
		a->frost = ORPHANED;
		a->frost_deadline_ns = UINT64_MAX;
		a->freeze_conn = NULL;
	}
	snprintf(cause, sizeof(cause), "%s%s", why, r < 0 ? ", nor is it thawed again" : "");
	conn_fail(c, code, AGENT_STAGE_FREEZE, cause);
	conn_settle(c);
}

static void arrive(struct agent *a)
{
	struct conn *c = a->freeze_conn;

	unwatch_rest(a);
	a->frost = FROZEN;
	a->frost_deadline_ns = UINT64_MAX;
	for (unsigned i = 0; i < a->n_conns; i++)
		a->conns[i]->is_old = true;
	if (wire_queue(&c->wire, AGENT_DONE, NULL, 0) < 0)
		give_up(a, -ENOMEM, "the guest has no memory to say that it is at rest");
	else
		conn_settle(c);
}

static void step_freezing(struct agent *a)
{
	bool is_late = clock_left_ms(a->frost_deadline_ns) == 0;
	int r = a->has_group ? a->ops->is_frozen(a->context) : 1;

	if (r < 0)
		give_up(a, r, "the kernel does not tell whether the workload is at rest");
	else if (r && are_wires_clear(a))
		arrive(a);
	else if (is_late)
		give_up(a, -ETIMEDOUT,
			r ? "the host does not take the output of a command"
			  : "the workload does not come to rest in time");
}

/* ---- lost connections --------------------------------------------------------------------- */

static bool is_event_conn_alive(const struct agent *a)
{
	struct pollfd p = {.events = POLLRDHUP};

	if (!a->event_conn)
		return false;
	p.fd = a->event_conn->wire.fd;
	return poll(&p, 1, 0) == 0;
}

static void enter_doubt(struct agent *a)
{
	bool is_alive = is_event_conn_alive(a);

	a->freeze_conn = NULL;
	a->frost = is_alive ? DOUBTED : ORPHANED;
	a->frost_deadline_ns = is_alive ? clock_deadline_ns(DOUBT_MS) : UINT64_MAX;
}

static void stay_frozen(struct agent *a)
{
	a->frost = ORPHANED;
	a->frost_deadline_ns = UINT64_MAX;
}

void freeze_lost(struct agent *a, const struct conn *c)
{
	if (c == a->freeze_conn && a->frost == FROZEN)
		enter_doubt(a);
	else if (c == a->freeze_conn && a->frost == FREEZING && freeze_thaw(a, NULL) < 0)
		stay_frozen(a);
	else if (a->frost == DOUBTED && !a->event_conn)
		stay_frozen(a);
}

static void step_doubted(struct agent *a)
{
	if (clock_left_ms(a->frost_deadline_ns))
		return;
	if (!is_event_conn_alive(a) || freeze_thaw(a, NULL) < 0)
		stay_frozen(a);
}

void freeze_step(struct agent *a)
{
	if (a->frost == FREEZING)
		step_freezing(a);
	else if (a->frost == DOUBTED)
		step_doubted(a);
}

int freeze_end(struct conn_host *h, struct conn *c)
{
	return freeze_thaw(container_of(h, struct agent, host), c);
}
