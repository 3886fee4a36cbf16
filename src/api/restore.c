// SPDX-License-Identifier: Apache-2.0
/*
 * The restore: one description is read, files are opened, one packet is sent. What can be known to
 * be wrong is found out before anything is started; no large file is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/boot.h"
#include "api/disk.h"
#include "api/parts.h"
#include "api/resume.h"
#include "api/snapdir.h"
#include "api/vmstart.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "oci/object.h"

/* ---- what the VMM is given ------------------------------------------------------------------ */

static int add_file(struct boot *b, const struct snapdir *d, bool of_base, const char *name,
	uint64_t bytes, struct err *e)
{
	int fd = snapdir_file(d, of_base, name, bytes, e);

	return fd < 0 ? fd : boot_add_fd(b, fd);
}

/* Pages that the guest is known to write at once are made the VM's own beforehand, which costs less
 * than its faults. Not having the list is no error; SUPERMACHINE_POPULATE=0 is for measuring. */
static uint32_t add_write_set(struct boot *b, const struct snapdir *d)
{
	const char *wanted = getenv("SUPERMACHINE_POPULATE");
	int fd;

	if (wanted && !strcmp(wanted, "0"))
		return 0;
	fd = snapdir_extra(d, "written");
	if (fd < 0)
		return 0;
	boot_add_fd(b, fd);
	return CTL_F_POPULATE;
}

static int add_memory(struct boot *b, const struct snapdir *d, uint32_t *flags, struct err *e)
{
	const struct snapshot *s = d->snapshot;
	int r = add_file(b, d, false, "state", s->state.bytes, e);

	*flags |= CTL_F_RESTORE;
	if (r == 0 && d->base) {
		*flags |= CTL_F_CHAIN;
		r = add_file(b, d, true, "memory", d->base->memory.bytes, e);
	}
	if (r == 0)
		r = add_file(b, d, false, "memory", s->memory.bytes, e);
	if (r == 0)
		*flags |= add_write_set(b, d);
	return r;
}

static int layer_missing(const struct snapshot *s, unsigned i, const char *what, struct err *e)
{
	err_set(e, -ENOENT, "layer %.19s… of its image %s", s->image->layers[i].digest, what);
	err_object(e, "image %.150s", s->image->reference);
	return err_remedy(e, "fetch it again: supermachine pull %.150s", s->image->reference);
}

static int add_layers(
	struct boot *b, const struct snapshot *s, const struct store *store, struct err *e)
{
	for (unsigned i = 0; i < s->image->n_layers; i++) {
		char name[OBJECT_NAME_BYTES];
		autofree char *path = NULL;
		struct digest digest;
		struct stat st;
		int fd, r;

		r = digest_parse(s->image->layers[i].digest, &digest, e);
		if (r < 0)
			return r;
		object_layer_name(&digest, name);
		if (asprintf(&path, "%s/%s", store_path(store), name) < 0) {
			path = NULL;
			return err_set(e, -ENOMEM, "no memory for a path");
		}
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			return layer_missing(s, i, "is not in the store", e);
		if (fd < 0) {
			err_sys(e, "cannot be opened");
			return err_object(e, "%s", path);
		}
		boot_add_fd(b, fd);
		if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != s->image->layers[i].bytes)
			return layer_missing(s, i, "is another file than it was", e);
	}
	b->n_layers = s->image->n_layers;
	return 0;
}

static int add_disk(struct boot *b, const struct snapdir *d, struct store *store, uint32_t *flags,
	bool *ret_is_snapshot, struct err *e)
{
	const struct snapshot *full = d->base ? d->base : d->snapshot;
	int fd, r;

	if (!full->machine.disk_bytes)
		return 0;
	*flags |= CTL_F_DISK;
	r = add_file(b, d, d->base != NULL, "disk", full->disk.bytes, e);
	if (r < 0)
		return r;
	fd = disk_open_delta(store, e);
	if (fd < 0) {
		*ret_is_snapshot = false;
		return fd;
	}
	boot_add_fd(b, fd);
	return d->base ? add_file(b, d, false, "disk", d->snapshot->disk.bytes, e) : 0;
}

static bool is_same_host(const struct snapshot *s)
{
	autofree char *here = s->boot_id ? snapshot_boot_id() : NULL;

	return here && !strcmp(here, s->boot_id);
}

/* In the order of proto/control.h; the device and the console log are there already. */
static int prepare(struct boot *b, const struct snapdir *d, struct store *store,
	bool *ret_is_snapshot, struct err *e)
{
	const struct machine *m = &d->snapshot->machine;
	struct ctl_config c = {
		.memory_bytes = m->memory_bytes,
		.vcpus = m->vcpus,
		.host_port_first = AGENT_EVENT_PORT,
		.host_port_count = 1,
	};
	int r = add_memory(b, d, &c.flags, e);

	if (is_same_host(d->snapshot))
		c.flags |= CTL_F_SAME_HOST;
	if (r == 0)
		r = add_layers(b, d->snapshot, store, e);
	if (r == 0)
		r = add_disk(b, d, store, &c.flags, ret_is_snapshot, e);
	if (r < 0)
		return r;
	c.n_layers = b->n_layers;
	r = buf_append(&b->packet, &c, sizeof(c));
	return r < 0 ? err_set(e, r, "no memory for the VM's configuration") : 0;
}

/* ---- the guest ------------------------------------------------------------------------------ */

int vm_resume(struct sm_vm *vm, uint64_t deadline_ns, struct err *e)
{
	struct agent_resumed m;
	int r = resume_run(&vm->link, &vm->identity, deadline_ns, &m, e);

	if (r == 0) {
		vm->timings.resume_guest_us = m.took_us;
		return 0;
	}
	link_kill(&vm->link, "it was killed because it could not be resumed safely");
	(void)link_wait(&vm->link, LINK_ENDED, UINT64_MAX);
	return r;
}

static void note_timings(struct sm_vm *vm, uint64_t began_ns, uint64_t sent_ns)
{
	const uint64_t *us = vm->link.running.timing_us;
	uint64_t ready_ns = vm->link.ready_ns, running_ns = vm->link.running_ns;

	vm->timings = (struct sm_start_timings){
		.spawn_us = (sent_ns - began_ns) / 1000,
		.memory_us = us[CTL_T_MEMORY],
		.hypervisor_us = us[CTL_T_HYPERVISOR],
		.devices_us = us[CTL_T_DEVICES],
		.vcpus_us = us[CTL_T_VCPUS],
		.vmm_us = us[CTL_T_TOTAL],
		.agent_us = (ready_ns - running_ns) / 1000,
		.total_us = (ready_ns - began_ns) / 1000,
		.is_restored = 1,
		.state_us = us[CTL_T_STATE],
		.ram_copy_us = us[CTL_T_RAM_COPY],
		.irqchip_us = us[CTL_T_IRQCHIP],
		.vcpu_restore_us = us[CTL_T_VCPU_STATE],
		.clock_us = us[CTL_T_CLOCK],
		.mmio_restore_us = us[CTL_T_MMIO],
		.listener_restore_us = us[CTL_T_LISTENERS],
		.resume_guest_us = vm->timings.resume_guest_us,
	};
}

static int run(struct sm_vm *vm, struct boot *b, const struct restore_request *q, uint64_t began_ns,
	struct err *e)
{
	uint64_t deadline = clock_deadline_ns(q->timeout_ms), sent_ns;
	unsigned facts;
	int r;

	r = link_send(&vm->link, b->packet.data, b->packet.bytes, CTL_CONFIG, b->fds, b->n_fds, e);
	if (r < 0 && r != -ESHUTDOWN)
		return r;
	sent_ns = clock_now_ns();
	facts = link_wait(&vm->link, LINK_RUNNING, deadline);
	if (facts & LINK_ENDED)
		return link_end_error(&vm->link, e);
	if (!(facts & LINK_RUNNING)) {
		err_set(e, -ETIMEDOUT, "the VM was not restored within %lld ms",
			(long long)q->timeout_ms);
		return err_remedy(e, "give it more time (boot_timeout_ms)");
	}
	r = vm_resume(vm, deadline, e);
	if (r == 0)
		note_timings(vm, began_ns, sent_ns);
	return r;
}

/* ---- the handle ----------------------------------------------------------------------------- */

/* What the VM is from now on, out of its description, which loses it. */
static int become(struct sm_vm *vm, const struct snapdir *d, struct err *e)
{
	struct snapshot *s = d->snapshot;

	for (unsigned i = 0; !vm->image->image && i < s->image->n_layers; i++) {
		char name[OBJECT_NAME_BYTES];
		struct digest digest;

		if (digest_parse(s->image->layers[i].digest, &digest, NULL) < 0)
			continue;
		object_layer_name(&digest, name);
		if (asprintf(&s->image->layers[i].path, "%s/%s", store_path(vm->image->store),
			    name) < 0) {
			s->image->layers[i].path = NULL;
			return err_set(e, -ENOMEM, "no memory for a path");
		}
	}
	if (!vm->image->image)
		vm->image->image = take_ptr(&s->image);
	vm->machine = s->machine;
	s->machine = (struct machine){0};
	memcpy(vm->origin_id, s->base_id[0] ? s->base_id : s->id, sizeof(vm->origin_id));
	if (s->n_commands) {
		vm->origin_commands = malloc(s->n_commands * sizeof(*vm->origin_commands));
		if (!vm->origin_commands)
			return err_set(e, -ENOMEM, "no memory for a VM");
		memcpy(vm->origin_commands, s->commands, s->n_commands * sizeof(s->commands[0]));
		vm->n_origin_commands = s->n_commands;
	}
	commands_set(&vm->commands, s->commands, s->n_commands);
	/* Nobody reads the link yet. */
	vm->link.is_restored = true;
	vm->link.n_listeners = s->n_listeners;
	memcpy(vm->link.listeners, s->listeners, s->n_listeners * sizeof(s->listeners[0]));
	return 0;
}

static int encode_identity(struct sm_vm *vm, const struct restore_request *q, struct err *e)
{
	const struct resume_identity id = {.name = vm->name,
		.index = q->clone_index,
		.count = q->clone_count,
		.env = q->clone_env};

	return resume_encode(&vm->identity, &id, e);
}

int vm_adopt(struct sm_vm *vm, const char *name, const struct restore_request *q, struct err *e)
{
	int r = vm_set_name(vm, name, e);

	if (r == 0)
		r = encode_identity(vm, q, e);
	return r < 0 ? r : vm_resume(vm, clock_deadline_ns(q->timeout_ms), e);
}

/* Spawns the VMM, which starts up while the rest is prepared, and hands it over. */
static int start(struct sm_vm *vm, const struct restore_request *q, const struct snapdir *d,
	struct boot *b, uint64_t began_ns, bool *ret_is_snapshot, struct err *e)
{
	autofree char *program = NULL;
	int r = parts_find("supermachine-vmm", &program, e);

	if (r == 0)
		r = boot_add_kvm(b, e);
	if (r == 0)
		r = boot_add_console(b, vm->console_fd, e);
	if (r == 0)
		r = link_open(&vm->link, program, vm->name, vm->console_fd, e);
	if (r < 0)
		return r;
	vm->has_link = true;
	*ret_is_snapshot = true;
	r = prepare(b, d, vm->image->store, ret_is_snapshot, e);
	if (r == 0)
		r = become(vm, d, e);
	return r < 0 ? r : run(vm, b, q, began_ns, e);
}

int vm_restore(
	struct sm_vm *vm, const struct restore_request *q, bool *ret_is_snapshot, struct err *e)
{
	uint64_t began_ns = clock_now_ns();
	struct snapdir d;
	struct boot b;
	int r;

	*ret_is_snapshot = false;
	r = encode_identity(vm, q, e);
	if (r < 0)
		return r;
	*ret_is_snapshot = true;
	r = snapdir_open(q->dir, q->is_trial ? SNAPDIR_TRIAL : 0, &d, e);
	if (r < 0)
		return r;
	r = snapdir_check_host(&d, e);
	if (r == 0) {
		*ret_is_snapshot = false;
		boot_init(&b);
		r = start(vm, q, &d, &b, began_ns, ret_is_snapshot, e);
		boot_fini(&b);
	}
	if (r < 0)
		err_object(e, "snapshot %.150s", q->dir);
	snapdir_close(&d);
	return r;
}
