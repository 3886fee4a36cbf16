// SPDX-License-Identifier: Apache-2.0
/* The handle, and the cold boot. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "api/boot.h"
#include "api/console.h"
#include "api/parts.h"
#include "api/resume.h"
#include "api/vmstart.h"
#include "base/alloc.h"
#include "base/clock.h"

/* ---- the handle ----------------------------------------------------------------------------- */

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
	return boot_check_name(out, e);
}

int vm_set_name(struct sm_vm *vm, const char *name, struct err *e)
{
	return choose_name(vm->name, sizeof(vm->name), name, e);
}

int vm_new(const char *name, struct sm_vm **ret, struct err *e)
{
	struct sm_vm *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return err_set(e, -ENOMEM, "no memory for a VM");
	(void)pthread_mutex_init(&vm->lock, NULL);
	commands_init(&vm->commands);
	buf_init(&vm->identity, RESUME_FIELDS_MAX);
	vm->console_fd = -1;
	r = vm_set_name(vm, name, e);
	if (r == 0)
		r = vm->console_fd = console_new(e);
	if (r < 0) {
		vm_free(vm);
		return r;
	}
	*ret = vm;
	return 0;
}

void vm_free(struct sm_vm *vm)
{
	if (!vm)
		return;
	if (vm->has_link)
		link_close(&vm->link);
	if (vm->console_fd >= 0)
		close(vm->console_fd);
	image_unref(vm->image);
	machine_fini(&vm->machine);
	buf_fini(&vm->identity);
	free(vm->origin_commands);
	commands_fini(&vm->commands);
	(void)pthread_mutex_destroy(&vm->lock);
	free(vm);
}

/* ---- boot ----------------------------------------------------------------------------------- */

static int no_answer(struct sm_vm *vm, int64_t timeout_ms, struct err *e)
{
	char tail[208];

	console_summary(vm->console_fd, tail, sizeof(tail));
	if (vm->link.is_stray_agent)
		return err_set(e, -EPROTO,
			"the guest's agent sent nonsense; library and "
			"initramfs.cpio may be of different builds");
	err_set(e, -ETIMEDOUT, "the guest's agent did not answer within %lld ms; %s%s%s",
		(long long)timeout_ms, tail[0] ? "console: \"" : "nothing on the console", tail,
		tail[0] ? "\"" : "");
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

/* Hands the VMM what it needs and waits for the guest. */
static int run(
	struct sm_vm *vm, struct boot *b, int64_t timeout_ms, uint64_t began_ns, struct err *e)
{
	uint64_t deadline = clock_deadline_ns(timeout_ms), sent_ns;
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
		return no_answer(vm, timeout_ms, e);
	note_timings(vm, began_ns, sent_ns);
	return 0;
}

/* Which kernel it became, for snapshots and bakes. */
static void note_kernel(struct machine *m, struct boot *b)
{
	free(m->kernel);
	m->kernel = take_ptr(&b->kernel);
	if (!file_identity_of(m->kernel, &m->kernel_file))
		m->kernel_file = (struct file_identity){0};
}

int vm_boot(struct sm_vm *vm, int64_t timeout_ms, struct err *e)
{
	uint64_t began_ns = clock_now_ns();
	struct boot_request q = {.machine = &vm->machine,
		.name = vm->name,
		.console_fd = vm->console_fd,
		.image = vm->image->image,
		.store = vm->image->store};
	autofree char *program = NULL;
	struct boot b;
	int r;

	r = parts_find("supermachine-vmm", &program, e);
	if (r == 0)
		r = boot_prepare(&b, &q, e);
	if (r < 0)
		return r;
	r = link_open(&vm->link, program, vm->name, vm->console_fd, e);
	if (r == 0) {
		vm->has_link = true;
		r = run(vm, &b, timeout_ms, began_ns, e);
	}
	if (r == 0)
		note_kernel(&vm->machine, &b);
	boot_fini(&b);
	return r;
}
