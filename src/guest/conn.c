// SPDX-License-Identifier: Apache-2.0
#include "guest/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/agent.h"
#include "guest/request.h"

static void drop_exec(struct conn *c)
{
	if (!c->exec)
		return;
	exec_free(c->exec);
	c->exec = NULL;
	c->host->n_execs--;
}

/* Nothing more can be said on it. */
static void give_up(struct conn *c)
{
	c->host->ops->gone(c->host, c);
}

void conn_fail(struct conn *c, int code, int stage, const char *cause)
{
	struct agent_failed f = {.code = code, .stage = (uint32_t)stage};

	snprintf(f.cause, sizeof(f.cause), "%s", cause);
	drop_exec(c);
	c->state = CONN_CLOSING;
	/* When there is no memory even for this, the end of the stream says it. */
	(void)!wire_queue(&c->wire, AGENT_FAILED, &f, sizeof(f));
}

void conn_done(struct conn *c)
{
	c->state = CONN_CLOSING;
	(void)!wire_queue(&c->wire, AGENT_DONE, NULL, 0);
}

bool conn_is_quiet(const struct conn *c)
{
	return !c->exec && wire_is_clear(&c->wire);
}

/* ---- frames ------------------------------------------------------------------------------- */

static int malformed(struct conn *c, const char *cause)
{
	conn_fail(c, -EPROTO, AGENT_STAGE_REQUEST, cause);
	return 0;
}

static int greet(struct conn *c, const struct agent_frame *f, const uint8_t *payload)
{
	struct agent_hello theirs, ours = {.version = AGENT_VERSION};
	char cause[96];

	if (wire_queue(&c->wire, AGENT_HELLO, &ours, sizeof(ours)) < 0)
		return -ENOMEM;
	if (f->type != AGENT_HELLO || f->bytes != sizeof(theirs))
		return malformed(c, "the first frame is no greeting");
	memcpy(&theirs, payload, sizeof(theirs));
	if (theirs.version != AGENT_VERSION) {
		snprintf(cause, sizeof(cause),
			"the host speaks version %u of the agent protocol, the guest version %d",
			theirs.version, AGENT_VERSION);
		conn_fail(c, -EPROTONOSUPPORT, AGENT_STAGE_REQUEST, cause);
		return 0;
	}
	c->state = CONN_IDLE;
	return 0;
}

static void exec_moved(struct exec *x)
{
	conn_settle(container_of(x->wire, struct conn, wire));
}

static int refuse_frozen(struct conn *c, int stage)
{
	conn_fail(c, -EBUSY, stage, "the workload is frozen");
	return 0;
}

static int start_exec(struct conn *c, const struct agent_frame *f, const uint8_t *payload)
{
	struct request q;
	struct err e = {0};
	int stage = AGENT_STAGE_REQUEST;
	int r;

	if (c->host->exec.is_held)
		return refuse_frozen(c, AGENT_STAGE_SPAWN);
	if (c->host->is_ending || c->host->n_execs >= AGENT_EXECS_MAX) {
		conn_fail(c, c->host->is_ending ? -ESHUTDOWN : -EAGAIN, AGENT_STAGE_SPAWN,
			c->host->is_ending ? "the guest is shutting down"
					   : "the guest runs as many commands as it can (256)");
		return 0;
	}
	_Static_assert(AGENT_EXECS_MAX == 256, "the sentence above says so");
	r = request_decode(payload, f->bytes, &q, &e);
	if (r == 0 && request_add_env(&q, c->host->env, c->host->n_env) < 0) {
		request_fini(&q);
		r = err_set(&e, -ENOMEM, "the guest has no memory for another command");
	}
	if (r == 0) {
		r = exec_start(&c->host->exec, &c->wire, &q, exec_moved, &c->exec, &stage, &e);
		request_fini(&q);
	}
	if (r < 0) {
		conn_fail(c, r, stage, e.cause);
		return 0;
	}
	c->host->n_execs++;
	c->state = CONN_EXEC;
	return 0;
}

static int attach(struct conn *c, const struct agent_frame *f, const uint8_t *payload)
{
	struct agent_u32 pid;
	struct exec *x;
	int r = 0;

	if (f->bytes != sizeof(pid))
		return malformed(c, "an attachment of the wrong size");
	memcpy(&pid, payload, sizeof(pid));
	if (c->host->exec.is_held)
		return refuse_frozen(c, AGENT_STAGE_REQUEST);
	x = pid.value > INT32_MAX ? NULL : c->host->ops->claim(c->host, (pid_t)pid.value, &r);
	if (!x) {
		conn_fail(c, r ? r : -ENOENT, AGENT_STAGE_REQUEST,
			r == -EINVAL ? "more than one command runs detached: say which"
				     : "there is no such detached command");
		return 0;
	}
	if (exec_attach(x, &c->wire, exec_moved) < 0) {
		c->host->ops->keep(c->host, x);
		return -ENOMEM;
	}
	c->exec = x;
	c->state = CONN_EXEC;
	return 0;
}

static int start_shutdown(struct conn *c, const struct agent_frame *f, const uint8_t *payload)
{
	struct agent_shutdown s;

	if (f->bytes != sizeof(s))
		return malformed(c, "a shutdown request of the wrong size");
	memcpy(&s, payload, sizeof(s));
	c->state = CONN_SHUTDOWN;
	c->host->ops->shutdown(c->host, &s);
	return 0;
}

static int on_request(struct conn *c, const struct agent_frame *f, const uint8_t *payload)
{
	struct conn_host *h = c->host;

	switch (f->type) {
	case AGENT_EXEC:
		return start_exec(c, f, payload);
	case AGENT_SHUTDOWN:
		return start_shutdown(c, f, payload);
	case AGENT_SYNC:
		if (f->bytes)
			return malformed(c, "a sync request of the wrong size");
		sync();
		conn_done(c);
		return 0;
	case AGENT_FREEZE:
		if (f->bytes)
			return malformed(c, "a request to freeze of the wrong size");
		h->ops->freeze(h, c);
		return 0;
	case AGENT_RESUME:
		h->ops->resume(h, c, payload, f->bytes);
		return 0;
	case AGENT_AWAIT:
		if (h->exec.is_held)
			return refuse_frozen(c, AGENT_STAGE_AWAIT);
		h->ops->await(h, c, payload, f->bytes);
		return 0;
	case AGENT_ATTACH:
		return attach(c, f, payload);
	default:
		return malformed(c, "a frame that is no request");
	}
}

static int on_exec_frame(struct conn *c, const struct agent_frame *f, const uint8_t *payload)
{
	struct agent_u32 number = {0};
	struct err e = {0};
	int r;

	switch (f->type) {
	case AGENT_STDIN:
		r = exec_input(c->exec, payload, f->bytes, &e);
		break;
	case AGENT_STDIN_CLOSE:
		if (f->bytes)
			return malformed(c, "an end of standard input of the wrong size");
		r = exec_input_over(c->exec, &e);
		break;
	case AGENT_SIGNAL:
		if (f->bytes != sizeof(number))
			return malformed(c, "a signal of the wrong size");
		memcpy(&number, payload, sizeof(number));
		r = exec_signal(c->exec, number.value, &e);
		break;
	default:
		return malformed(c, "a frame that has no place in a running command");
	}
	if (r < 0)
		conn_fail(c, r, AGENT_STAGE_REQUEST, e.cause);
	return 0;
}

/* Whatever comes here comes from the host that asked for the freeze, so this is no clone. */
static int on_freeze_frame(struct conn *c, const struct agent_frame *f)
{
	int r = c->host->ops->thaw(c->host, c);

	if (f->type != AGENT_THAW || f->bytes)
		return malformed(c, "a frame that has no place while the workload is frozen");
	if (r < 0)
		conn_fail(c, r, AGENT_STAGE_FREEZE, "the kernel does not thaw the workload");
	else
		conn_done(c);
	return 0;
}

static int on_frame(void *context, const struct agent_frame *f, const uint8_t *payload)
{
	struct conn *c = context;

	switch (c->state) {
	case CONN_NEW:
		return greet(c, f, payload);
	case CONN_IDLE:
		return on_request(c, f, payload);
	case CONN_EXEC:
		return on_exec_frame(c, f, payload);
	case CONN_SHUTDOWN:
		return malformed(c, "a frame while a shutdown is under way");
	case CONN_FREEZE:
		return on_freeze_frame(c, f);
	case CONN_AWAIT:
		return malformed(c, "a frame while an event is awaited");
	case CONN_EVENT:
		return f->type == AGENT_HELLO ? 0 : -EPROTO;
	case CONN_CLOSING:
		break;
	}
	return 0;
}

/* ---- the socket --------------------------------------------------------------------------- */

/* Returns false when the connection is over. */
static bool receive(struct conn *c)
{
	struct conn_host *h = c->host;
	int r;

	if (c->state == CONN_CLOSING) {
		/* The host may still be sending; closing now could take our last words back. */
		ssize_t n = recv(c->wire.fd, h->received, sizeof(h->received), MSG_DONTWAIT);

		return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
	}
	r = wire_receive(&c->wire, h->received, sizeof(h->received), on_frame, c);
	if (r == -EPROTO && c->state != CONN_EVENT) {
		struct agent_hello ours = {.version = AGENT_VERSION};

		if (c->state == CONN_NEW)
			(void)!wire_queue(&c->wire, AGENT_HELLO, &ours, sizeof(ours));
		malformed(c, "a frame of unknown type or impossible size");
		return true;
	}
	return r > 0 || r == -EAGAIN;
}

static void ready(struct loop_watch *w, unsigned events)
{
	struct conn *c = container_of(w, struct conn, watch);

	if (!(events & (LOOP_READ | LOOP_HANGUP)) || receive(c))
		conn_settle(c);
	else
		give_up(c);
}

/* Returns 0, or -errno when the connection is broken. */
static int move_all(struct conn *c)
{
	for (;;) {
		int r = wire_flush(&c->wire);

		if (r < 0 || !wire_is_clear(&c->wire) || !c->exec)
			return r;
		r = exec_pump(c->exec);
		if (r < 0)
			return r;
		if (c->exec->is_done) {
			drop_exec(c);
			c->state = CONN_CLOSING;
		}
		if (wire_is_clear(&c->wire))
			return 0;
	}
}

static int watch_for_rest(struct conn *c)
{
	unsigned events = LOOP_READ | (wire_is_clear(&c->wire) ? 0 : LOOP_WRITE);
	int r = 0;

	if (events != c->events)
		r = loop_change(c->host->exec.loop, &c->watch, events);
	c->events = events;
	return r;
}

void conn_settle(struct conn *c)
{
	int r = move_all(c);

	if (r == 0 && c->state == CONN_CLOSING && wire_is_clear(&c->wire) && !c->is_ended) {
		c->is_ended = true;
		shutdown(c->wire.fd, SHUT_WR);
	}
	if (r == 0)
		r = watch_for_rest(c);
	if (r < 0)
		give_up(c);
}

struct conn *conn_new(struct conn_host *h, int fd, enum conn_state state)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->watch = (struct loop_watch){.fd = fd, .ready = ready};
	c->host = h;
	c->state = state;
	c->events = LOOP_READ;
	if (loop_add(h->exec.loop, &c->watch, c->events) < 0) {
		free(c);
		return NULL;
	}
	wire_init(&c->wire, fd);
	return c;
}

void conn_free(struct conn *c)
{
	if (!c)
		return;
	if (c->exec && c->host->exec.is_held) {
		exec_detach(c->exec);
		c->host->ops->keep(c->host, c->exec);
		c->exec = NULL;
	}
	drop_exec(c);
	loop_remove(c->host->exec.loop, &c->watch);
	wire_fini(&c->wire);
	free(c);
}
