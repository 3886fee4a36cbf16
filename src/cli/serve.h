// SPDX-License-Identifier: Apache-2.0
/*
 * A VM that runs in this process can be asked for things by other processes of the same user, by
 * its name. One thread of ours answers, one request at a time; the names are the files of the
 * runtime directory (cli/rundir.h), the words are cli/reach.h.
 */
#pragma once

#include <pthread.h>
#include <supermachine.h>

#include "base/err.h"
#include "cli/rundir.h"

struct serve {
	char name[RUNDIR_NAME_MAX +
		  1]; /* constant after serve_claim, as all below but is_running */
	int dir_fd;
	int listen_fd;
	int stop_fd; /* an eventfd that ends the thread */
	struct sm_vm *vm;
	pthread_t thread;
	bool is_running;
};

/* Takes the name. Who asks before serve_start is kept waiting. -EADDRINUSE: another VM has it;
 * -EINVAL: it is none. serve_release also after a failure. */
int serve_claim(struct serve *s, const char *name, struct err *e) MUST_CHECK;

/* Begins to answer for the VM, which must outlive serve_stop. */
int serve_start(struct serve *s, struct sm_vm *vm, struct err *e) MUST_CHECK;

/* Ends the thread, after the request that it is at. */
void serve_stop(struct serve *s);

/* Gives the name up. */
void serve_release(struct serve *s);
