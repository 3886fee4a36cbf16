// SPDX-License-Identifier: Apache-2.0
/*
 * What a person or a supervisor sends to `supermachine run` is meant for the command in the VM.
 *
 * The signals are blocked in every thread; one thread of ours waits for them. Before the command
 * runs it ends the program at once with 128 + n (the VMM ends with its socket); then it passes them
 * on. A second interrupt within the grace stops the VM by force.
 */
#pragma once

#include <pthread.h>
#include <signal.h>
#include <supermachine.h>

#include "base/err.h"

enum signals_phase { SIGNALS_STARTING, SIGNALS_RUNNING, SIGNALS_ENDING };

struct signals {
	sigset_t set;	 /* constant after signals_start */
	sigset_t before; /* the same */
	pthread_mutex_t lock;
	enum signals_phase phase; /* lock, and all below */
	struct sm_vm *vm;
	struct sm_exec *exec;
	uint64_t interrupted_ns;
	int forced_by; /* the signal that stopped the VM, or 0 */
};

/* Blocks the signals (those that are not ignored already) and starts the thread. The struct must
 * live until the program ends. Returns 0 or -errno. */
int signals_start(struct signals *s, struct err *e) MUST_CHECK;

/* From here on signals go to the command. */
void signals_attach(struct signals *s, struct sm_vm *vm, struct sm_exec *exec);

/* The command has ended: signals change nothing any more. Returns forced_by. */
int signals_detach(struct signals *s);

/* Sets the mask that was found at the start, for another program to be executed. */
void signals_restore(const struct signals *s);
