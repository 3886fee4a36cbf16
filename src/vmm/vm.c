// SPDX-License-Identifier: Apache-2.0
#include "vmm/vm.h"

#include <errno.h>

#include "backend/vsock_mux.h"
#include "hv/hv.h"
#include "virtio/virtio.h"

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

int vm_start(struct vm *vm, struct err *e)
{
	int r;

	/* The guest need not wait for the device threads: what it asks of a device before they
	 * run stays in the device's queue and eventfd. */
	coord_resume(&vm->coord);
	r = start_io(vm, e);
	return r < 0 ? r : mux_start(vm->mux, e);
}

void vm_stop(struct vm *vm)
{
	if (vm->n_vcpus)
		coord_stop(&vm->coord);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vcpu_join(&vm->vcpus[i]);
	if (vm->mux)
		mux_stop(vm->mux);
	if (vm->is_io_started) {
		loop_stop(&vm->io_loop);
		pthread_join(vm->io_thread, NULL);
		vm->is_io_started = false;
	}
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
	pthread_mutex_destroy(&vm->end.lock);
}
