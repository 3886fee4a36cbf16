// SPDX-License-Identifier: Apache-2.0
/* A running VM into a directory: CTL_SNAPSHOT and snapshot.json. Any thread. */
#pragma once

#include "api/draft.h"
#include "api/handles.h"

struct save_request {
	const char *dir;  /* where the snapshot will be */
	const char *base; /* differential: directory of the full snapshot; NULL: a full one */
};

/* Writes everything but its name into the draft. vm->lock is held, what runs in the guest is
 * frozen; the VM goes on whatever comes of it. It is left frozen
 * for the caller to thaw, through `thaw` as soon as the machine's state is written (may be NULL).
 */
int save_write(struct sm_vm *vm, const struct save_request *q, struct draft *d,
	void (*thaw)(void *context), void *context, struct err *e) MUST_CHECK;

/* /proc/PID/pagemap of the VM's VMM; by it the VMM learns which pages its guest touched. Returns a
 * descriptor. */
int save_open_pagemap(const struct sm_vm *vm, struct err *e) MUST_CHECK;

/* Records which pages of a restored VM were written and read so far, as files `written` and `read`
 * of the draft. Best effort: without them nothing but speed is lost. */
void save_pages(struct sm_vm *vm, struct draft *d, uint64_t deadline_ns);
