// SPDX-License-Identifier: Apache-2.0
#include "api/workload.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "api/agent_call.h"
#include "base/clock.h"

enum {
	RETRY_FIRST_MS = 20,
	RETRY_LAST_MS = 1000,
	PATH_BYTES_MAX = 4096,
};

/* ---- output --------------------------------------------------------------------------------- */

/* Keeps the end. */
static int keep_tail(const void *data, size_t bytes, void *context)
{
	struct workload *w = context;
	const char *from = data;
	size_t drop;

	if (bytes > sizeof(w->tail)) {
		from += bytes - sizeof(w->tail);
		bytes = sizeof(w->tail);
	}
	drop = w->tail_bytes + bytes > sizeof(w->tail) ? w->tail_bytes + bytes - sizeof(w->tail)
						       : 0;
	memmove(w->tail, w->tail + drop, w->tail_bytes - drop);
	w->tail_bytes -= drop;
	memcpy(w->tail + w->tail_bytes, from, bytes);
	w->tail_bytes += bytes;
	return 0;
}

/* The end of it on one line, for an error: without control characters, lines joined by " | ". */
static void tail_line(const struct workload *w, char *out, size_t room)
{
	size_t from = w->tail_bytes > room / 2 ? w->tail_bytes - room / 2 : 0, n = 0;
	bool is_gap = false;

	for (size_t i = from; i < w->tail_bytes && n + 4 < room; i++) {
		unsigned char c = (unsigned char)w->tail[i];

		if (c == '\n' || c == '\r') {
			is_gap = n > 0;
			continue;
		}
		if (c < ' ' || c == 127)
			continue;
		if (is_gap) {
			memcpy(out + n, " | ", 3);
			n += 3;
			is_gap = false;
		}
		out[n++] = (char)c;
	}
	out[n] = '\0';
}

static int ended(const struct workload *w, const struct sm_exec *x, const char *when, struct err *e)
{
	char tail[300];

	tail_line(w, tail, sizeof(tail));
	err_set(e, -ECONNABORTED, "%s with status %d%s%.160s%s", when, x->exit.status,
		tail[0] ? ": \"" : "", tail, tail[0] ? "\"" : "");
	return err_object(e, "%s", x->label);
}

/* ---- the workload --------------------------------------------------------------------------- */

void workload_init(struct workload *w, struct sm_vm *vm, const struct sm_exec_options *options)
{
	*w = (struct workload){.vm = vm, .options = *options};
	w->options.use_fds = 0;
	w->options.on_stdout = keep_tail;
	w->options.on_stderr = keep_tail;
	w->options.context = w;
}

void workload_leave(struct workload *w)
{
	if (w->exec)
		exec_leave(w->exec);
	w->exec = NULL;
}

void workload_fini(struct workload *w)
{
	sm_exec_close(w->exec);
	w->exec = NULL;
}

int workload_start(struct workload *w, const char *const *argv, struct err *e)
{
	struct sm_exec_options o = w->options;
	uint32_t stage;
	int r;

	o.is_entrypoint = 1;
	r = exec_open(w->vm, argv, &o, NULL, &w->exec, &stage, e);
	/* A workload that is not there is not a part of supermachine that is not there. */
	if (r == -ENOENT && stage != AGENT_STAGE_EXEC && e)
		e->code = r = -EINVAL;
	return r;
}

/* Takes what is there. Returns 0 while it runs. */
static int take_output(struct workload *w, struct err *e)
{
	int r = w->exec ? pump_run(w->exec, 0, e) : -ETIMEDOUT;

	if (r == -ETIMEDOUT)
		return 0;
	return r < 0 ? r : ended(w, w->exec, "it ended before it was ready,", e);
}

/* Sleeps until `fd` (or -1) has something or the deadline, taking the workload's output. Returns 1
 * when fd has, 0 when not. */
static int watch(struct workload *w, int fd, uint64_t deadline_ns, struct err *e)
{
	for (;;) {
		struct pollfd p[2] = {
			{.fd = fd, .events = POLLIN},
			{.fd = w->exec ? w->exec->channel.fd : -1, .events = POLLIN},
		};
		int n = poll(p, 2, clock_left_ms(deadline_ns)), r;

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return err_sys(e, "wait for the guest");
		if (n == 0)
			return 0;
		if (n > 0 && p[1].revents) {
			r = take_output(w, e);
			if (r < 0)
				return r;
		}
		if (n > 0 && p[0].revents)
			return 1;
	}
}

/* ---- readiness ------------------------------------------------------------------------------ */

static int not_ready(const struct workload *w, const char *what, int64_t timeout_ms, struct err *e)
{
	char tail[200];

	tail_line(w, tail, sizeof(tail));
	err_set(e, -ETIMEDOUT, "it was not ready (%.60s) within %lld ms%s%.100s%s", what,
		(long long)timeout_ms, tail[0] ? ": \"" : "", tail, tail[0] ? "\"" : "");
	if (w->exec)
		err_object(e, "%s", w->exec->label);
	return err_remedy(e, "give it more time (ready_timeout_ms), or say another readiness");
}

static int await_answer(struct workload *w, struct channel *c, uint64_t deadline_ns, struct err *e)
{
	const uint8_t *payload;
	struct agent_frame f;
	int r;

	for (;;) {
		r = channel_get(c, &f, &payload, e);
		if (r < 0)
			return r;
		if (r > 0 && f.type == AGENT_DONE)
			return 0;
		if (r > 0 && f.type == AGENT_FAILED)
			return agent_call_refused(payload, f.bytes, e);
		if (r > 0)
			return err_set(
				e, -EPROTO, "the guest's agent answered with something else");
		if (c->is_finished)
			return channel_gone_error(c, e);
		r = watch(w, c->fd, deadline_ns, e);
		if (r < 0)
			return r;
		if (r == 0)
			return -ETIMEDOUT;
		r = channel_fill(c);
		if (r < 0 && r != -EAGAIN)
			return err_set(e, r, "no memory for a message");
	}
}

/* AGENT_AWAIT with its one field. */
static int await(struct workload *w, uint16_t tag, const void *data, size_t bytes,
	uint64_t deadline_ns, struct err *e)
{
	uint8_t payload[sizeof(struct agent_field) + PATH_BYTES_MAX];
	struct agent_field f = {.bytes = (uint32_t)bytes, .tag = tag};
	struct channel c;
	int r;

	if (bytes >= PATH_BYTES_MAX)
		return err_set(e, -ENAMETOOLONG, "this path is too long");
	memcpy(payload, &f, sizeof(f));
	memcpy(payload + sizeof(f), data, bytes);
	r = agent_call(&c, &w->vm->link, AGENT_AWAIT, payload, sizeof(f) + bytes, e);
	if (r < 0)
		return r;
	r = await_answer(w, &c, deadline_ns, e);
	channel_close(&c);
	return r;
}

/* Runs a shell command, taking the workload's output meanwhile. -ETIMEDOUT: it was killed. */
static int run_shell(struct workload *w, const char *command, const struct sm_exec_options *o,
	uint64_t deadline_ns, struct sm_exit *ret, struct err *e)
{
	const char *const argv[] = {"/bin/sh", "-c", command, NULL};
	struct sm_exec *x;
	uint32_t stage;
	int r = exec_open(w->vm, argv, o, NULL, &x, &stage, e);

	if (r < 0)
		return r;
	while ((r = pump_run(x, 0, e)) == -ETIMEDOUT) {
		r = watch(w, x->channel.fd, deadline_ns, e);
		if (r <= 0) {
			r = r < 0 ? r : -ETIMEDOUT;
			break;
		}
	}
	*ret = x->exit;
	sm_exec_close(x);
	return r;
}

/* Tries until it succeeds, less and less often. */
static int await_command(
	struct workload *w, const char *command, uint64_t deadline_ns, struct err *e)
{
	struct sm_exec_options o = w->options;
	int64_t pause_ms = RETRY_FIRST_MS;
	struct sm_exit end;
	int r;

	o.is_entrypoint = 0;
	o.on_stdout = o.on_stderr = NULL;
	for (;;) {
		r = run_shell(w, command, &o, deadline_ns, &end, e);
		if (r < 0 || end.status == 0)
			return r;
		r = watch(w, -1, MIN(clock_deadline_ns(pause_ms), deadline_ns), e);
		if (r < 0)
			return r;
		if (clock_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		pause_ms = MIN(2 * pause_ms, (int64_t)RETRY_LAST_MS);
	}
}

int workload_ready(
	struct workload *w, const struct sm_vm_options *o, uint64_t deadline_ns, struct err *e)
{
	struct agent_u32 port = {.value = o->ready_port};
	const char *what = o->ready_text;
	int r = 0;

	if (o->ready == SM_READY_LISTEN) {
		what = "listen";
		r = await(w, AGENT_W_LISTEN, &port, sizeof(port), deadline_ns, e);
	} else if (o->ready == SM_READY_FILE) {
		r = await(w, AGENT_W_FILE, what, strlen(what), deadline_ns, e);
	} else if (o->ready == SM_READY_EXEC) {
		r = await_command(w, what, deadline_ns, e);
	}
	return r == -ETIMEDOUT ? not_ready(w, what, o->ready_timeout_ms, e) : r;
}

int workload_warm(struct workload *w, const char *command, struct err *e)
{
	struct workload output = {.vm = w->vm};
	struct sm_exec_options o = w->options;
	struct sm_exit end;
	char tail[300];
	int r;

	/* Its own output is kept apart from the workload's. */
	o.is_entrypoint = 0;
	o.context = &output;
	r = run_shell(w, command, &o, UINT64_MAX, &end, e);
	if (r < 0 || end.status == 0)
		return r < 0 ? err_object(e, "warm-up") : 0;
	tail_line(&output, tail, sizeof(tail));
	err_set(e, -ECONNABORTED, "it ended with status %d%s%.160s%s", end.status,
		tail[0] ? ": \"" : "", tail, tail[0] ? "\"" : "");
	err_object(e, "warm-up");
	return err_remedy(e, "correct the command; nothing was baked");
}
