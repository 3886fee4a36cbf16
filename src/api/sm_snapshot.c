// SPDX-License-Identifier: Apache-2.0
/* Snapshots for the public header: saved, described, verified. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/agent_call.h"
#include "api/draft.h"
#include "api/error.h"
#include "api/handles.h"
#include "api/options.h"
#include "api/save.h"
#include "api/snapdir.h"
#include "base/alloc.h"
#include "base/checksum.h"
#include "base/fd.h"
#include "base/snapfile.h"
#include "base/sparse.h"

enum { FREEZE_TIMEOUT_MS = 10000 };

/* ---- save ----------------------------------------------------------------------------------- */

struct thawing {
	struct freeze freeze;
	bool is_frozen;
	int result;
	struct err err;
};

static void thaw(void *context)
{
	struct thawing *t = context;

	if (!t->is_frozen)
		return;
	t->is_frozen = false;
	t->result = freeze_end(&t->freeze, &t->err);
}

/* The draft, filled and named; what runs in the guest is frozen only for the middle of it. */
static int save(struct sm_vm *vm, const struct save_request *q, int64_t freeze_timeout_ms,
	struct draft *d, struct err *e)
{
	struct thawing t = {.is_frozen = false};
	int r = freeze_begin(&t.freeze, &vm->link, freeze_timeout_ms, e);

	if (r < 0)
		return r;
	t.is_frozen = true;
	r = save_write(vm, q, d, thaw, &t, e);
	thaw(&t);
	if (r == 0 && t.result < 0) {
		*e = t.err;
		r = err_ctx(e, "saved, but what runs in the guest could not be thawed");
	}
	return r < 0 ? r : draft_commit(d, false, e);
}

static int snapshot(
	struct sm_vm *vm, const char *dir, const struct sm_snapshot_options *o, struct err *e)
{
	const struct save_request q = {.dir = dir, .base = o->base};
	int64_t timeout = o->freeze_timeout_ms ? o->freeze_timeout_ms : FREEZE_TIMEOUT_MS;
	struct draft d;
	int r = draft_begin(&d, dir, false, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&vm->lock);
	r = save(vm, &q, timeout, &d, e);
	pthread_mutex_unlock(&vm->lock);
	draft_abandon(&d);
	return r < 0 ? err_object(e, "VM %s", vm->name) : 0;
}

int sm_vm_snapshot(struct sm_vm *vm, const char *dir, const struct sm_snapshot_options *options,
	struct sm_error *err)
{
	struct sm_snapshot_options o;
	struct err e = {0};
	int r = options_copy(&o, sizeof(o), sizeof(o), options, "struct sm_snapshot_options", &e);

	if (r == 0 && (!dir || !*dir))
		r = err_set(&e, -EINVAL, "no directory was named for the snapshot");
	if (r == 0)
		r = snapshot(vm, dir, &o, &e);
	return r < 0 ? error_out(err, &e) : 0;
}

/* ---- describe ------------------------------------------------------------------------------- */

static char *base_of(const struct snapdir *d)
{
	const char *path = d->snapshot->base_path;
	char *out;

	if (!path)
		return strdup("");
	if (path[0] == '/')
		return strdup(path);
	return asprintf(&out, "%s/%s", d->path, path) < 0 ? NULL : out;
}

int sm_snapshot_info(const char *dir,
	void (*each)(const struct sm_snapshot_info *info, void *context), void *context,
	struct sm_error *err)
{
	autofree char *base = NULL;
	struct sm_snapshot_info info = SM_INIT(info);
	const struct snapshot *s;
	struct err e = {0};
	struct snapdir d;

	if (snapdir_open(dir, SNAPDIR_NO_BASE, &d, &e) < 0)
		return error_out(err, &e);
	s = d.snapshot;
	base = base_of(&d);
	info.product = s->product;
	info.architecture = s->architecture;
	info.image = s->image->reference;
	info.base = base ? base : "";
	info.memory_bytes = s->machine.memory_bytes;
	info.memory_data_bytes = s->memory.data_bytes;
	info.disk_data_bytes = s->disk.data_bytes;
	info.vcpus = s->machine.vcpus;
	info.created_unix = (int64_t)s->created;
	info.pause_us = s->pause_us;
	info.n_commands = s->n_commands;
	each(&info, context);
	snapdir_close(&d);
	return 0;
}

/* ---- verify --------------------------------------------------------------------------------- */

static int damaged(
	const struct snapdir *d, const char *name, uint64_t found, uint64_t recorded, struct err *e)
{
	err_set(e, -EBADMSG,
		"this file is damaged: its checksum is %016" PRIx64 ", and %016" PRIx64
		" was recorded",
		found, recorded);
	err_object(e, "%.160s/%s", d->path, name);
	return err_remedy(e, "copy the snapshot again, or take it again");
}

static int verify_sections(const uint8_t *data, size_t bytes, struct err *e)
{
	struct snapfile *f = malloc(sizeof(*f));
	int r;

	if (!f)
		return err_set(e, -ENOMEM, "no memory to check the state");
	r = snapfile_open(data, bytes, f, e);
	free(f);
	return r;
}

static int verify_state(const struct snapdir *d, struct err *e)
{
	const struct snapshot_file *f = &d->snapshot->state;
	autoclose int fd = snapdir_file(d, false, "state", f->bytes, e);
	autofree uint8_t *data = NULL;
	uint64_t found;
	int r;

	if (fd < 0)
		return fd;
	data = malloc(f->bytes);
	if (!data)
		return err_set(e, -ENOMEM, "no memory to check the state");
	r = fd_pread_full(fd, data, f->bytes, 0);
	if (r < 0) {
		err_set(e, r, "cannot be read: %s", strerror(-r));
		return err_object(e, "%.160s/state", d->path);
	}
	/* Which section it is tells more than that it is some. */
	r = verify_sections(data, f->bytes, e);
	if (r < 0) {
		err_ctx(e, "%s", e->object[0] ? e->object : "state");
		e->object[0] = '\0';
		return err_object(e, "%.160s/state", d->path);
	}
	found = checksum_of(data, f->bytes);
	return found == f->checksum ? 0 : damaged(d, "state", found, f->checksum, e);
}

static int verify_sparse(
	const struct snapdir *d, const char *name, const struct snapshot_file *f, struct err *e)
{
	autoclose int fd = snapdir_file(d, false, name, f->bytes, e);
	uint64_t checksum, data_bytes;
	int r;

	if (fd < 0)
		return fd;
	r = sparse_checksum(fd, &checksum, &data_bytes, e);
	if (r < 0)
		return err_object(e, "%.160s/%s", d->path, name);
	return checksum == f->checksum ? 0 : damaged(d, name, checksum, f->checksum, e);
}

static int verify(const char *dir, unsigned flags, struct err *e)
{
	struct snapdir d;
	int r = snapdir_open(dir, flags, &d, e);

	if (r < 0)
		return r;
	r = verify_state(&d, e);
	if (r == 0)
		r = verify_sparse(&d, "memory", &d.snapshot->memory, e);
	if (r == 0 && d.snapshot->machine.disk_bytes)
		r = verify_sparse(&d, "disk", &d.snapshot->disk, e);
	if (r == 0 && d.base) {
		autofree char *base = base_of(&d);

		r = base ? verify(base, 0, e) : err_set(e, -ENOMEM, "no memory for a path");
	}
	snapdir_close(&d);
	return r;
}

int sm_snapshot_verify(const char *dir, struct sm_error *err)
{
	struct err e = {0};

	/* A base is full by check, so that this ends. */
	return verify(dir, 0, &e) < 0 ? error_out(err, &e) : 0;
}
