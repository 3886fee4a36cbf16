// SPDX-License-Identifier: Apache-2.0
/*
 * The vCPU coordinator: knows which vCPUs are on, and brings all of them to rest and back.
 *
 * A vCPU thread passes coord_gate between two entries into the guest. Whoever wants the vCPUs at
 * rest closes the gate, kicks every vCPU out of the guest and waits until each stands at the gate.
 * The lock is held for the hand-over only, never from pause to resume.
 */
#pragma once

#include <pthread.h>

#include "base/err.h"

/* Makes vCPU `index` leave the guest soon. Any thread. */
typedef void (*coord_kick_fn)(void *context, unsigned index);

enum coord_state {
	COORD_RUNNING,
	COORD_PAUSED,	/* -> RUNNING, STOPPING */
	COORD_STOPPING, /* for good */
};

struct coord {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum coord_state state; /* lock */
	unsigned n_vcpus;
	unsigned n_waiting; /* lock; vCPU threads that stand at the gate */
	unsigned n_left;    /* lock; vCPU threads that have ended */
	uint32_t on;	    /* lock; bit i: vCPU i has been started */
	coord_kick_fn kick;
	void *context;
};

/* All vCPUs are off but vCPU 0; the gate is closed until coord_resume. */
void coord_init(struct coord *c, unsigned n_vcpus, coord_kick_fn kick, void *context);
void coord_fini(struct coord *c);

/* A vCPU thread asks to enter the guest. Blocks while the gate is closed. Returns false when the
 * thread shall end. */
bool coord_gate(struct coord *c);

/* A vCPU thread says that it is about to end. */
void coord_leave(struct coord *c);

/* vCPU `index` was started by the guest. */
void coord_mark_on(struct coord *c, unsigned index);
uint32_t coord_on_mask(struct coord *c);

/* Closes the gate and waits until every vCPU stands at it or has ended. Not from a vCPU thread. */
void coord_pause(struct coord *c);
void coord_resume(struct coord *c);

/* Tells every vCPU thread to end and kicks it; the caller joins them. Any thread. */
void coord_stop(struct coord *c);
