// SPDX-License-Identifier: Apache-2.0
/*
 * A vCPU and its thread: enters the guest, carries what comes out to the buses, and stands at the
 * coordinator's gate when asked. It does not know what is on the buses.
 */
#pragma once

#include <pthread.h>

#include "base/err.h"

struct arch_boot_state;
struct arch_vcpu_state;
struct bus;
struct coord;
struct hv;
struct hv_vcpu;

enum vcpu_end {
	VCPU_END_RESET,	    /* triple fault, or asked for through the hypervisor */
	VCPU_END_POWER_OFF, /* asked for through the hypervisor */
	VCPU_END_FAILED,    /* cannot go on; the err says why */
};

enum { VCPU_STACK_BYTES = 64 * 1024 };

struct vcpu {
	struct hv *machine; /* borrowed */
	unsigned index, n_vcpus;
	const struct arch_boot_state *boot; /* borrowed; read once the gate has opened */
	struct arch_vcpu_state *saved;	    /* owned; what it is to be instead, or NULL */
	bool was_on;			    /* with saved: the guest had started it */
	uint64_t load_us;		    /* its thread, before the gate: what loading took */
	struct coord *coord;		    /* borrowed */
	const struct bus *mmio, *pio;	    /* borrowed, frozen */
	/* The machine has come to its end because of this vCPU. Its thread; must return. */
	void (*ended)(void *context, enum vcpu_end end, const struct err *why);
	void *context;
	struct hv_vcpu *hv; /* made by its thread, before it stands at the gate */
	pthread_t thread;
	bool is_started;
};

/* Starts the thread, which waits at the gate. Everything above but thread and is_started is set. */
int vcpu_start(struct vcpu *v, struct err *e) MUST_CHECK;

/* Waits for the thread's end, which coord_stop has asked for. */
void vcpu_join(struct vcpu *v);
