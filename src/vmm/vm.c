// SPDX-License-Identifier: Apache-2.0
#include "vmm/vm.h"

#include <errno.h>

#include "arch/arch.h"
#include "backend/vsock_mux.h"
#include "base/clock.h"
#include "hv/hv.h"
#include "virtio/virtio.h"
#include "vmm/identity.h"

void vm_finish(struct vm *vm, enum ctl_end_reason reason, const struct err *why)
{
	pthread_mutex_lock(&vm->end.lock);
	if (!vm->end.reason) {
		vm->end.reason = reason;
		if (why)
			vm->end.why = *why;
	}
	pthread_mutex_unlock(&vm->end.lock);
	loop_stop(vm->main_loop);
}

enum ctl_end_reason vm_end_reason(struct vm *vm, struct err *ret_why)
{
	enum ctl_end_reason reason;

	serial_flush(&vm->serial);
	pthread_mutex_lock(&vm->end.lock);
	reason = vm->end.reason;
	*ret_why = vm->end.why;
	pthread_mutex_unlock(&vm->end.lock);
	/* Linux that panics resets the machine at once (panic=-1): the console tells them apart. */
	if (reason == CTL_END_RESET && atomic_load(&vm->console.has_panicked))
		reason = CTL_END_PANIC;
	return reason;
}

static void *io_main(void *arg)
{
	struct vm *vm = arg;
	struct err e = {0};
	int r = loop_run(&vm->io_loop);

	if (r < 0) {
		errno = -r;
		err_sys(&e, "wait for device requests");
		vm_finish(vm, CTL_END_ERROR, &e);
	}
	return NULL;
}

static int start_io(struct vm *vm, struct err *e)
{
	pthread_attr_t attr;
	int r;

	vm->io_loop.is_stopping = false;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VIRTIO_IO_STACK_BYTES);
	r = pthread_create(&vm->io_thread, &attr, io_main, vm);
	pthread_attr_destroy(&attr);
	if (r) {
		errno = r;
		return err_sys(e, "start the device thread");
	}
	vm->is_io_started = true;
	return 0;
}

int vm_go(struct vm *vm, struct err *e)
{
	int r;

	/* The guest need not wait for the device threads: what it asks of a device before they
	 * run stays in the device's queue and eventfd. */
	coord_resume(&vm->coord);
	r = start_io(vm, e);
	return r < 0 ? r : mux_start(vm->mux, e);
}

int vm_start(struct vm *vm, struct err *e)
{
	uint64_t began = clock_now_ns();
	int r = 0;

	if (vm->config->is_restore) {
		r = hv_load(vm->hv, &vm->clock, e);
		identity_announce(&vm->ioapic);
		vm->timing_us[CTL_T_CLOCK] = (clock_now_ns() - began) / 1000;
	}
	return r < 0 ? r : vm_go(vm, e);
}

static void stop_devices(struct vm *vm)
{
	if (vm->mux)
		mux_stop(vm->mux);
	if (vm->is_io_started) {
		loop_stop(&vm->io_loop);
		pthread_join(vm->io_thread, NULL);
		vm->is_io_started = false;
	}
}

void vm_rest(struct vm *vm)
{
	coord_pause(&vm->coord);
	stop_devices(vm);
	serial_flush(&vm->serial);
}

void vm_stop(struct vm *vm)
{
	if (vm->n_vcpus)
		coord_stop(&vm->coord);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vcpu_join(&vm->vcpus[i]);
	stop_devices(vm);
}

static void free_saved(struct vm *vm)
{
	for (unsigned i = 0; i < CTL_VCPUS_MAX; i++) {
		arch_vcpu_state_free(vm->saved[i]);
		vm->saved[i] = NULL;
	}
}

/* All of the state but RAM and disk, into a machine that has run. */
static int reload(struct vm *vm, struct err *e)
{
	struct snapshot_reader reader;
	uint32_t on;
	int r = snapshot_read(&reader, vm->snapshot.state_fd, vm->config, &on, e);

	if (r < 0)
		return r;
	r = snapshot_read_vcpus(&reader, vm, e);
	if (r == 0)
		r = snapshot_load_ioapic(&reader, vm, e);
	for (unsigned i = 0; r == 0 && i < vm->n_vcpus; i++)
		r = hv_vcpu_load(vm->vcpus[i].hv, vm->saved[i], e);
	if (r == 0)
		r = snapshot_load_devices(&reader, vm, e);
	if (r == 0)
		r = identity_renew(&vm->memory, e);
	if (r == 0)
		r = hv_load(vm->hv, &vm->clock, e);
	for (unsigned i = 0; r == 0 && i < vm->n_vcpus; i++)
		r = hv_vcpu_load_clock(vm->vcpus[i].hv, vm->saved[i], e);
	free_saved(vm);
	snapshot_reader_fini(&reader);
	return r;
}

int vm_rollback(struct vm *vm, int pagemap_fd, struct err *e)
{
	int r;

	if (vm->snapshot.state_fd < 0) {
		err_set(e, -EINVAL, "this VM was booted: there is no snapshot to go back to");
		return err_remedy(e, "restore it from a snapshot first");
	}
	vm_rest(vm);
	r = memfile_rollback(&vm->memory, pagemap_fd, e);
	if (r == 0 && vm->disk)
		r = disk_overlay_rollback(vm->disk, e);
	if (r == 0)
		r = reload(vm, e);
	if (r < 0)
		return r;
	identity_announce(&vm->ioapic);
	return vm_go(vm, e);
}

/* vm_build in reverse; every step is harmless on what was never made. */
void vm_fini(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		hv_vcpu_free(vm->vcpus[i].hv);
	if (vm->n_vcpus)
		coord_fini(&vm->coord);
	for (unsigned i = 0; i < VIRTIO_MMIO_SLOTS_MAX; i++)
		virtio_free(vm->devices[i]);
	mux_free(vm->mux);
	loop_fini(&vm->io_loop);
	hv_close(vm->hv);
	gmem_fini(&vm->memory);
	serial_fini(&vm->serial);
	console_fini(&vm->console);
	ioapic_fini(&vm->ioapic);
	free_saved(vm);
	snapshot_fini(&vm->snapshot);
	pthread_mutex_destroy(&vm->end.lock);
}
