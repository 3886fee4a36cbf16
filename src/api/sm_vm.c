// SPDX-License-Identifier: Apache-2.0
/* A VM after its start, to its end: one VMM process each. Any thread. */
#include <errno.h>
#include <string.h>

#include "api/channel.h"
#include "api/console.h"
#include "api/error.h"
#include "api/options.h"
#include "api/vmstart.h"
#include "base/clock.h"

enum {
	GRACE_MS = 10000,
	POWEROFF_MS = 10000, /* after the grace: file systems written, power off */
};

void sm_vm_timings(const struct sm_vm *vm, struct sm_start_timings *ret)
{
	*ret = vm->timings;
}

int sm_vm_pid(const struct sm_vm *vm)
{
	return vm->link.child.pid;
}

/* ---- end ----------------------------------------------------------------------------------- */

/* How an ended VM looks to stop and wait: powered off, or why not. */
static int ended(struct sm_vm *vm, struct err *e)
{
	int r;

	link_reap(&vm->link);
	if (vm->link.end_reason == CTL_END_POWEROFF)
		return 0;
	r = link_end_error(&vm->link, e);
	err_object(e, "VM %s", vm->name);
	return r;
}

static void kill_and_wait(struct sm_vm *vm, const char *cause)
{
	link_kill(&vm->link, cause);
	(void)link_wait(&vm->link, LINK_ENDED, UINT64_MAX);
	link_reap(&vm->link);
}

/* Asks the agent; its answer only says that it will. 0 also when the VM went meanwhile. */
static int ask_shutdown(struct sm_vm *vm, uint32_t grace_ms, uint64_t deadline, struct err *e)
{
	struct agent_shutdown m = {.grace_ms = grace_ms};
	const uint8_t *payload;
	struct agent_frame f;
	struct channel c;
	int r;

	r = channel_open(&c, &vm->link, e);
	if (r < 0)
		return r == -ESHUTDOWN ? 0 : r;
	r = channel_put(&c, AGENT_SHUTDOWN, &m, sizeof(m));
	if (r == 0 || r == -EPIPE)
		r = channel_wait(&c, deadline, &f, &payload, e);
	else
		err_set(e, r, "no memory for a message");
	if (r > 0 && f.type != AGENT_DONE)
		r = err_set(e, -EPROTO, "the guest's agent refused to shut down");
	channel_close(&c);
	return r == -ENODATA || r > 0 ? 0 : r;
}

static int stop_gently(struct sm_vm *vm, int64_t grace_ms, struct err *e)
{
	uint64_t deadline = clock_deadline_ns(grace_ms + POWEROFF_MS);
	struct err why = {0};
	int r = ask_shutdown(vm, (uint32_t)MIN(grace_ms, (int64_t)UINT32_MAX), deadline, &why);

	if (r == 0 && (link_wait(&vm->link, LINK_ENDED, deadline) & LINK_ENDED))
		return ended(vm, e);
	if (link_wait(&vm->link, LINK_ENDED, 0) & LINK_ENDED)
		return ended(vm, e);
	kill_and_wait(vm, "it was killed because it did not power off when asked");
	err_set(e, -ETIMEDOUT, "the guest did not power off within %lld ms%s%s and was killed",
		(long long)grace_ms + POWEROFF_MS, why.cause[0] ? ": " : "", why.cause);
	err_object(e, "VM %s", vm->name);
	return err_remedy(e, "what was not written to its disks is lost; give it more grace_ms");
}

int sm_vm_stop(struct sm_vm *vm, const struct sm_stop_options *options, struct sm_error *err)
{
	struct sm_stop_options o;
	struct err e = {0};
	int r;

	r = options_copy(&o, sizeof(o), sizeof(o), options, "struct sm_stop_options", &e);
	if (r < 0)
		return error_out(err, &e);
	if (link_wait(&vm->link, LINK_ENDED, 0) & LINK_ENDED) {
		r = ended(vm, &e);
	} else if (o.is_forced) {
		kill_and_wait(vm, "it was stopped by force");
		r = 0;
	} else {
		if (o.grace_ms <= 0 || o.grace_ms > INT32_MAX)
			o.grace_ms = o.grace_ms > 0 ? INT32_MAX : GRACE_MS;
		r = stop_gently(vm, o.grace_ms, &e);
	}
	return r < 0 ? error_out(err, &e) : 0;
}

int sm_vm_wait(struct sm_vm *vm, int64_t timeout_ms, struct sm_error *err)
{
	struct err e = {0};
	int r;

	if (link_wait(&vm->link, LINK_ENDED, clock_deadline_ns(timeout_ms)) & LINK_ENDED) {
		r = ended(vm, &e);
		return r < 0 ? error_out(err, &e) : 0;
	}
	err_set(&e, -ETIMEDOUT, "it still runs");
	err_object(&e, "VM %s", vm->name);
	return error_out(err, &e);
}

void sm_vm_close(struct sm_vm *vm)
{
	vm_free(vm);
}

/* ---- the rest ------------------------------------------------------------------------------ */

int sm_vm_logs(struct sm_vm *vm, char *out, size_t out_bytes, struct sm_error *err)
{
	ssize_t n = console_tail(vm->console_fd, out, out_bytes);
	struct err e = {0};

	if (n >= 0)
		return (int)n;
	err_set(&e, (int)n, "cannot read the console log: %s", strerror((int)-n));
	err_object(&e, "VM %s", vm->name);
	return error_out(err, &e);
}

int sm_vm_set_balloon(struct sm_vm *vm, uint64_t target_bytes, struct sm_error *err)
{
	struct ctl_balloon m = {.target_bytes = target_bytes};
	struct err e = {0};
	int r;

	if (target_bytes > vm->machine.memory_bytes) {
		err_set(&e, -EINVAL, "it has %llu bytes of memory and cannot give %llu back",
			(unsigned long long)vm->machine.memory_bytes,
			(unsigned long long)target_bytes);
		r = err_object(&e, "VM %s", vm->name);
		return error_out(err, &e);
	}
	r = link_send(&vm->link, &m, sizeof(m), CTL_BALLOON, NULL, 0, &e);
	if (r == -ESHUTDOWN)
		r = link_gone_error(&vm->link, link_epoch(&vm->link), &e);
	if (r < 0)
		err_object(&e, "VM %s", vm->name);
	return r < 0 ? error_out(err, &e) : 0;
}
