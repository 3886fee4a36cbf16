// SPDX-License-Identifier: Apache-2.0
/*
 * A VM handle from its making to the moment its agent answers, by either way: booted, or restored
 * from a snapshot. Knows nothing of bakes. One thread at a time until it is handed out.
 */
#pragma once

#include "api/handles.h"

enum { START_TIMEOUT_DEFAULT_MS = 60000 };

/* An empty handle with a console log. `name` NULL or empty: one is made up. */
int vm_new(const char *name, struct sm_vm **ret, struct err *e) MUST_CHECK;

/* Kills the VM if there is one; frees all. */
void vm_free(struct sm_vm *vm);

/* Boots it: vm->image and vm->machine are set; machine.kernel may be NULL, which is the default
 * kernel, and is set then. After a failure only vm_free and the console log are left. */
int vm_boot(struct sm_vm *vm, int64_t timeout_ms, struct err *e) MUST_CHECK;

struct restore_request {
	const char *dir;
	bool is_trial; /* the directory is not finished yet */
	int64_t timeout_ms;
	unsigned clone_index, clone_count;
	const char *const *clone_env;
};

/* Makes it the snapshot. vm->image->store is set; vm->image->image may be NULL and then comes from
 * the snapshot, as the machine does. *ret_is_snapshot tells whether a failure is the snapshot's, so
 * that taking it again may help. */
int vm_restore(struct sm_vm *vm, const struct restore_request *q, bool *ret_is_snapshot,
	struct err *e) MUST_CHECK;

/* Makes a booted VM, whose guest is frozen, one of its own as a restored one would be: name, clone,
 * environment; commands that run in it are then to be attached to. Otherwise as vm_resume. */
int vm_adopt(struct sm_vm *vm, const char *name, const struct restore_request *q,
	struct err *e) MUST_CHECK;

/* Gives it a name, as vm_new. */
int vm_set_name(struct sm_vm *vm, const char *name, struct err *e) MUST_CHECK;

/* Resumes the guest after a restore or a rollback: acknowledged, or the VM is killed. */
int vm_resume(struct sm_vm *vm, uint64_t deadline_ns, struct err *e) MUST_CHECK;
