// SPDX-License-Identifier: Apache-2.0
/*
 * Moves the streams of a command, on the thread that waits for it.
 *
 * The caller's descriptors may be shared with other programs (a terminal is, with the shell), so
 * they are never made non-blocking: they are read when poll says so, and written at most PIPE_BUF
 * bytes at a time when poll says so, which a pipe then takes at once (pipe(7)). While a descriptor
 * does not take output, nothing more is read from the guest: the command is held back like by a
 * full pipe. A descriptor that nobody reads any more does to the command what a local pipe would:
 * it gets SIGPIPE.
 */
#include "api/exec.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/handles.h"
#include "base/clock.h"
#include "base/le.h"

enum {
	/* How long a reader of ours may hold what a VM said last, once the VM is gone. */
	HANGUP_MS = 1000,
	/* Input is read only while less than this waits to be sent. */
	SEND_BACKLOG = AGENT_FRAME_MAX,
};

/* ---- output -------------------------------------------------------------------------------- */

/* Nobody is left to read this stream: like a local pipe, it ends the writer. */
static int broken(struct sm_exec *x, struct exec_output *s, int number, struct err *e)
{
	s->is_broken = true;
	return exec_signal(x, number, e);
}

static ssize_t write_some(struct exec_output *s, const uint8_t *data, size_t bytes)
{
	ssize_t n;

	do {
		if (s->kind == EXEC_FD_SOCKET)
			n = send(s->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
		else
			n = write(s->fd, data,
				s->kind == EXEC_FD_PIPE ? MIN(bytes, (size_t)PIPE_BUF) : bytes);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static bool can_write(const struct exec_output *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLOUT};

	return s->kind == EXEC_FD_PLAIN || poll(&p, 1, 0) > 0;
}

static void drop_pending(struct sm_exec *x)
{
	x->pending_to = NULL;
	x->pending_bytes = 0;
	x->hangup_ns = 0;
}

static int write_failed(struct sm_exec *x, struct exec_output *s, int code, struct err *e)
{
	drop_pending(x);
	if (code == -EPIPE || code == -ECONNRESET) {
		x->was_sigpipe_raised |= code == -EPIPE;
		return broken(x, s, SIGPIPE, e);
	}
	if (!x->failure.code)
		err_set(&x->failure, code, "cannot write its %s: %s", s->name, strerror(-code));
	return broken(x, s, SIGKILL, e);
}

/* Writes what is pending as far as it goes without waiting. */
static int write_pending(struct sm_exec *x, struct err *e)
{
	struct exec_output *s = x->pending_to;

	while (x->pending_bytes && can_write(s)) {
		ssize_t n = write_some(s, x->pending, x->pending_bytes);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return write_failed(x, s, (int)n, e);
		x->pending += n;
		x->pending_bytes -= (size_t)n;
		if (x->hangup_ns)
			x->hangup_ns = clock_deadline_ns(HANGUP_MS);
	}
	if (!x->pending_bytes)
		drop_pending(x);
	return 0;
}

static int take_output(
	struct sm_exec *x, struct exec_output *s, const uint8_t *data, size_t bytes, struct err *e)
{
	if (s->is_broken || !bytes)
		return 0;
	if (s->write)
		return s->write(data, bytes, x->context) ? broken(x, s, SIGKILL, e) : 0;
	if (s->kind == EXEC_FD_NULL)
		return 0;
	x->pending_to = s;
	x->pending = data;
	x->pending_bytes = bytes;
	return write_pending(x, e);
}

/* ---- frames -------------------------------------------------------------------------------- */

static int take_exit(struct sm_exec *x, const uint8_t *payload, size_t bytes)
{
	struct agent_exit m;

	if (bytes != sizeof(m))
		return -EPROTO;
	memcpy(&m, payload, sizeof(m));
	if (m.signal < 0 || m.signal > 127 || (!m.signal && (m.status < 0 || m.status > 255)))
		return -EPROTO;
	x->exit = (struct sm_exit){
		.status = m.signal ? 128 + m.signal : m.status,
		.signal = m.signal,
		.user_us = m.user_us,
		.system_us = m.system_us,
		.peak_rss_bytes = m.peak_rss_bytes,
	};
	exec_forget(x);
	atomic_store(&x->has_exit, true);
	return 0;
}

static int take_acknowledged(struct sm_exec *x, const uint8_t *payload, size_t bytes)
{
	uint32_t taken = bytes == sizeof(struct agent_u32) ? le32_load(payload) : UINT32_MAX;

	if (taken > x->input.under_way)
		return -EPROTO;
	x->input.under_way -= taken;
	return 0;
}

static int take_frame(
	struct sm_exec *x, const struct agent_frame *f, const uint8_t *payload, struct err *e)
{
	int r;

	switch (f->type) {
	case AGENT_STDOUT:
		return take_output(x, &x->outputs[0], payload, f->bytes, e);
	case AGENT_STDERR:
		return take_output(x, &x->outputs[1], payload, f->bytes, e);
	case AGENT_STDIN_TAKEN:
		r = take_acknowledged(x, payload, f->bytes);
		break;
	case AGENT_EXIT:
		r = take_exit(x, payload, f->bytes);
		break;
	default:
		r = -EPROTO;
	}
	return r < 0 ? err_set(e, r, "the guest's agent sent a frame that makes no sense here") : 0;
}

/* All that is here already. Ends early when a descriptor does not take its output. */
static int take_frames(struct sm_exec *x, struct err *e)
{
	const uint8_t *payload;
	struct agent_frame f;
	int r;

	while (!x->pending_to && !x->has_exit) {
		r = channel_get(&x->channel, &f, &payload, e);
		if (r <= 0)
			return r;
		r = take_frame(x, &f, payload, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- input --------------------------------------------------------------------------------- */

static size_t input_room(const struct sm_exec *x)
{
	if (!x->input.is_open)
		return 0;
	return MIN((size_t)AGENT_FRAME_MAX, (size_t)AGENT_STDIN_WINDOW - x->input.under_way);
}

static int send_input(struct sm_exec *x, const void *data, size_t bytes)
{
	int r;

	if (bytes) {
		r = channel_put(&x->channel, AGENT_STDIN, data, bytes);
		x->input.under_way += (uint32_t)bytes;
	} else {
		r = channel_put(&x->channel, AGENT_STDIN_CLOSE, NULL, 0);
		x->input.is_open = false;
	}
	return r;
}

/* A broken connection shows, with its reason, when it is read. */
static int put_result(int r, struct err *e)
{
	return r < 0 && r != -EPIPE ? err_set(e, r, "no memory for the command's input") : 0;
}

static int give_memory(struct sm_exec *x, struct err *e)
{
	size_t bytes;
	int r = 0;

	while (x->input.is_open && input_room(x) && r == 0) {
		bytes = MIN(x->input.left, input_room(x));
		r = send_input(x, x->input.data, bytes);
		x->input.data += bytes;
		x->input.left -= bytes;
	}
	return put_result(r, e);
}

/* Called when poll said that reading does not wait. */
static int read_input(struct sm_exec *x, struct err *e)
{
	uint8_t data[AGENT_FRAME_MAX / 2];
	ssize_t n = read(x->input.fd, data, MIN(sizeof(data), input_room(x)));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* A source that cannot be read has nothing more to say; the command sees its end. */
	return put_result(send_input(x, data, n > 0 ? (size_t)n : 0), e);
}

/* ---- the loop ------------------------------------------------------------------------------ */

static int gone(struct sm_exec *x, struct err *e)
{
	int r = channel_gone_error(&x->channel, e);

	x->input.is_open = false;
	return r;
}

static bool is_time_over(uint64_t at_ns)
{
	return clock_now_ns() >= at_ns;
}

/* Fills p[0] the connection, p[1] the input, p[2] the output that is waited for. */
static void watch(struct sm_exec *x, struct pollfd p[3], ssize_t backlog)
{
	p[0] = (struct pollfd){.fd = x->channel.fd, .events = x->pending_to ? 0 : POLLIN};
	p[1] = (struct pollfd){.fd = -1, .events = POLLIN};
	p[2] = (struct pollfd){.fd = -1, .events = POLLOUT};
	if (backlog > 0)
		p[0].events |= POLLOUT;
	if (x->hangup_ns)
		p[0].fd = -1; /* it would be reported for ever */
	if (x->input.fd >= 0 && input_room(x) && backlog < SEND_BACKLOG)
		p[1].fd = x->input.fd;
	if (x->pending_to)
		p[2].fd = x->pending_to->fd;
}

/* The VM may go while somebody slow reads its output; what it said last is given a moment. */
static int check_hangup(struct sm_exec *x, short events, struct err *e)
{
	if (!x->pending_to)
		return 0;
	if (!x->hangup_ns && (events & (POLLHUP | POLLERR)))
		x->hangup_ns = clock_deadline_ns(HANGUP_MS);
	return x->hangup_ns && is_time_over(x->hangup_ns) ? gone(x, e) : 0;
}

static int turn(struct sm_exec *x, uint64_t deadline_ns, struct err *e)
{
	ssize_t backlog = channel_flush(&x->channel);
	struct pollfd p[3];
	int n, r;

	watch(x, p, backlog);
	n = poll(p, 3, clock_left_ms(x->hangup_ns ? MIN(deadline_ns, x->hangup_ns) : deadline_ns));
	if (n < 0 && errno != EINTR && errno != EAGAIN)
		return err_sys(e, "wait for the command's streams");
	if (n < 0)
		return 0;
	r = check_hangup(x, p[0].revents, e);
	if (r == 0 && p[2].revents && x->pending_to) {
		r = write_pending(x, e);
	} else if (r == 0 && p[0].revents && !x->pending_to) {
		r = channel_fill(&x->channel);
		r = r == -EAGAIN ? 0 : r < 0 ? err_set(e, r, "no memory for output") : 0;
	}
	if (r == 0 && p[1].revents)
		r = read_input(x, e);
	return r;
}

static int pump(struct sm_exec *x, uint64_t deadline_ns, struct err *e)
{
	bool is_first = true;
	int r;

	for (;;) {
		r = take_frames(x, e);
		if (r < 0 || x->has_exit)
			return r;
		if (!x->pending_to && x->channel.is_finished)
			return gone(x, e);
		/* At least one look, so that a time-out of 0 asks for what is there. */
		if (!is_first && deadline_ns != UINT64_MAX && is_time_over(deadline_ns)) {
			err_set(e, -ETIMEDOUT, "it still runs");
			return -ETIMEDOUT;
		}
		if (x->input.fd < 0) {
			r = give_memory(x, e);
			if (r < 0)
				return r;
		}
		r = turn(x, deadline_ns, e);
		if (r < 0)
			return r;
		is_first = false;
	}
}

/* write(2) to a pipe or terminal that nobody reads raises SIGPIPE for this thread: it is held
 * back, and taken away again if it was not waiting before. */
struct sigpipe_guard {
	sigset_t before;
	bool was_pending;
};

static void sigpipe_hold(struct sigpipe_guard *g)
{
	sigset_t pipe_only, pending;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigemptyset(&pending);
	(void)sigpending(&pending);
	g->was_pending = sigismember(&pending, SIGPIPE) == 1;
	(void)pthread_sigmask(SIG_BLOCK, &pipe_only, &g->before);
}

static void sigpipe_release(const struct sigpipe_guard *g, bool was_raised)
{
	const struct timespec now = {0};
	sigset_t pipe_only;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	if (was_raised && !g->was_pending)
		while (sigtimedwait(&pipe_only, NULL, &now) < 0 && errno == EINTR)
			;
	(void)pthread_sigmask(SIG_SETMASK, &g->before, NULL);
}

int pump_run(struct sm_exec *x, uint64_t deadline_ns, struct err *e)
{
	bool has_fds = x->outputs[0].fd >= 0 || x->outputs[1].fd >= 0;
	struct sigpipe_guard guard;
	int r;

	if (has_fds)
		sigpipe_hold(&guard);
	r = x->has_exit ? 0 : pump(x, deadline_ns, e);
	if (has_fds)
		sigpipe_release(&guard, x->was_sigpipe_raised);
	x->was_sigpipe_raised = false;
	if (r == 0 && x->failure.code) {
		*e = x->failure;
		return e->code;
	}
	return r;
}
