// SPDX-License-Identifier: Apache-2.0
#include "guest/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "guest/agent_int.h"
#include "guest/clonefiles.h"
#include "guest/vsock.h"

enum {
	KILL_MS = 2000,	  /* for what got SIGKILL to be gone */
	LINGER_MS = 1000, /* for the host to take the last frames of what ended */
	FREEZE_TIMEOUT_MS = 8000,
	GOODBYE_MS = 20, /* for the host to close after AGENT_DONE, which it has then seen */
};

/* ---- connections -------------------------------------------------------------------------- */

void agent_drop_conn(struct agent *a, struct conn *c)
{
	for (unsigned i = 0; i < a->n_conns; i++) {
		if (a->conns[i] == c) {
			a->conns[i] = a->conns[--a->n_conns];
			break;
		}
	}
	await_drop(a, c);
	conn_free(c);
	if (a->event_conn == c)
		a->event_conn = NULL;
	freeze_lost(a, c);
}

static void gone(struct conn_host *h, struct conn *c)
{
	agent_drop_conn(container_of(h, struct agent, host), c);
}

/* Takes fd in any case. */
static struct conn *adopt(struct agent *a, int fd, enum conn_state state)
{
	struct conn *c = NULL;

	if (a->n_conns < AGENT_CONNECTIONS_MAX)
		c = conn_new(&a->host, fd, state);
	if (!c) {
		close(fd);
		return NULL;
	}
	a->conns[a->n_conns++] = c;
	return c;
}

static void incoming(struct loop_watch *w, unsigned events)
{
	struct agent *a = container_of(w, struct agent, listener);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		return;
	if (!vsock_is_from_host(fd)) {
		close(fd);
		return;
	}
	(void)adopt(a, fd, CONN_NEW);
}

int agent_announce(struct agent *a, int event_fd, struct err *e)
{
	struct agent_hello hello = {.version = AGENT_VERSION};
	struct conn *c = adopt(a, event_fd, CONN_EVENT);

	a->event_conn = c;
	if (!c || wire_queue(&c->wire, AGENT_HELLO, &hello, sizeof(hello)) < 0 ||
		wire_queue(&c->wire, AGENT_READY, NULL, 0) < 0)
		return err_set(e, -ENOMEM, "the guest has no memory for its agent");
	conn_settle(c);
	return 0;
}

/* ---- detached commands -------------------------------------------------------------------- */

struct exec *agent_take_detached(struct agent *a, unsigned i)
{
	struct exec *x = a->detached[i];

	a->n_detached--;
	memmove(&a->detached[i], &a->detached[i + 1], (a->n_detached - i) * sizeof(x));
	return x;
}

/* Room for it is certain: it is one of at most AGENT_EXECS_MAX. */
static void keep(struct conn_host *h, struct exec *x)
{
	struct agent *a = container_of(h, struct agent, host);

	x->is_lost = h->exec.is_held;
	a->detached[a->n_detached++] = x;
}

static struct exec *claim(struct conn_host *h, pid_t pid, int *ret_code)
{
	struct agent *a = container_of(h, struct agent, host);

	*ret_code = pid || !a->n_detached ? -ENOENT : -EINVAL;
	for (unsigned i = 0; i < a->n_detached; i++)
		if (a->detached[i]->pid == pid || (!pid && a->n_detached == 1))
			return agent_take_detached(a, i);
	return NULL;
}

/* Of detached commands that have ended only so many exit statuses are kept. */
static void forget_oldest(struct agent *a)
{
	unsigned n = 0, oldest = 0;

	for (unsigned i = a->n_detached; i-- > 0;) {
		if (!a->detached[i]->has_ended)
			continue;
		oldest = i;
		n++;
	}
	if (n <= ENDED_KEPT_MAX)
		return;
	exec_free(agent_take_detached(a, oldest));
	a->host.n_execs--;
}

/* ---- processes ---------------------------------------------------------------------------- */

static void ended(struct reaper *r, pid_t pid, int status, const struct rusage *usage)
{
	struct agent *a = container_of(r, struct agent, reaper);

	a->has_ended = a->want_look = true;
	for (unsigned i = 0; i < a->n_conns; i++) {
		struct conn *c = a->conns[i];

		if (!c->exec || c->exec->pid != pid || c->exec->has_ended)
			continue;
		exec_ended(c->exec, status, usage);
		conn_settle(c);
		return;
	}
	for (unsigned i = 0; i < a->n_detached; i++) {
		struct exec *x = a->detached[i];

		if (x->pid != pid || x->has_ended)
			continue;
		exec_ended(x, status, usage);
		forget_oldest(a);
		return;
	}
}

/* ---- shutdown ----------------------------------------------------------------------------- */

static void enter(struct agent *a, enum phase phase, int ms)
{
	a->phase = phase;
	a->deadline_ns = clock_deadline_ns(ms);
}

static void begin_shutdown(struct conn_host *h, const struct agent_shutdown *s)
{
	struct agent *a = container_of(h, struct agent, host);
	uint64_t deadline = clock_deadline_ns(s->grace_ms);

	a->is_reset = s->is_reset;
	a->host.is_ending = true;
	if (a->phase == SERVING && a->frost != THAWED) {
		/* SIGKILL alone reaches who is frozen, and runs nothing of the user's. */
		enter(a, KILLING, KILL_MS);
		a->ops->signal_all(SIGKILL, a->context);
		a->host.exec.is_held = false;
	} else if (a->phase == SERVING) {
		a->phase = TERMINATING;
		a->deadline_ns = deadline;
		a->ops->signal_all(SIGTERM, a->context);
	} else if (a->phase == TERMINATING) {
		a->deadline_ns = MIN(a->deadline_ns, deadline);
	}
}

static bool all_quiet(const struct agent *a)
{
	for (unsigned i = 0; i < a->n_conns; i++)
		if (!conn_is_quiet(a->conns[i]))
			return false;
	return true;
}

/* Says goodbye to whoever asked, and gives the host a moment to hear it: power-off stops the
 * virtual CPUs with what is still queued. */
static void say_done(struct agent *a)
{
	uint64_t deadline = clock_deadline_ns(GOODBYE_MS);

	for (unsigned i = a->n_conns; i-- > 0;) {
		struct conn *c = a->conns[i];
		struct pollfd p = {.fd = c->wire.fd, .events = POLLIN};

		if (c->state != CONN_SHUTDOWN)
			continue;
		conn_done(c);
		if (wire_flush(&c->wire) == 0 && wire_is_clear(&c->wire)) {
			shutdown(c->wire.fd, SHUT_WR);
			(void)poll(&p, 1, clock_left_ms(deadline));
		}
	}
}

static void finish(struct agent *a)
{
	a->phase = OVER;
	sync();
	say_done(a);
	a->ops->power_off(a->is_reset, a->context);
}

/* Goes on with a shutdown as far as possible without waiting. */
static void step_shutdown(struct agent *a)
{
	bool is_late = clock_left_ms(a->deadline_ns) == 0;

	reaper_collect(&a->reaper);
	if (a->phase == TERMINATING && is_late && !reaper_is_alone()) {
		enter(a, KILLING, KILL_MS);
		a->ops->signal_all(SIGKILL, a->context);
		return;
	}
	if ((a->phase == TERMINATING || a->phase == KILLING) && (is_late || reaper_is_alone())) {
		enter(a, LINGERING, LINGER_MS);
		is_late = false;
	}
	if (a->phase == LINGERING && (is_late || all_quiet(a)))
		finish(a);
}

/* ---- life --------------------------------------------------------------------------------- */

static int open_parts(struct agent *a, struct err *e)
{
	int r = loop_init(&a->loop, e);

	if (r < 0)
		return r;
	a->host.exec.loop = &a->loop;
	a->host.exec.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (a->host.exec.null_fd < 0) {
		err_sys(e, "cannot be opened");
		return err_object(e, "/dev/null");
	}
	r = reaper_start(&a->reaper, &a->loop, ended, e);
	if (r < 0)
		return r;
	r = loop_add(&a->loop, &a->listener, LOOP_READ);
	return r < 0 ? err_set(e, r, "cannot watch for connections: %s", strerror(-r)) : 0;
}

static const struct conn_ops conn_ops = {
	.shutdown = begin_shutdown,
	.freeze = freeze_begin,
	.thaw = freeze_end,
	.resume = resume_begin,
	.await = await_begin,
	.claim = claim,
	.keep = keep,
	.gone = gone,
};

static void configure(struct agent *a, const struct agent_config *config)
{
	a->ops = config->ops;
	a->context = config->context;
	a->host.ops = &conn_ops;
	a->host.exec.workload = config->workload;
	a->listener = (struct loop_watch){.fd = config->listen_fd, .ready = incoming};
	a->rest.fd = config->frozen_fd;
	a->freeze_timeout_ms =
		config->freeze_timeout_ms ? config->freeze_timeout_ms : FREEZE_TIMEOUT_MS;
	a->frost_deadline_ns = UINT64_MAX;
	a->etc = config->etc ? config->etc : "/etc";
	a->clone_dir = config->clone_dir ? config->clone_dir : CLONEFILES_DIR;
	listen_events_init(&a->listening);
}

int agent_new(const struct agent_config *config, struct agent **ret, struct err *e)
{
	struct agent *a = calloc(1, sizeof(*a));
	int r;

	if (!a) {
		close(config->listen_fd);
		close(config->event_fd);
		return err_set(e, -ENOMEM, "the guest has no memory for its agent");
	}
	a->loop.poll_fd = a->loop.waker.fd = a->reaper.watch.fd = a->host.exec.null_fd = -1;
	configure(a, config);
	signal(SIGPIPE, SIG_IGN);
	r = open_parts(a, e);
	if (r < 0)
		close(config->event_fd);
	else
		r = agent_announce(a, config->event_fd, e);
	if (r < 0) {
		agent_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

void agent_free(struct agent *a)
{
	if (!a)
		return;
	while (a->n_conns)
		agent_drop_conn(a, a->conns[a->n_conns - 1]);
	while (a->n_detached)
		exec_free(agent_take_detached(a, 0));
	listen_events_close(&a->listening);
	free(a->host.env);
	free(a->env_memory);
	reaper_stop(&a->reaper);
	if (a->listener.fd >= 0) {
		loop_remove(&a->loop, &a->listener);
		close(a->listener.fd);
	}
	if (a->host.exec.null_fd >= 0)
		close(a->host.exec.null_fd);
	loop_fini(&a->loop);
	free(a);
}

static int wait_ms(const struct agent *a)
{
	uint64_t deadline = a->phase == SERVING ? UINT64_MAX : a->deadline_ns;

	deadline = MIN(deadline, a->frost_deadline_ns);
	return clock_left_ms(MIN(deadline, await_deadline_ns(a)));
}

int agent_run(struct agent *a, struct err *e)
{
	while (a->phase != OVER) {
		int r = loop_turn(&a->loop, wait_ms(a));

		if (r < 0)
			return err_set(e, r, "the agent's event loop failed: %s", strerror(-r));
		freeze_step(a);
		await_step(a);
		if (a->phase != SERVING)
			step_shutdown(a);
	}
	return 0;
}
