// SPDX-License-Identifier: Apache-2.0
#include "guest/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/file.h"
#include "guest/spawn.h"
#include "guest/workload.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { HOME_BYTES = sizeof("HOME=") + USER_HOME_BYTES };

/* ---- pipes -------------------------------------------------------------------------------- */

static void pipe_unwatch(struct exec_pipe *p)
{
	if (p->is_watched)
		loop_remove(p->exec->host->loop, &p->watch);
	p->is_watched = false;
}

static int pipe_watch(struct exec_pipe *p, unsigned events)
{
	int r;

	if (p->is_watched || p->watch.fd < 0)
		return 0;
	r = loop_add(p->exec->host->loop, &p->watch, events);
	p->is_watched = r == 0;
	return r;
}

static void pipe_close(struct exec_pipe *p)
{
	pipe_unwatch(p);
	autoclose_run(&p->watch.fd);
}

/* Reads once from a pipe of the process and puts it on the wire, which must be clear. */
static int pipe_forward(struct exec_pipe *p)
{
	struct exec *x = p->exec;
	uint8_t *frame = x->host->frame;
	size_t want = x->has_ended ? MIN(p->left, (size_t)AGENT_FRAME_MAX) : AGENT_FRAME_MAX;
	struct agent_frame head;
	ssize_t n = 0;

	if (want) {
		do
			n = read(p->watch.fd, frame + sizeof(head), want);
		while (n < 0 && errno == EINTR);
		if (n < 0 && errno == EAGAIN && !x->has_ended)
			return 0;
	}
	if (n <= 0) {
		pipe_close(p);
		return 0;
	}
	p->left -= x->has_ended ? (size_t)n : 0;
	frame_head(&head, p->type, (uint32_t)n);
	memcpy(frame, &head, sizeof(head));
	return wire_push(x->wire, frame, sizeof(head) + (size_t)n);
}

static void output_ready(struct loop_watch *w, unsigned events)
{
	struct exec_pipe *p = container_of(w, struct exec_pipe, watch);

	(void)events;
	if (wire_is_clear(p->exec->wire))
		p->exec->failure = pipe_forward(p);
	else
		pipe_unwatch(p);
	p->exec->moved(p->exec);
}

/* ---- standard input ----------------------------------------------------------------------- */

/* Writes to the process. Returns how much it took; all of it when it will never read again. */
static size_t input_write(struct exec *x, const uint8_t *data, size_t bytes)
{
	size_t at = 0;

	while (at < bytes && x->in.watch.fd >= 0) {
		ssize_t n = write(x->in.watch.fd, data + at, bytes - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return at;
		if (n < 0)
			pipe_close(&x->in);
		else
			at += (size_t)n;
	}
	return bytes;
}

static void input_took(struct exec *x, size_t bytes)
{
	size_t foreign = MIN(bytes, x->foreign);

	x->foreign -= foreign;
	x->taken += (uint32_t)(bytes - foreign);
	buf_consume(&x->input, bytes);
	if (x->input.bytes)
		return;
	buf_fini(&x->input);
	pipe_unwatch(&x->in);
	if (x->is_input_over)
		pipe_close(&x->in);
}

static void input_ready(struct loop_watch *w, unsigned events)
{
	struct exec *x = container_of(w, struct exec, in.watch);

	(void)events;
	input_took(x, input_write(x, x->input.data, x->input.bytes));
	x->moved(x);
}

static int watch_input(struct exec *x)
{
	return x->host->is_held || !x->input.bytes ? 0 : pipe_watch(&x->in, LOOP_WRITE);
}

int exec_input(struct exec *x, const void *data, size_t bytes, struct err *e)
{
	const uint8_t *at = data;
	bool is_open = x->has_input && !x->is_input_over;
	size_t n;

	if (!is_open && !x->is_attached)
		return err_set(e, -EPROTO, "standard input that was not announced or is over");
	if (bytes > AGENT_STDIN_WINDOW - x->under_way)
		return err_set(e, -EPROTO, "standard input beyond the window of %d bytes",
			AGENT_STDIN_WINDOW);
	x->under_way += (uint32_t)bytes;
	if (!x->input.bytes && (!x->host->is_held || x->in.watch.fd < 0)) {
		n = input_write(x, at, bytes);
		x->taken += (uint32_t)n;
		at += n;
		bytes -= n;
	}
	if (!bytes)
		return 0;
	if (buf_append(&x->input, at, bytes) < 0 || watch_input(x) < 0)
		return err_set(e, -ENOMEM, "the guest has no memory for standard input");
	return 0;
}

int exec_input_over(struct exec *x, struct err *e)
{
	if ((!x->has_input || x->is_input_over) && x->is_attached)
		return 0;
	if (!x->has_input || x->is_input_over)
		return err_set(e, -EPROTO, "an end of standard input that was not open");
	x->is_input_over = true;
	if (!x->input.bytes)
		pipe_close(&x->in);
	return 0;
}

static int acknowledge(struct exec *x)
{
	struct agent_u32 taken = {x->taken};

	if (!x->taken || !wire_is_clear(x->wire))
		return 0;
	x->under_way -= x->taken;
	x->taken = 0;
	return wire_queue(x->wire, AGENT_STDIN_TAKEN, &taken, sizeof(taken));
}

/* ---- start -------------------------------------------------------------------------------- */

static int open_pipe(
	struct exec_pipe *p, bool is_wanted, bool is_input, int null_fd, int *ret_child_fd)
{
	int fds[2];

	if (!is_wanted) {
		*ret_child_fd = null_fd;
		return 0;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	p->watch.fd = fds[is_input];
	*ret_child_fd = fds[!is_input];
	return fd_set_nonblocking(p->watch.fd, true);
}

static void close_child_ends(struct exec *x, const int fds[3])
{
	for (int i = 0; i < 3; i++)
		if (fds[i] >= 0 && fds[i] != x->host->null_fd)
			close(fds[i]);
}

static int open_pipes(struct exec *x, uint32_t flags, int fds[3])
{
	int null_fd = x->host->null_fd;
	int r = open_pipe(&x->in, flags & AGENT_EXEC_STDIN, true, null_fd, &fds[0]);

	if (r == 0)
		r = open_pipe(&x->out, flags & AGENT_EXEC_STDOUT, false, null_fd, &fds[1]);
	if (r == 0)
		r = open_pipe(&x->err, flags & AGENT_EXEC_STDERR, false, null_fd, &fds[2]);
	return r;
}

static int spawn_in_group(struct workload *w, struct spawn *s, struct err *e)
{
	int r;

	s->cgroup_fd = w ? workload_fd(w) : -1;
	r = spawn_run(s, e);
	if (r != -EBUSY || s->stage != AGENT_STAGE_SPAWN || !w || workload_use_leaf(w) < 0)
		return r;
	s->cgroup_fd = workload_fd(w);
	return spawn_run(s, e);
}

/* Starts the process between its pipes' far ends, which are closed here in any case. */
static int run(struct exec *x, struct spawn *s, uint32_t flags, int *ret_stage, struct err *e)
{
	int r;

	s->fds[0] = s->fds[1] = s->fds[2] = -1;
	r = open_pipes(x, flags, s->fds);
	if (r < 0) {
		*ret_stage = AGENT_STAGE_SPAWN;
		err_set(e, r, "no pipes for the command: %s", strerror(-r));
	} else {
		r = spawn_in_group(x->host->workload, s, e);
		*ret_stage = s->stage;
	}
	close_child_ends(x, s->fds);
	return r;
}

/* Everything that is looked up in the image before the process is made. */
static int prepare(struct request *q, struct user *user, char home[HOME_BYTES], struct spawn *s,
	int *ret_stage, struct err *e)
{
	int r = user_resolve(q->user, user, e);

	*ret_stage = AGENT_STAGE_USER;
	if (r < 0)
		return r;
	*ret_stage = AGENT_STAGE_CWD;
	r = file_make_dirs(q->cwd, 0755);
	if (r < 0)
		return err_set(e, r, "working directory \"%.150s\" cannot be made: %s", q->cwd,
			strerror(-r));
	if (!request_env(q, "HOME")) {
		snprintf(home, HOME_BYTES, "HOME=%s", user->home);
		q->envp[q->n_env++] = home;
		q->envp[q->n_env] = NULL;
	}
	s->argv = q->argv;
	s->envp = q->envp;
	s->cwd = q->cwd;
	s->user = user;
	s->path = request_env(q, "PATH");
	if (!s->path || !*s->path)
		s->path = DEFAULT_PATH;
	return 0;
}

static struct exec *make(struct exec_host *host, struct wire *wire, void (*moved)(struct exec *x))
{
	struct exec *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->host = host;
	x->wire = wire;
	x->moved = moved;
	x->in = (struct exec_pipe){.watch = {-1, input_ready}, .exec = x};
	x->out = (struct exec_pipe){.watch = {-1, output_ready}, .exec = x, .type = AGENT_STDOUT};
	x->err = (struct exec_pipe){.watch = {-1, output_ready}, .exec = x, .type = AGENT_STDERR};
	buf_init(&x->input, AGENT_STDIN_WINDOW);
	return x;
}

int exec_start(struct exec_host *host, struct wire *wire, struct request *q,
	void (*moved)(struct exec *x), struct exec **ret, int *ret_stage, struct err *e)
{
	struct exec *x = make(host, wire, moved);
	struct agent_u32 started;
	char home[HOME_BYTES];
	struct spawn s;
	struct user user;
	int r;

	*ret_stage = AGENT_STAGE_SPAWN;
	if (!x)
		return err_set(e, -ENOMEM, "the guest has no memory for another command");
	x->has_input = q->flags & AGENT_EXEC_STDIN;
	r = prepare(q, &user, home, &s, ret_stage, e);
	if (r == 0)
		r = run(x, &s, q->flags, ret_stage, e);
	if (r < 0) {
		exec_free(x);
		return r;
	}
	x->pid = r;
	started.value = (uint32_t)x->pid;
	if (wire_queue(wire, AGENT_STARTED, &started, sizeof(started)) < 0) {
		*ret_stage = AGENT_STAGE_SPAWN;
		exec_free(x);
		return err_set(e, -ENOMEM, "the guest has no memory for another command");
	}
	*ret = x;
	return 0;
}

void exec_free(struct exec *x)
{
	if (!x)
		return;
	if (x->pid > 0 && !x->has_ended)
		kill(-x->pid, SIGKILL);
	pipe_close(&x->in);
	pipe_close(&x->out);
	pipe_close(&x->err);
	buf_fini(&x->input);
	free(x);
}

/* ---- rest --------------------------------------------------------------------------------- */

void exec_hold(struct exec *x)
{
	pipe_unwatch(&x->in);
	pipe_unwatch(&x->out);
	pipe_unwatch(&x->err);
}

void exec_release(struct exec *x)
{
	/* When there is no memory to watch it, the next input tries again. */
	(void)!watch_input(x);
}

void exec_detach(struct exec *x)
{
	exec_hold(x);
	x->wire = NULL;
	x->moved = NULL;
	x->failure = 0;
	x->taken = x->under_way = 0;
	x->foreign = x->input.bytes;
}

int exec_attach(struct exec *x, struct wire *wire, void (*moved)(struct exec *x))
{
	struct agent_u32 started = {(uint32_t)x->pid};
	int r = wire_queue(wire, AGENT_STARTED, &started, sizeof(started));

	if (r < 0)
		return r;
	x->wire = wire;
	x->moved = moved;
	x->is_attached = true;
	x->is_lost = false;
	/* The host has a whole window again. */
	x->input.ceiling = x->foreign + AGENT_STDIN_WINDOW;
	exec_release(x);
	return 0;
}

/* ---- run and end -------------------------------------------------------------------------- */

int exec_signal(struct exec *x, uint32_t number, struct err *e)
{
	if (number < 1 || number > 64) /* _NSIG on all Linux architectures but MIPS */
		return err_set(e, -EPROTO, "there is no signal %u", number);
	if (!x->has_ended)
		kill(-x->pid, (int)number);
	return 0;
}

static uint64_t microseconds(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_usec;
}

/* What is in the pipe now is the process's; what comes later is of somebody who inherited it. */
static void mark_left(struct exec_pipe *p)
{
	int bytes = 0;

	pipe_unwatch(p);
	if (p->watch.fd >= 0 && ioctl(p->watch.fd, FIONREAD, &bytes) == 0 && bytes > 0)
		p->left = (size_t)bytes;
}

void exec_ended(struct exec *x, int status, const struct rusage *usage)
{
	bool is_signal = WIFSIGNALED(status);

	x->has_ended = true;
	x->exit = (struct agent_exit){
		.status = is_signal ? -1 : WEXITSTATUS(status),
		.signal = is_signal ? WTERMSIG(status) : 0,
		.user_us = microseconds(usage->ru_utime),
		.system_us = microseconds(usage->ru_stime),
		.peak_rss_bytes = (uint64_t)usage->ru_maxrss * 1024,
	};
	mark_left(&x->out);
	mark_left(&x->err);
	/* Nobody reads input any more: all of it counts as taken. */
	pipe_close(&x->in);
	input_took(x, x->input.bytes);
}

static int pump_rest(struct exec *x)
{
	struct exec_pipe *const pipes[] = {&x->out, &x->err};

	for (size_t i = 0; i < ARRAY_LEN(pipes); i++) {
		while (pipes[i]->watch.fd >= 0) {
			int r;

			if (!wire_is_clear(x->wire))
				return 0;
			r = pipe_forward(pipes[i]);
			if (r < 0)
				return r;
		}
	}
	x->is_done = true;
	return wire_queue(x->wire, AGENT_EXIT, &x->exit, sizeof(x->exit));
}

int exec_pump(struct exec *x)
{
	int r = x->failure;

	if (r < 0 || x->is_done || x->host->is_held)
		return r;
	r = acknowledge(x);
	if (r < 0)
		return r;
	if (x->has_ended)
		return pump_rest(x);
	if (!wire_is_clear(x->wire))
		return 0;
	r = pipe_watch(&x->out, LOOP_READ);
	return r < 0 ? r : pipe_watch(&x->err, LOOP_READ);
}
