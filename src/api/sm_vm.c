// SPDX-License-Identifier: Apache-2.0
/* A VM from its start to its end: one VMM process each. Any thread. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "api/boot.h"
#include "api/channel.h"
#include "api/console.h"
#include "api/error.h"
#include "api/handles.h"
#include "api/options.h"
#include "api/parts.h"
#include "base/alloc.h"
#include "base/clock.h"

enum {
	VCPUS_MAX = CTL_VCPUS_MAX,
	BOOT_TIMEOUT_MS = 60000,
	GRACE_MS = 10000,
	POWEROFF_MS = 10000, /* after the grace: file systems written, power off */
};

#define MIB	   ((uint64_t)1 << 20)
#define MEMORY_MIN (32 * MIB)
#define MEMORY_MAX (MIB << 20)
#define MEMORY	   (512 * MIB)

/* ---- options ------------------------------------------------------------------------------- */

static int check_options(struct sm_vm_options *o, struct err *e)
{
	if (!o->vcpus)
		o->vcpus = 1;
	if (o->vcpus > VCPUS_MAX) {
		err_set(e, -EINVAL, "a VM has 1 to %d vCPUs, not %u", VCPUS_MAX, o->vcpus);
		err_object(e, "vcpus");
		return err_remedy(e, "ask for at most %d", VCPUS_MAX);
	}
	if (!o->memory_bytes)
		o->memory_bytes = MEMORY;
	if (o->memory_bytes < MEMORY_MIN || o->memory_bytes > MEMORY_MAX) {
		err_set(e, -EINVAL, "a VM has 32 MiB to 1 TiB of memory, not %llu bytes",
			(unsigned long long)o->memory_bytes);
		err_object(e, "memory");
		return err_remedy(e, "ask for at least 32 MiB; 512 MiB is the default");
	}
	o->memory_bytes = ALIGN_UP(o->memory_bytes, 2 * MIB);
	if (!o->boot_timeout_ms)
		o->boot_timeout_ms = BOOT_TIMEOUT_MS;
	return 0;
}

static int choose_name(char *out, size_t room, const char *wanted, struct err *e)
{
	uint32_t random;

	if (!wanted || !*wanted) {
		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			return err_sys(e, "read random bytes");
		snprintf(out, room, "sm-%08x", random);
		return 0;
	}
	if (strlen(wanted) >= room) {
		err_set(e, -EINVAL, "this name has more than %zu characters", room - 1);
		return err_object(e, "%.64s…", wanted);
	}
	memcpy(out, wanted, strlen(wanted) + 1);
	return 0;
}

/* ---- start --------------------------------------------------------------------------------- */

static int no_answer(struct sm_vm *vm, const struct sm_vm_options *o, struct err *e)
{
	char tail[208];

	console_summary(vm->console_fd, tail, sizeof(tail));
	if (vm->link.is_stray_agent)
		return err_set(e, -EPROTO,
			"the guest's agent sent nonsense; library and "
			"initramfs.cpio may be of different builds");
	err_set(e, -ETIMEDOUT, "the guest's agent did not answer within %lld ms; %s%s%s",
		(long long)o->boot_timeout_ms, tail[0] ? "console: \"" : "nothing on the console",
		tail, tail[0] ? "\"" : "");
	return err_remedy(e, "give it more time (boot_timeout_ms), or look whether the kernel has "
			     "what the guest needs");
}

/* What the VMM says of "the kernel" is about the file that we gave it. */
static void name_kernel(struct err *e, const char *path)
{
	if (!strcmp(e->object, "kernel") || !strcmp(e->object, "guest kernel"))
		snprintf(e->object, sizeof(e->object), "%s", path);
}

static void note_timings(struct sm_vm *vm, uint64_t began_ns, uint64_t sent_ns)
{
	const struct ctl_running *m = &vm->link.running;
	const struct link *l = &vm->link;

	vm->timings = (struct sm_start_timings){
		.spawn_us = (sent_ns - began_ns) / 1000,
		.memory_us = m->timing_us[CTL_T_MEMORY],
		.hypervisor_us = m->timing_us[CTL_T_HYPERVISOR],
		.kernel_us = m->timing_us[CTL_T_KERNEL],
		.devices_us = m->timing_us[CTL_T_DEVICES],
		.vcpus_us = m->timing_us[CTL_T_VCPUS],
		.vmm_us = m->timing_us[CTL_T_TOTAL],
		.agent_us = l->ready_ns > l->running_ns ? (l->ready_ns - l->running_ns) / 1000 : 0,
		.total_us = (l->ready_ns - began_ns) / 1000,
	};
}

/* Hands the VMM what it needs and waits for the guest. link is open. */
static int boot(struct sm_vm *vm, struct boot *b, const struct sm_vm_options *o, uint64_t began_ns,
	struct err *e)
{
	uint64_t deadline = clock_deadline_ns(o->boot_timeout_ms), sent_ns;
	unsigned facts;
	int r;

	r = link_send(&vm->link, b->packet.data, b->packet.bytes, CTL_CONFIG, b->fds, b->n_fds, e);
	if (r < 0 && r != -ESHUTDOWN)
		return r;
	sent_ns = clock_now_ns();
	facts = link_wait(&vm->link, LINK_READY, deadline);
	if (facts & LINK_ENDED) {
		r = link_end_error(&vm->link, e);
		name_kernel(e, b->kernel);
		return r;
	}
	if (!(facts & LINK_READY))
		return no_answer(vm, o, e);
	note_timings(vm, began_ns, sent_ns);
	return 0;
}

static int start(struct sm_vm *vm, struct sm_vm_options *o, struct err *e)
{
	uint64_t began_ns = clock_now_ns();
	struct boot_request q = {.name = vm->name, .image = vm->image->image};
	autofree char *program = NULL;
	struct boot b;
	int r;

	vm->console_fd = console_new(e);
	if (vm->console_fd < 0)
		return vm->console_fd;
	q.memory_bytes = vm->memory_bytes = o->memory_bytes;
	q.vcpus = o->vcpus;
	q.kernel = o->kernel;
	q.cmdline = o->cmdline;
	q.console_fd = vm->console_fd;
	r = parts_find("supermachine-vmm", &program, e);
	if (r == 0)
		r = boot_prepare(&b, &q, e);
	if (r < 0)
		return r;
	r = link_open(&vm->link, program, vm->name, vm->console_fd, e);
	if (r == 0) {
		r = boot(vm, &b, o, began_ns, e);
		if (r < 0)
			link_close(&vm->link);
	}
	boot_fini(&b);
	return r;
}

int sm_vm_start(struct sm_image *image, const struct sm_vm_options *options, struct sm_vm **ret,
	struct sm_error *err)
{
	struct sm_vm_options o;
	struct err e = {0};
	struct sm_vm *vm = NULL;
	int r;

	r = options_copy(&o, sizeof(o), sizeof(o), options, "struct sm_vm_options", &e);
	if (r == 0 && o.failed_log && o.failed_log_bytes)
		o.failed_log[0] = '\0';
	if (r == 0)
		r = check_options(&o, &e);
	if (r == 0) {
		vm = calloc(1, sizeof(*vm));
		r = vm ? 0 : err_set(&e, -ENOMEM, "no memory for a VM");
	}
	if (r == 0)
		r = choose_name(vm->name, sizeof(vm->name), o.name, &e);
	if (r == 0) {
		vm->console_fd = -1;
		vm->image = image_ref(image);
		r = start(vm, &o, &e);
		if (r == 0) {
			*ret = vm;
			return 0;
		}
		err_object(&e, "VM %s", vm->name);
		if (vm->console_fd >= 0) {
			if (o.failed_log)
				(void)console_tail(
					vm->console_fd, o.failed_log, o.failed_log_bytes);
			close(vm->console_fd);
		}
		image_unref(vm->image);
	}
	free(vm);
	return error_out(err, &e);
}

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
	if (!vm)
		return;
	link_close(&vm->link);
	close(vm->console_fd);
	image_unref(vm->image);
	free(vm);
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

	if (target_bytes > vm->memory_bytes) {
		err_set(&e, -EINVAL, "it has %llu bytes of memory and cannot give %llu back",
			(unsigned long long)vm->memory_bytes, (unsigned long long)target_bytes);
		r = err_object(&e, "VM %s", vm->name);
		return error_out(err, &e);
	}
	r = link_send(&vm->link, &m, sizeof(m), CTL_BALLOON, NULL, 0, &e);
	if (r == -ESHUTDOWN)
		r = link_gone_error(&vm->link, &e);
	if (r < 0)
		err_object(&e, "VM %s", vm->name);
	return r < 0 ? error_out(err, &e) : 0;
}
