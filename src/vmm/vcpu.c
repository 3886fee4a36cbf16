// SPDX-License-Identifier: Apache-2.0
#include "vmm/vcpu.h"

#include <errno.h>

#include "arch/arch.h"
#include "base/clock.h"
#include "dev/bus.h"
#include "hv/hv.h"
#include "vmm/coord.h"

static void carry_port_access(const struct vcpu *v, const struct hv_exit *x)
{
	char *data = x->data;

	for (uint32_t i = 0; i < x->count; i++, data += x->bytes) {
		if (x->kind == HV_EXIT_PIO_IN)
			bus_read(v->pio, x->address, data, x->bytes);
		else
			bus_write(v->pio, x->address, data, x->bytes);
	}
}

/* Acts on one exit. Returns whether the vCPU may go on. */
static bool carry(struct vcpu *v, const struct hv_exit *x)
{
	switch (x->kind) {
	case HV_EXIT_MMIO_READ:
		bus_read(v->mmio, x->address, x->data, x->bytes);
		return true;
	case HV_EXIT_MMIO_WRITE:
		bus_write(v->mmio, x->address, x->data, x->bytes);
		return true;
	case HV_EXIT_PIO_IN:
	case HV_EXIT_PIO_OUT:
		carry_port_access(v, x);
		return true;
	case HV_EXIT_INTERRUPTED:
	case HV_EXIT_HALT:
		return coord_gate(v->coord);
	case HV_EXIT_SHUTDOWN:
	case HV_EXIT_RESET:
		v->ended(v->context, VCPU_END_RESET, NULL);
		return false;
	case HV_EXIT_POWER_OFF:
		v->ended(v->context, VCPU_END_POWER_OFF, NULL);
		return false;
	}
	return false;
}

/* KVM wants a vCPU to be created by the thread that runs it (KVM API, section 2); it also saves
 * time, since the builder goes on meanwhile. */
static int make(struct vcpu *v, struct err *e)
{
	int r = hv_vcpu_new(v->machine, v->index, v->n_vcpus, v->saved, &v->hv, e);
	uint64_t began = clock_now_ns();

	if (r == 0)
		r = hv_vcpu_bind_thread(v->hv, e);
	if (r == 0 && v->saved)
		r = hv_vcpu_load(v->hv, v->saved, e);
	v->load_us = (clock_now_ns() - began) / 1000;
	return r;
}

/* What is left to be done once all of the machine is there. */
static int enter(struct vcpu *v, struct err *e)
{
	int r;

	if (!v->saved)
		return hv_vcpu_set_boot(v->hv, v->boot, e);
	r = hv_vcpu_load_clock(v->hv, v->saved, e);
	arch_vcpu_state_free(v->saved);
	v->saved = NULL;
	return r;
}

static void failed(struct vcpu *v, struct err *why)
{
	err_object(why, "vCPU %u", v->index);
	v->ended(v->context, VCPU_END_FAILED, why);
}

static void run(struct vcpu *v)
{
	struct err e = {0};
	struct hv_exit x;
	bool is_on = v->index == 0 || v->was_on;

	if (make(v, &e) < 0) {
		failed(v, &e);
		return;
	}
	if (!coord_gate(v->coord))
		return;
	if (enter(v, &e) < 0) {
		failed(v, &e);
		return;
	}
	do {
		if (hv_vcpu_run(v->hv, &x, &e) < 0) {
			failed(v, &e);
			return;
		}
		/* Only a started vCPU has anything to say but that it was interrupted. */
		if (!is_on && x.kind != HV_EXIT_INTERRUPTED) {
			is_on = true;
			coord_mark_on(v->coord, v->index);
		}
	} while (carry(v, &x));
}

static void *thread_main(void *arg)
{
	struct vcpu *v = arg;

	run(v);
	coord_leave(v->coord);
	return NULL;
}

int vcpu_start(struct vcpu *v, struct err *e)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK_BYTES);
	r = pthread_create(&v->thread, &attr, thread_main, v);
	pthread_attr_destroy(&attr);
	if (r) {
		errno = r;
		err_sys(e, "start its thread");
		return err_object(e, "vCPU %u", v->index);
	}
	v->is_started = true;
	return 0;
}

void vcpu_join(struct vcpu *v)
{
	if (v->is_started)
		pthread_join(v->thread, NULL);
	v->is_started = false;
	arch_vcpu_state_free(v->saved);
	v->saved = NULL;
}
