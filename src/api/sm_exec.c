// SPDX-License-Identifier: Apache-2.0
/* Commands in a VM for the public header: started, signalled, waited for. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "api/agent_call.h"
#include "api/error.h"
#include "api/exec.h"
#include "api/handles.h"
#include "api/options.h"
#include "api/request.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/le.h"

enum {
	START_TIMEOUT_MS = 60000,
	SIGNAL_TIMEOUT_MS = 10000,
	SIGNAL_MAX = 64,
};

/* ---- streams ------------------------------------------------------------------------------- */

static int fd_kind(int fd, enum exec_fd_kind *ret)
{
	struct stat st;

	if (fd < 0) {
		*ret = EXEC_FD_NULL;
		return 0;
	}
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = S_ISREG(st.st_mode)    ? EXEC_FD_PLAIN
	       : S_ISSOCK(st.st_mode) ? EXEC_FD_SOCKET
				      : EXEC_FD_PIPE;
	return 0;
}

static int set_streams(struct sm_exec *x, const struct sm_exec_options *o,
	const struct exec_input *input, struct err *e)
{
	static const char *const names[] = {"standard output", "standard error"};
	const int fds[] = {o->stdout_fd, o->stderr_fd};
	const sm_write_fn writes[] = {o->on_stdout, o->on_stderr};
	enum exec_fd_kind kind;

	for (int i = 0; i < 2; i++) {
		struct exec_output *s = &x->outputs[i];

		s->name = names[i];
		s->fd = o->use_fds ? fds[i] : -1;
		s->write = o->use_fds ? NULL : writes[i];
		if (fd_kind(s->fd, &s->kind) < 0)
			goto bad;
	}
	x->context = o->context;
	x->input.fd = -1;
	if (input) {
		x->input = *input;
	} else if (o->use_fds && o->stdin_fd >= 0) {
		x->input.fd = o->stdin_fd;
		x->input.is_open = true;
		if (fd_kind(o->stdin_fd, &kind) < 0)
			goto bad;
	}
	return 0;
bad:
	err_sys(e, "a descriptor given for a stream of the command is not open");
	return err_remedy(e, "give SM_FD_NULL for a stream that is not wanted");
}

static uint32_t stream_flags(const struct sm_exec *x)
{
	uint32_t flags = x->input.is_open ? AGENT_EXEC_STDIN : 0;

	if (x->outputs[0].fd >= 0 || x->outputs[0].write)
		flags |= AGENT_EXEC_STDOUT;
	if (x->outputs[1].fd >= 0 || x->outputs[1].write)
		flags |= AGENT_EXEC_STDERR;
	return flags;
}

/* ---- start --------------------------------------------------------------------------------- */

/* What a person looks for in an error: the command as it was named. */
static void set_label(struct sm_exec *x, const struct buf *request)
{
	struct agent_field f;
	size_t n;

	/* The first field is argv[0]: the request is our own. */
	memcpy(&f, request->data, sizeof(f));
	n = MIN((size_t)f.bytes, sizeof(x->label) - 1);
	memcpy(x->label, request->data + sizeof(f), n);
}

static int refused(
	struct sm_exec *x, const uint8_t *payload, size_t bytes, uint32_t *ret_stage, struct err *e)
{
	struct agent_failed m;

	if (bytes != sizeof(m))
		return err_set(e, -EPROTO, "the guest's agent refused without a reason");
	memcpy(&m, payload, sizeof(m));
	m.cause[sizeof(m.cause) - 1] = '\0';
	if (m.code >= 0 || m.code < -4095)
		m.code = -EIO;
	*ret_stage = m.stage;
	if (m.stage == AGENT_STAGE_EXEC && (m.code == -ENOENT || m.code == -ENOTDIR))
		err_set(e, -ENOENT, "%s", m.cause[0] ? m.cause : "no such command in the image");
	else
		err_set(e, m.code, "%s", m.cause[0] ? m.cause : strerror(-m.code));
	err_object(e, "%s", x->label);
	return m.code;
}

static int started(struct sm_exec *x, uint32_t pid, struct err *e)
{
	if (!pid || pid > INT32_MAX)
		return err_set(e, -EPROTO, "the guest's agent answered with an impossible process");
	x->pid = (int)pid;
	commands_add(&x->vm->commands, x->pid, x->label);
	return 0;
}

static int await_start(struct sm_exec *x, uint32_t *ret_stage, struct err *e)
{
	const uint8_t *payload;
	struct agent_frame f;
	int r = channel_wait(&x->channel, clock_deadline_ns(START_TIMEOUT_MS), &f, &payload, e);

	if (r == -ENODATA)
		return channel_gone_error(&x->channel, e);
	if (r < 0)
		return r;
	if (f.type == AGENT_STARTED && f.bytes == sizeof(struct agent_u32))
		return started(x, le32_load(payload), e);
	if (f.type == AGENT_FAILED)
		return refused(x, payload, f.bytes, ret_stage, e);
	return err_set(e, -EPROTO, "the guest's agent answered with something else");
}

static int ask(
	struct sm_exec *x, const char *const *argv, const struct sm_exec_options *o, struct err *e)
{
	autobuf struct buf request;
	int r;

	buf_init(&request, AGENT_REQUEST_MAX);
	r = request_encode(&request, &x->vm->image->image->config, argv, o, stream_flags(x), e);
	if (r < 0)
		return r;
	set_label(x, &request);
	r = channel_open(&x->channel, &x->vm->link, e);
	if (r == -ESHUTDOWN)
		return link_gone_error(&x->vm->link, link_epoch(&x->vm->link), e);
	if (r < 0)
		return r;
	r = channel_put(&x->channel, AGENT_EXEC, request.data, request.bytes);
	return r < 0 && r != -EPIPE ? err_set(e, r, "no memory for the command") : 0;
}

int exec_open(struct sm_vm *vm, const char *const *argv, const struct sm_exec_options *o,
	const struct exec_input *input, struct sm_exec **ret, uint32_t *ret_stage, struct err *e)
{
	struct sm_exec *x = calloc(1, sizeof(*x));
	int r;

	*ret_stage = 0;
	if (!x)
		return err_set(e, -ENOMEM, "no memory for a command");
	x->vm = vm;
	x->channel.fd = -1;
	r = set_streams(x, o, input, e);
	if (r == 0)
		r = ask(x, argv, o, e);
	if (r == 0)
		r = await_start(x, ret_stage, e);
	if (r == 0) {
		*ret = x;
		return 0;
	}
	err_object(e, "VM %s", vm->name);
	sm_exec_close(x);
	return r;
}

enum sm_code exec_error_code(uint32_t stage, const struct err *e)
{
	enum sm_code code = error_code(e->code);

	if (stage == AGENT_STAGE_EXEC)
		return code == SM_E_NOT_FOUND ? code : SM_E_EXEC;
	/* "Not found" is said of commands: an unknown user or directory is a wrong option. */
	return stage && code == SM_E_NOT_FOUND ? SM_E_INVALID : code;
}

int sm_exec_start(struct sm_vm *vm, const char *const *argv, const struct sm_exec_options *options,
	struct sm_exec **ret, struct sm_error *err)
{
	struct sm_exec_options o;
	struct err e = {0};
	uint32_t stage = 0;
	int r;

	r = options_copy(&o, sizeof(o), sizeof(o), options, "struct sm_exec_options", &e);
	if (r == 0)
		r = exec_open(vm, argv, &o, NULL, ret, &stage, &e);
	if (r == 0)
		return 0;
	return error_out_as(err, &e, exec_error_code(stage, &e));
}

/* ---- attach -------------------------------------------------------------------------------- */

static int open_attached(struct sm_vm *vm, uint32_t pid, const struct sm_exec_options *o,
	struct sm_exec *x, struct err *e)
{
	const struct exec_input none = {.fd = -1};
	struct agent_u32 m = {.value = pid};
	uint32_t stage;
	int r = set_streams(x, o, &none, e);

	if (pid)
		snprintf(x->label, sizeof(x->label), "process %u", pid);
	else
		snprintf(x->label, sizeof(x->label), "the workload");
	if (r == 0)
		r = agent_call(&x->channel, &vm->link, AGENT_ATTACH, &m, sizeof(m), e);
	return r < 0 ? r : await_start(x, &stage, e);
}

int sm_vm_attach(struct sm_vm *vm, int pid, const struct sm_exec_options *options,
	struct sm_exec **ret, struct sm_error *err)
{
	struct sm_exec *x = calloc(1, sizeof(*x));
	struct sm_exec_options o;
	struct err e = {0};
	int r = options_copy(&o, sizeof(o), sizeof(o), options, "struct sm_exec_options", &e);

	if (r == 0 && !x)
		r = err_set(&e, -ENOMEM, "no memory for a command");
	if (r == 0 && pid < 0)
		r = err_set(&e, -EINVAL, "there is no process %d", pid);
	if (r == 0) {
		x->vm = vm;
		x->channel.fd = -1;
		r = open_attached(vm, (uint32_t)pid, &o, x, &e);
	}
	if (r == 0) {
		*ret = x;
		return 0;
	}
	err_object(&e, "VM %s", vm->name);
	if (x && x->vm)
		sm_exec_close(x);
	else
		free(x);
	return error_out(err, &e);
}

/* ---- wait, signal, close ------------------------------------------------------------------- */

int sm_exec_wait(struct sm_exec *x, int64_t timeout_ms, struct sm_exit *ret, struct sm_error *err)
{
	struct err e = {0};
	int r;

	if (atomic_flag_test_and_set(&x->is_pumping)) {
		err_set(&e, -EBUSY, "another thread waits for it already");
		err_object(&e, "%s", x->label);
		return error_out(err, &e);
	}
	r = pump_run(x, clock_deadline_ns(timeout_ms), &e);
	if (r == 0 && ret)
		*ret = x->exit;
	atomic_flag_clear(&x->is_pumping);
	if (r == 0)
		return 0;
	err_object(&e, "%s", x->label);
	return error_out(err, &e);
}

int exec_signal(struct sm_exec *x, int number, struct err *e)
{
	struct agent_u32 m = {.value = (uint32_t)number};
	uint64_t deadline = clock_deadline_ns(SIGNAL_TIMEOUT_MS);
	struct pollfd p = {.fd = x->channel.fd, .events = POLLOUT};
	ssize_t left;
	int r = channel_put(&x->channel, AGENT_SIGNAL, &m, sizeof(m));

	if (r < 0 && r != -EPIPE)
		return err_set(e, r, "no memory for a message");
	/* Input is windowed, so that the agent always gets to read this. */
	while (r == 0 && (left = channel_flush(&x->channel)) != 0) {
		if (left < 0)
			r = (int)left;
		else if (poll(&p, 1, clock_left_ms(deadline)) == 0)
			return err_set(e, -ETIMEDOUT, "the guest's agent does not read");
	}
	return r == -EPIPE ? channel_gone_error(&x->channel, e) : 0;
}

int sm_exec_signal(struct sm_exec *x, int signal_number, struct sm_error *err)
{
	struct err e = {0};
	int r;

	if (signal_number < 1 || signal_number > SIGNAL_MAX)
		r = err_set(&e, -EINVAL, "there is no signal %d", signal_number);
	else if (atomic_load(&x->has_exit))
		r = err_set(&e, -ENOENT, "it has ended already");
	else
		r = exec_signal(x, signal_number, &e);
	if (r == 0)
		return 0;
	err_object(&e, "%s", x->label);
	return error_out(err, &e);
}

void exec_forget(struct sm_exec *x)
{
	/* After a rollback the pid is that of what ran in the snapshot. */
	if (x->pid && link_epoch(&x->vm->link) == x->channel.epoch)
		commands_remove(&x->vm->commands, x->pid);
	x->pid = 0;
}

void exec_leave(struct sm_exec *x)
{
	x->pid = 0;
	sm_exec_close(x);
}

void sm_exec_close(struct sm_exec *x)
{
	if (!x)
		return;
	exec_forget(x);
	channel_close(&x->channel);
	free(x);
}
