// SPDX-License-Identifier: Apache-2.0
/*
 * What the host waits for: a listener, a file. The kernel tells when to look: by listen_events, by
 * inotify. Where it cannot tell of listeners, a look is taken now and then, less and less often,
 * only while somebody waits and never in a restored machine.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "guest/agent_int.h"
#include "guest/listeners.h"
#include "guest/snapreq.h"
#include "guest/workload.h"

enum {
	SETTLE_MS = 100,    /* without a change, then the listeners are all there */
	LOOK_FIRST_MS = 2,  /* where the kernel does not tell: from this … */
	LOOK_LAST_MS = 50,  /* … to this, doubling */
	WATCH_ROUNDS = 100, /* directories that change all the time are left alone for a while */
};

struct await {
	struct agent *agent;
	struct await_request what;
	bool want_look;
	uint64_t look_ns; /* the moment of the next look */
	/* AGENT_W_LISTEN */
	struct listeners last;
	uint64_t settled_ns; /* when `last` will have been the same for long enough */
	int pause_ms;
	/* AGENT_W_FILE */
	struct loop_watch watch; /* inotify; fd -1 */
};

/* ---- listeners ---------------------------------------------------------------------------- */

static void somebody_listens(struct listen_events *l)
{
	container_of(l, struct agent, listening)->want_look = true;
}

/* Has the kernel tell of new listeners, if it can. */
static int listen_for(struct agent *a, struct err *e)
{
	const struct workload *w = a->host.exec.workload;
	int r = -EOPNOTSUPP;

	if (a->listening.watch.fd >= 0)
		return 0;
	if (w && w->group_fd >= 0)
		r = listen_events_open(&a->listening, &a->loop, w->group_fd, somebody_listens);
	if (r < 0 && a->is_restored)
		return err_set(e, r, "the guest kernel cannot tell when a program listens: %s",
			strerror(-r));
	return 0;
}

static void set_next_look(const struct agent *a, struct await *w)
{
	w->look_ns = w->settled_ns;
	if (a->listening.watch.fd >= 0)
		return;
	w->look_ns = MIN(w->look_ns, clock_deadline_ns(w->pause_ms));
	w->pause_ms = MIN(2 * w->pause_ms, (int)LOOK_LAST_MS);
}

/* Returns 1 when it has happened, 0, or negative. */
static int look_for_listener(struct agent *a, struct await *w, struct err *e)
{
	struct listeners now;
	int r = listeners_get(&now, e);

	if (r < 0)
		return r;
	if (w->what.port) {
		w->last = now;
		r = listeners_have_port(&now, w->what.port);
	} else if (now.n && listeners_are_same(&now, &w->last)) {
		r = clock_left_ms(w->settled_ns) == 0;
	} else {
		w->last = now;
		w->settled_ns = now.n ? clock_deadline_ns(SETTLE_MS) : UINT64_MAX;
	}
	set_next_look(a, w);
	return r;
}

static void tell_listeners(struct agent *a, const struct listeners *l)
{
	struct conn *c = a->event_conn;

	for (unsigned i = 0; c && i < l->n; i++)
		/* Without memory for one more the host hears of fewer. */
		(void)!wire_queue(&c->wire, AGENT_LISTENING, &l->items[i], sizeof(l->items[i]));
	if (c)
		conn_settle(c);
}

/* ---- files -------------------------------------------------------------------------------- */

static void directory_changed(struct loop_watch *watch, unsigned events)
{
	struct await *w = container_of(watch, struct await, watch);
	char ignored[4096];

	(void)events;
	while (read(watch->fd, ignored, sizeof(ignored)) > 0)
		;
	w->want_look = true;
}

static void unwatch(struct await *w)
{
	if (w->watch.fd < 0)
		return;
	loop_remove(&w->agent->loop, &w->watch);
	close(w->watch.fd);
	w->watch.fd = -1;
}

/* The nearest directory on the way that exists. */
static void find_directory(const char *path, char out[PATH_MAX])
{
	struct stat st;
	char *slash;

	snprintf(out, PATH_MAX, "%s", path);
	while ((slash = strrchr(out, '/')) && slash != out) {
		*slash = '\0';
		if (!stat(out, &st) && S_ISDIR(st.st_mode))
			return;
	}
	snprintf(out, PATH_MAX, "/");
}

/* Returns 0, also for a directory that is gone by now, or -errno. */
static int watch_one(const struct await *w, const char *directory, uint32_t events)
{
	int r = inotify_add_watch(w->watch.fd, directory, events | IN_ONLYDIR);

	return r < 0 && errno != ENOENT && errno != ENOTDIR ? -errno : 0;
}

/* Watches the directory in which the next part of the path must appear, and whether this or one
 * above it goes away. */
static int watch_anew(struct await *w, const char *directory)
{
	enum { SELF = IN_DELETE_SELF | IN_MOVE_SELF, INSIDE = IN_CREATE | IN_MOVED_TO };
	char above[PATH_MAX];
	char *slash;
	int r;

	unwatch(w);
	w->watch.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->watch.fd < 0)
		return -errno;
	r = loop_add(&w->agent->loop, &w->watch, LOOP_READ);
	if (r == 0)
		r = watch_one(w, directory, SELF | INSIDE);
	snprintf(above, sizeof(above), "%s", directory);
	while (r == 0 && (slash = strrchr(above, '/')) && slash != above) {
		*slash = '\0';
		r = watch_one(w, above, SELF);
	}
	return r;
}

/* Returns 1 when it exists, 0, or negative. */
static int look_for_file(struct await *w, struct err *e)
{
	char watched[PATH_MAX] = "", nearest[PATH_MAX];
	struct stat st;
	int r;

	/* Once more after watching: what came before the watch is not told. */
	for (int i = 0; i < WATCH_ROUNDS; i++) {
		if (!lstat(w->what.path, &st))
			return 1;
		find_directory(w->what.path, nearest);
		w->look_ns = UINT64_MAX;
		if (!strcmp(watched, nearest))
			return 0;
		r = watch_anew(w, nearest);
		if (r < 0)
			return err_set(e, r, "cannot watch for the file: %s", strerror(-r));
		memcpy(watched, nearest, sizeof(watched));
	}
	w->look_ns = clock_deadline_ns(LOOK_LAST_MS);
	return 0;
}

/* ---- both --------------------------------------------------------------------------------- */

static void await_free(struct await *w)
{
	unwatch(w);
	await_request_fini(&w->what);
	free(w);
}

void await_drop(struct agent *a, struct conn *c)
{
	bool is_needed = false;

	if (!c->await)
		return;
	await_free(c->await);
	c->await = NULL;
	a->n_awaits--;
	for (unsigned i = 0; i < a->n_conns; i++)
		is_needed |= a->conns[i]->await && a->conns[i]->await->what.tag == AGENT_W_LISTEN;
	if (!is_needed)
		listen_events_close(&a->listening);
}

void await_begin(struct conn_host *h, struct conn *c, const uint8_t *payload, size_t bytes)
{
	struct agent *a = container_of(h, struct agent, host);
	struct await *w = calloc(1, sizeof(*w));
	struct err e = {0};
	int r;

	if (!w) {
		conn_fail(c, -ENOMEM, AGENT_STAGE_AWAIT, "the guest has no memory to wait");
		return;
	}
	w->agent = a;
	w->watch = (struct loop_watch){-1, directory_changed};
	w->pause_ms = LOOK_FIRST_MS;
	w->look_ns = w->settled_ns = UINT64_MAX;
	r = await_decode(payload, bytes, &w->what, &e);
	if (r == 0 && w->what.tag == AGENT_W_LISTEN)
		r = listen_for(a, &e);
	if (r < 0) {
		await_free(w);
		conn_fail(c, r, AGENT_STAGE_AWAIT, e.cause);
		return;
	}
	w->want_look = true;
	a->has_ended = true; /* maybe long ago */
	a->n_awaits++;
	c->await = w;
	c->state = CONN_AWAIT;
}

static void finish(struct agent *a, struct conn *c)
{
	if (c->await->what.tag == AGENT_W_LISTEN)
		tell_listeners(a, &c->await->last);
	conn_done(c);
	await_drop(a, c);
	conn_settle(c);
}

static void fail(struct agent *a, struct conn *c, int code, const char *cause)
{
	conn_fail(c, code, AGENT_STAGE_AWAIT, cause);
	await_drop(a, c);
	conn_settle(c);
}

static void look(struct agent *a, struct conn *c, bool is_alone)
{
	struct await *w = c->await;
	struct err e = {0};
	bool is_listener = w->what.tag == AGENT_W_LISTEN;
	int r;

	w->want_look = false;
	r = is_listener ? look_for_listener(a, w, &e) : look_for_file(w, &e);
	if (r > 0)
		finish(a, c);
	else if (r < 0)
		fail(a, c, r, e.cause);
	else if (is_alone)
		fail(a, c, -ESRCH,
			is_listener ? "the command ended before it listened"
				    : "the command ended before the file was there");
}

void await_step(struct agent *a)
{
	bool want_look = a->want_look, is_alone;

	if (!a->n_awaits || a->frost != THAWED)
		return;
	is_alone = a->has_ended && reaper_is_alone();
	a->want_look = a->has_ended = false;
	for (unsigned i = a->n_conns; i-- > 0;) {
		struct conn *c = i < a->n_conns ? a->conns[i] : NULL;

		if (c && c->await &&
			(want_look || is_alone || c->await->want_look ||
				clock_left_ms(c->await->look_ns) == 0))
			look(a, c, is_alone);
	}
}

uint64_t await_deadline_ns(const struct agent *a)
{
	uint64_t deadline = UINT64_MAX;

	if (!a->n_awaits || a->frost != THAWED)
		return deadline;
	for (unsigned i = 0; i < a->n_conns; i++)
		if (a->conns[i]->await)
			deadline = MIN(deadline, a->conns[i]->await->look_ns);
	return deadline;
}
