// SPDX-License-Identifier: Apache-2.0
/* Restored VMs for the public header: started, and made their snapshot again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/console.h"
#include "api/error.h"
#include "api/handles.h"
#include "api/options.h"
#include "api/save.h"
#include "api/vmstart.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"

enum { ROLLBACK_TIMEOUT_MS = 120000 };

/* An image handle that is filled from the snapshot. */
static int empty_image(const char *store, struct sm_image **ret, struct err *e)
{
	struct sm_image *i = calloc(1, sizeof(*i));
	int r;

	if (!i)
		return err_set(e, -ENOMEM, "no memory for an image");
	i->n_owners = 1;
	r = store_open(store, &i->store, e);
	if (r < 0) {
		image_unref(i);
		return r;
	}
	*ret = i;
	return 0;
}

static int restore(struct sm_vm *vm, const char *store, const char *dir,
	const struct sm_vm_options *o, struct err *e)
{
	const struct restore_request q = {.dir = dir,
		.timeout_ms = o->boot_timeout_ms ? o->boot_timeout_ms : START_TIMEOUT_DEFAULT_MS,
		.clone_index = o->clone_index,
		.clone_count = o->clone_count,
		.clone_env = o->clone_env};
	bool is_snapshot;
	int r = empty_image(store, &vm->image, e);

	return r < 0 ? r : vm_restore(vm, &q, &is_snapshot, e);
}

int sm_vm_restore(const char *store, const char *dir, const struct sm_vm_options *options,
	struct sm_vm **ret, struct sm_error *err)
{
	struct sm_vm_options o;
	struct sm_vm *vm = NULL;
	struct err e = {0};
	int r = options_copy(&o, sizeof(o), offsetof(struct sm_vm_options, disk_bytes), options,
		"struct sm_vm_options", &e);

	if (r == 0 && o.failed_log && o.failed_log_bytes)
		o.failed_log[0] = '\0';
	if (r == 0 && (!dir || !*dir))
		r = err_set(&e, -EINVAL, "no snapshot was named");
	if (r == 0)
		r = vm_new(o.name, &vm, &e);
	if (r < 0)
		return error_out(err, &e);
	r = restore(vm, store, dir, &o, &e);
	if (r == 0) {
		*ret = vm;
		return 0;
	}
	if (o.failed_log)
		(void)console_tail(vm->console_fd, o.failed_log, o.failed_log_bytes);
	vm_free(vm);
	return error_out(err, &e);
}

/* ---- rollback ------------------------------------------------------------------------------- */

static int reset(struct sm_vm *vm, struct err *e)
{
	struct ctl_header m;
	struct ctl_answer answer;
	autoclose int pagemap = -1;
	int r;

	if (!vm->origin_id[0]) {
		err_set(e, -EINVAL,
			"it was booted and not restored: there is no snapshot to go "
			"back to");
		return err_remedy(e, "restore it from a snapshot, then it can be reset to that");
	}
	/* From here on a connection that ends has ended for this. */
	link_cut(&vm->link);
	pagemap = save_open_pagemap(vm, NULL); /* without it the rollback only takes longer */
	r = link_ask(&vm->link, &m, sizeof(m), CTL_ROLLBACK, &pagemap, pagemap >= 0,
		clock_deadline_ns(ROLLBACK_TIMEOUT_MS), &answer, e);
	if (r < 0)
		return r;
	commands_set(&vm->commands, vm->origin_commands, vm->n_origin_commands);
	return vm_resume(vm, clock_deadline_ns(START_TIMEOUT_DEFAULT_MS), e);
}

int sm_vm_reset(struct sm_vm *vm, struct sm_error *err)
{
	struct err e = {0};
	int r;

	pthread_mutex_lock(&vm->lock);
	r = reset(vm, &e);
	pthread_mutex_unlock(&vm->lock);
	if (r == 0)
		return 0;
	err_object(&e, "VM %s", vm->name);
	return error_out(err, &e);
}
