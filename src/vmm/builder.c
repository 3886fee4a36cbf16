// SPDX-License-Identifier: Apache-2.0
/*
 * vm_build: from a configuration to a machine that waits for vm_start, one flat list.
 *
 * The order is not a matter of taste: all memory slots come before anything that KVM registers on
 * its I/O bus (the interrupt controller, notify descriptors), since from Linux 6.18 on a slot that
 * changes after them waits for a grace period of milliseconds.
 *
 * A restored machine goes the same way: its memory is mapped instead of loaded, its vCPUs load
 * their state as they make themselves, and its devices theirs once they are there.
 */
#include "vmm/vm.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/layout.h"
#include "backend/disk.h"
#include "backend/vsock_mux.h"
#include "base/clock.h"
#include "base/fd.h"
#include "hv/hv.h"
#include "proto/bootcfg.h"
#include "arch/state.h"
#include "virtio/balloon.h"
#include "virtio/blk.h"
#include "virtio/mmio.h"
#include "virtio/rng.h"
#include "virtio/virtio.h"
#include "virtio/vsock.h"
#include "vmm/identity.h"

enum {
	GUEST_CID = 3,
	WRITE_SET_MAX = 1024, /* runs of pages that are populated before the guest asks */
};

_Static_assert(
	(int)POWER_RESET_VALUE == (int)LAYOUT_RESET_VALUE, "the tables and the device must agree");

/* The pages that the guest is known to write at once. Best effort. */
static void populate(struct vm *vm)
{
	const off_t one = sizeof(struct memfile_run);
	off_t bytes = lseek(vm->config->write_set_fd, 0, SEEK_END);
	struct memfile_runs set = {.n = (uint32_t)MIN(bytes / one, (off_t)WRITE_SET_MAX)};

	if (bytes < one)
		return;
	set.items = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, vm->config->write_set_fd, 0);
	if (set.items == MAP_FAILED)
		return;
	memfile_populate(&vm->memory, &set);
	munmap(set.items, (size_t)bytes);
}

/* Nothing is read: the guest takes its pages from the file as it touches them. */
static int map_memory(struct vm *vm, const struct gmem_range *ranges, unsigned n, struct err *e)
{
	struct vm_config *c = vm->config;
	int r = memfile_map(c->memory_fd, ranges, n, &vm->memory, e);

	if (r == 0 && c->chain_memory_fd >= 0)
		r = memfile_map_runs(&vm->memory, c->chain_memory_fd, &vm->snapshot.memory_runs, e);
	if (r == 0 && c->write_set_fd >= 0)
		populate(vm);
	return r;
}

static int make_memory(struct vm *vm, struct err *e)
{
	struct gmem_range ranges[ARCH_RAM_RANGES_MAX];
	unsigned n = arch_ram_ranges(vm->config->memory_bytes, ranges);

	if (vm->config->is_restore)
		return map_memory(vm, ranges, n, e);
	return gmem_init(&vm->memory, ranges, n, e);
}

static int make_hypervisor(struct vm *vm, struct err *e)
{
	int r = hv_open(vm->config->kvm_fd, &vm->hv, e);

	for (unsigned i = 0; r >= 0 && i < vm->memory.n; i++) {
		const struct gmem_region *m = &vm->memory.regions[i];

		r = hv_map(vm->hv, i, m->gpa, m->host, m->bytes, e);
	}
	if (r >= 0)
		r = hv_irqchip_init(vm->hv, e);
	if (r >= 0 && vm->config->is_same_host)
		hv_assume_same_host(vm->hv);
	return r;
}

static int fill_random(void *bytes, size_t n, struct err *e)
{
	if (getrandom(bytes, n, 0) != (ssize_t)n)
		return err_sys(e, "get random bytes for the guest");
	return 0;
}

static int load_kernel(struct vm *vm, struct arch_boot_state *ret, struct err *e)
{
	struct vm_config *c = vm->config;
	struct arch_boot boot = {
		.kernel_fd = c->kernel_fd,
		.initramfs_fds = c->initramfs_fds,
		.n_initramfs = c->n_initramfs,
		.archive = c->boot_archive,
		.archive_bytes = c->boot_archive_bytes,
		.cmdline = c->cmdline,
		.cmdline_bytes = c->cmdline_bytes,
		.n_vcpus = c->vcpus,
		.slots = vm->slots,
		.n_slots = vm->n_slots,
	};
	int r = fill_random(boot.rng_seed, sizeof(boot.rng_seed), e);

	if (r >= 0)
		r = fill_random(boot.generation_id, sizeof(boot.generation_id), e);
	return r < 0 ? r : arch_load_boot(&vm->memory, &boot, ret, e);
}

static void deliver_msi(void *ctx, uint64_t address, uint32_t data)
{
	struct vm *vm = ctx;
	struct err e = {0};
	int r = hv_signal_msi(vm->hv, address, data);

	if (r < 0) {
		errno = -r;
		err_sys(&e, "deliver an interrupt to the guest");
		vm_finish(vm, CTL_END_ERROR, &e);
	}
}

static void power_event(void *ctx, enum power_event event)
{
	vm_finish(ctx, event == POWER_OFF ? CTL_END_POWEROFF : CTL_END_RESET, NULL);
}

static int make_platform(struct vm *vm, struct err *e)
{
	static const struct power_ports ports = {
		.sleep_control = LAYOUT_SLEEP_CONTROL_PORT,
		.sleep_status = LAYOUT_SLEEP_STATUS_PORT,
		.reset = LAYOUT_RESET_PORT,
	};
	struct irq line;
	int r;

	vm->power = (struct power){.event = power_event, .ctx = vm};
	r = ioapic_register(&vm->ioapic, &vm->mmio, LAYOUT_IOAPIC_BASE, e);
	if (r < 0)
		return r;
	r = console_init(&vm->console, vm->config->console_fd, e);
	if (r < 0)
		return r;
	vm->config->console_fd = -1;
	line = ioapic_irq(&vm->ioapic, LAYOUT_SERIAL_IRQ);
	serial_init(&vm->serial, &line, console_write, &vm->console);
	r = serial_register(&vm->serial, &vm->pio, LAYOUT_SERIAL_PORT, e);
	return r < 0 ? r : power_register(&vm->power, &vm->pio, &ports, e);
}

/* Where the device of a slot stands in `devices`: the contract's order. */
static unsigned device_index(const struct virtio_mmio_slot *slot, unsigned n_blocks_before)
{
	switch (slot->kind) {
	case VIRTIO_SLOT_VSOCK:
		return VM_DEVICE_VSOCK;
	case VIRTIO_SLOT_RNG:
		return VM_DEVICE_RNG;
	case VIRTIO_SLOT_BALLOON:
		return VM_DEVICE_BALLOON;
	case VIRTIO_SLOT_BLOCK:
		break;
	}
	return VM_DEVICE_FIRST_BLOCK + n_blocks_before;
}

static int make_root_disk(struct vm *vm, struct disk **ret, struct err *e)
{
	struct vm_config *c = vm->config;
	int r = disk_overlay_new(c->disk_base_fd, c->disk_fd, ret, e);

	if (r < 0)
		return r;
	c->disk_base_fd = c->disk_fd = -1;
	vm->disk = *ret;
	if (c->chain_disk_fd < 0)
		return 0;
	r = disk_overlay_load_diff(*ret, c->chain_disk_fd, &vm->snapshot.disk_runs, e);
	if (r < 0)
		disk_free(*ret);
	return r;
}

static int make_disk(struct vm *vm, unsigned index, struct disk **ret, struct err *e)
{
	struct vm_config *c = vm->config;
	int r;

	if (index == c->n_layers + c->n_volumes)
		return make_root_disk(vm, ret, e);
	r = disk_raw_new(c->block_fds[index], index < c->n_layers, ret, e);
	if (r == 0)
		c->block_fds[index] = -1;
	return r;
}

/* By which the guest's init finds it. */
static void name_block(const struct vm_config *c, unsigned index, char serial[BLK_SERIAL_BYTES])
{
	if (index < c->n_layers)
		snprintf(serial, BLK_SERIAL_BYTES, BOOTCFG_LAYER_SERIAL, index);
	else if (index < c->n_layers + c->n_volumes)
		snprintf(serial, BLK_SERIAL_BYTES, BOOTCFG_VOLUME_SERIAL, index - c->n_layers);
	else
		snprintf(serial, BLK_SERIAL_BYTES, BOOTCFG_DISK_SERIAL);
}

static int make_block(struct vm *vm, const struct virtio_host *host, unsigned index,
	struct virtio_dev **ret, struct err *e)
{
	struct disk *disk = NULL;
	char serial[BLK_SERIAL_BYTES];
	int r;

	name_block(vm->config, index, serial);
	r = make_disk(vm, index, &disk, e);
	if (r < 0)
		return err_object(e, "%s", serial);
	r = blk_new(host, disk, serial, ret, e);
	if (r < 0)
		disk_free(disk);
	return r < 0 ? err_object(e, "%s", serial) : 0;
}

static int make_device(
	struct vm *vm, const struct virtio_mmio_slot *slot, unsigned index, struct err *e)
{
	struct virtio_host host = {
		.gmem = &vm->memory,
		.irq = ioapic_irq(&vm->ioapic, slot->irq),
		.loop = &vm->io_loop,
	};
	struct virtio_dev **at = &vm->devices[index];
	int r = -EINVAL;

	switch (slot->kind) {
	case VIRTIO_SLOT_VSOCK:
		r = vsock_new(&host, vm->mux, GUEST_CID, at, e);
		break;
	case VIRTIO_SLOT_RNG:
		r = rng_new(&host, at, e);
		break;
	case VIRTIO_SLOT_BALLOON:
		r = balloon_new(&host, at, e);
		break;
	case VIRTIO_SLOT_BLOCK:
		r = make_block(vm, &host, index - VM_DEVICE_FIRST_BLOCK, at, e);
		break;
	}
	if (r < 0)
		return r;
	return virtio_mmio_register(*at, &vm->mmio, slot->base, LAYOUT_VIRTIO_MMIO_STRIDE, e);
}

static int make_devices(struct vm *vm, vm_incoming_fn incoming, void *context, struct err *e)
{
	struct mux_config mux = {
		.guest_cid = GUEST_CID,
		.host_port_first = vm->config->host_port_first,
		.host_port_count = vm->config->host_port_count,
		.incoming = incoming,
		.ctx = context,
	};
	unsigned n_blocks = 0;
	int r = mux_new(&mux, &vm->mux, e);

	for (unsigned i = 0; r >= 0 && i < vm->n_slots; i++) {
		const struct virtio_mmio_slot *slot = &vm->slots[i];

		r = make_device(vm, slot, device_index(slot, n_blocks), e);
		n_blocks += slot->kind == VIRTIO_SLOT_BLOCK;
	}
	vm->n_devices = vm->n_slots;
	return r;
}

/* Lets the kernel wake a device's thread for a notification without leaving for the VMM. */
static int wire_notifications(struct vm *vm, struct err *e)
{
	unsigned n_blocks = 0;

	for (unsigned i = 0; i < vm->n_slots; i++) {
		const struct virtio_mmio_slot *slot = &vm->slots[i];
		struct virtio_dev *d = vm->devices[device_index(slot, n_blocks)];

		n_blocks += slot->kind == VIRTIO_SLOT_BLOCK;
		for (unsigned q = 0; q < d->ops->n_queues; q++) {
			int r = hv_notify_fd(vm->hv, slot->base + VIRTIO_MMIO_QUEUE_NOTIFY, 4, true,
				q, virtio_notify_fd(d, q), e);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static void vcpu_ended(void *context, enum vcpu_end end, const struct err *why)
{
	static const enum ctl_end_reason reasons[] = {
		[VCPU_END_RESET] = CTL_END_RESET,
		[VCPU_END_POWER_OFF] = CTL_END_POWEROFF,
		[VCPU_END_FAILED] = CTL_END_ERROR,
	};

	vm_finish(context, reasons[end], why);
}

static void kick_vcpu(void *context, unsigned index)
{
	struct vm *vm = context;

	hv_vcpu_kick(vm->vcpus[index].hv);
}

/* Each vCPU makes itself while the builder goes on; see await_vcpus. */
static int start_vcpus(struct vm *vm, uint32_t on, struct err *e)
{
	unsigned n = vm->config->vcpus;

	coord_init(&vm->coord, n, kick_vcpu, vm);
	for (unsigned i = 0; i < n; i++)
		if (on & 1u << i)
			coord_mark_on(&vm->coord, i);
	vm->n_vcpus = n;
	for (unsigned i = 0; i < n; i++) {
		struct vcpu *v = &vm->vcpus[i];
		int r;

		*v = (struct vcpu){.machine = vm->hv,
			.index = i,
			.n_vcpus = n,
			.boot = &vm->boot,
			.saved = vm->saved[i],
			.was_on = coord_on_mask(&vm->coord) & 1u << i,
			.coord = &vm->coord,
			.mmio = &vm->mmio,
			.pio = &vm->pio,
			.ended = vcpu_ended,
			.context = vm};
		vm->saved[i] = NULL;
		r = vcpu_start(v, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A vCPU may bring a memory slot of KVM's own with it (APIC access page), so that all must be there
 * before notifications are wired. */
static int await_vcpus(struct vm *vm, struct err *e)
{
	coord_pause(&vm->coord);
	for (unsigned i = 0; vm->config->is_restore && i < vm->n_vcpus; i++)
		vm->timing_us[CTL_T_VCPU_STATE] =
			MAX(vm->timing_us[CTL_T_VCPU_STATE], vm->vcpus[i].load_us);
	return vm_end_reason(vm, e) ? e->code : 0;
}

static void init_empty(struct vm *vm, struct vm_config *config, struct loop *main_loop)
{
	*vm = (struct vm){.config = config, .main_loop = main_loop};
	vm->snapshot.state_fd = -1;
	pthread_mutex_init(&vm->end.lock, NULL);
	vm->io_loop.poll_fd = vm->io_loop.waker.fd = -1;
	vm->console.ring.fd = -1;
	bus_init(&vm->mmio);
	bus_init(&vm->pio);
	serial_init(&vm->serial, &(struct irq){0}, console_write, &vm->console);
}

static int make_plan(struct vm *vm, struct err *e)
{
	unsigned n_blocks = vm->config->n_layers + vm->config->n_volumes + vm->config->has_disk;
	int r = virtio_mmio_plan(n_blocks, vm->slots, ARRAY_LEN(vm->slots));

	if (r < 0)
		return err_set(
			e, r, "%u block devices are more than the machine has slots for", n_blocks);
	vm->n_slots = (unsigned)r;
	ioapic_init(&vm->ioapic, vm->slots[r - 1].irq + 1, deliver_msi, vm);
	return 0;
}

/* Writes down how long the step took and starts the next. */
static void lap(struct vm *vm, enum ctl_timing step, uint64_t *since_ns)
{
	uint64_t now = clock_now_ns();

	vm->timing_us[step] = (now - *since_ns) / 1000;
	*since_ns = now;
}

/* The parts of a saved state that are needed before anything is made. */
static int read_state(
	struct vm *vm, struct snapshot_reader *reader, uint32_t *ret_on, struct err *e)
{
	struct vm_config *c = vm->config;
	int r = snapshot_read(reader, c->state_fd, c, ret_on, e);

	if (r < 0)
		return r;
	vm->snapshot.state_fd = take_fd(&c->state_fd);
	if (c->chain_memory_fd >= 0)
		r = snapshot_read_runs(reader, c->memory_bytes, &vm->snapshot, e);
	return r < 0 ? r : snapshot_read_vcpus(reader, vm, e);
}

/* What the guest finds in memory and devices: a kernel, or itself as it was. */
static int load_devices(struct vm *vm, struct snapshot_reader *reader, struct err *e)
{
	uint64_t t = clock_now_ns();
	int r = snapshot_load_ioapic(reader, vm, e);

	lap(vm, CTL_T_IRQCHIP, &t);
	if (r == 0)
		r = snapshot_load_devices(reader, vm, e);
	if (r == 0)
		r = identity_renew(&vm->memory, e);
	lap(vm, CTL_T_MMIO, &t);
	return r;
}

/* The machine's own devices and the virtio ones, and where they answer. */
static int make_buses(struct vm *vm, vm_incoming_fn incoming, void *context, struct err *e)
{
	int r = make_platform(vm, e);

	if (r == 0)
		r = loop_init(&vm->io_loop, e);
	if (r == 0)
		r = make_devices(vm, incoming, context, e);
	if (r < 0)
		return r;
	bus_freeze(&vm->mmio);
	bus_freeze(&vm->pio);
	return 0;
}

static int build(struct vm *vm, struct snapshot_reader *reader, vm_incoming_fn incoming,
	void *incoming_context, struct err *e)
{
	bool is_restore = vm->config->is_restore;
	uint64_t t = clock_now_ns();
	uint32_t on = 1;
	int r = make_plan(vm, e);

	if (r == 0 && is_restore)
		r = read_state(vm, reader, &on, e);
	if (r < 0)
		return r;
	lap(vm, CTL_T_STATE, &t);
	r = make_memory(vm, e);
	if (r < 0)
		return r;
	lap(vm, CTL_T_MEMORY, &t);
	r = make_hypervisor(vm, e);
	if (r < 0)
		return r;
	lap(vm, CTL_T_HYPERVISOR, &t);
	r = start_vcpus(vm, on, e);
	if (r < 0)
		return r;
	if (!is_restore)
		r = load_kernel(vm, &vm->boot, e);
	if (r < 0)
		return r;
	lap(vm, CTL_T_KERNEL, &t);
	r = make_buses(vm, incoming, incoming_context, e);
	if (r == 0 && is_restore)
		r = load_devices(vm, reader, e);
	if (r < 0)
		return r;
	lap(vm, CTL_T_DEVICES, &t);
	r = await_vcpus(vm, e);
	if (r < 0)
		return r;
	r = wire_notifications(vm, e);
	lap(vm, CTL_T_VCPUS, &t);
	return r;
}

int vm_build(struct vm *vm, struct vm_config *config, struct loop *main_loop,
	vm_incoming_fn incoming, void *incoming_context, struct err *e)
{
	struct snapshot_reader reader = {0};
	int r;

	init_empty(vm, config, main_loop);
	r = build(vm, &reader, incoming, incoming_context, e);
	snapshot_reader_fini(&reader);
	return r;
}
