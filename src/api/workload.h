// SPDX-License-Identifier: Apache-2.0
/*
 * What is done in a VM before its state is worth keeping: the workload runs and becomes ready, the
 * warm-up is through. While something is waited for, the workload's output is taken, so that it is
 * not held back; its end is kept for errors. One thread.
 */
#pragma once

#include "api/exec.h"
#include "api/handles.h"

enum { WORKLOAD_TAIL_BYTES = 512 };

struct workload {
	struct sm_vm *vm;
	struct sm_exec *exec; /* NULL: nothing runs */
	struct sm_exec_options options;
	char tail[WORKLOAD_TAIL_BYTES]; /* what the last command said last */
	size_t tail_bytes;
};

/* Nothing runs yet. `options`: the workload's, a whole struct; its streams are ignored. */
void workload_init(struct workload *w, struct sm_vm *vm, const struct sm_exec_options *options);

/* Lets what runs go on without us; the guest is frozen. */
void workload_leave(struct workload *w);

/* Kills what runs. */
void workload_fini(struct workload *w);

/* Starts it, as an image's command. */
int workload_start(struct workload *w, const char *const *argv, struct err *e) MUST_CHECK;

/* Waits until it is ready. Its end is an error with what it said last. */
int workload_ready(struct workload *w, const struct sm_vm_options *o, uint64_t deadline_ns,
	struct err *e) MUST_CHECK;

/* Runs a shell command to its end; other than status 0 is an error with what it said last. */
int workload_warm(struct workload *w, const char *command, struct err *e) MUST_CHECK;
