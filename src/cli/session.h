// SPDX-License-Identifier: Apache-2.0
/*
 * One command in one VM, from this process's side, as `run` and `restore` have it: its streams are
 * ours, signals go to it, its exit status becomes ours, and meanwhile other processes may ask for
 * snapshots of the VM.
 */
#pragma once

#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/serve.h"
#include "cli/signals.h"

enum { SESSION_LOG_SHOWN = 16384 };

/* Static: the thread that waits for signals may look at it until the very end. */
struct session {
	struct progress progress;
	struct signals signals;
	struct serve serve;
	bool is_verbose;
	bool want_timings;
	char console[SESSION_LOG_SHOWN];
	struct sm_start_timings timings;
};

/* The functions with an exit status return 0 to go on, or what to end with after it was said. */

int session_open(struct session *s, bool is_verbose, bool want_timings);

/* Takes the VM's name, or makes one up, and puts it and the rest that the session knows into the
 * options. */
int session_name(struct session *s, const char *name, struct sm_vm_options *o);

/* The VM did not start: says so, with its console if verbose. Returns the exit status. */
int session_start_failed(struct session *s, const struct sm_error *err);

/* Runs argv in the VM, or if it is NULL goes on with the command that runs there already; then
 * stops and closes the VM. Returns the exit status. */
int session_run(struct session *s, struct sm_vm *vm, const char *const *argv,
	const struct sm_exec_options *exec);

void session_close(struct session *s);

/* Says what failed. Returns the exit status for it. */
int session_failed(struct session *s, const struct sm_error *err);
