// SPDX-License-Identifier: Apache-2.0
#include "api/bake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/bakesweep.h"
#include "api/bakewhy.h"
#include "api/console.h"
#include "api/draft.h"
#include "api/options.h"
#include "api/parts.h"
#include "api/save.h"
#include "api/vmstart.h"
#include "api/workload.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"
#include "oci/object.h"

/* The host name of a VM that is nobody's yet. */
#define GENERIC_NAME "supermachine"

enum { FREEZE_TIMEOUT_MS = 30000, PAGES_TIMEOUT_MS = 120000, TEXT_BYTES = 512 };

void bake_tell(const struct sm_vm_options *o, enum sm_notice_kind kind, const char *text, ...)
{
	char line[TEXT_BYTES];
	struct sm_notice n = {.kind = kind, .text = line};
	va_list ap;

	if (!o->notice)
		return;
	va_start(ap, text);
	vsnprintf(line, sizeof(line), text, ap);
	va_end(ap);
	o->notice(&n, o->context);
}

/* ---- which one ------------------------------------------------------------------------------ */

static int find_kernel(struct machine *m, struct err *e)
{
	char *path;
	int r = parts_find_kernel(m->kernel, &path, e);

	if (r < 0)
		return r;
	free(m->kernel);
	m->kernel = path;
	return 0;
}

int bake_init(struct bake *b, struct sm_image *image, const struct sm_vm_options *options,
	const struct machine *machine, struct err *e)
{
	struct bakekey_request q = {.image = image->image, .options = options};
	int r;

	*b = (struct bake){.image = image, .options = options};
	r = options_copy(&b->workload, sizeof(b->workload), sizeof(b->workload),
		options->workload_options, "struct sm_exec_options", e);
	if (r < 0)
		return r;
	b->workload.is_entrypoint = 1;
	r = machine_copy(machine, &b->machine);
	r = r < 0 ? err_set(e, r, "no memory for a VM") : find_kernel(&b->machine, e);
	q.machine = &b->machine;
	q.workload = options->ready == SM_READY_INIT ? NULL : &b->workload;
	if (r == 0)
		r = bakekey_make(&b->key, &q, e);
	if (r == 0 &&
		asprintf(&b->dir, "%s/snapshots/%s", store_path(image->store), b->key.hex) < 0) {
		b->dir = NULL;
		r = err_set(e, -ENOMEM, "no memory for a path");
	}
	if (r < 0)
		bake_fini(b);
	return r;
}

void bake_fini(struct bake *b)
{
	machine_fini(&b->machine);
	bakekey_fini(&b->key);
	free(b->dir);
	b->dir = NULL;
}

/* A directory that has its name is whole. */
static bool is_there(struct bake *b)
{
	struct stat st;

	if (stat(b->dir, &st) < 0)
		return false;
	b->seen = st.st_ino;
	return true;
}

/* Becomes the only one who bakes this. Returns a descriptor to close. */
static int lock(const struct bake *b, struct err *e)
{
	autofree char *path = NULL;
	autoclose int fd = -1;
	int r = object_make_directory(b->image->store, "snapshots", e);

	if (r < 0)
		return r;
	if (asprintf(&path, "%s.lock", b->dir) < 0) {
		path = NULL;
		return err_set(e, -ENOMEM, "no memory for a path");
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return object_write_failed(b->image->store, -errno, e);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return take_fd(&fd);
	bake_tell(b->options, SM_NOTICE_WAIT, "somebody else bakes this state: waiting for it");
	do
		r = flock(fd, LOCK_EX);
	while (r < 0 && errno == EINTR);
	return r < 0 ? object_write_failed(b->image->store, -errno, e) : take_fd(&fd);
}

/* ---- the state ------------------------------------------------------------------------------ */

static int run_callback(const struct bake *b, struct sm_vm *vm, struct err *e)
{
	int answer;

	if (!b->options->on_warmup)
		return 0;
	answer = b->options->on_warmup(vm, b->options->context);
	if (!answer)
		return 0;
	err_set(e, -ECANCELED, "the program's warm-up gave up (%d)", answer);
	return err_object(e, "warm-up");
}

/* Starts what the state is about and waits until it is ready, then freezes. A workload's output is
 * taken until the moment it stands still; from then on its pipes keep it for whoever attaches. */
static int prepare(const struct bake *b, struct bake_result *res, struct err *e)
{
	const struct sm_vm_options *o = b->options;
	uint64_t deadline = clock_deadline_ns(o->ready_timeout_ms);
	struct workload w;
	int r = 0;

	workload_init(&w, res->vm, &b->workload);
	if (o->ready != SM_READY_INIT) {
		r = workload_start(&w, o->workload, e);
		if (r == 0)
			r = workload_ready(&w, o, deadline, e);
	}
	if (r == 0 && o->warmup)
		r = workload_warm(&w, o->warmup, e);
	if (r == 0)
		r = run_callback(b, res->vm, e);
	if (r == 0) {
		res->can_run_cold = true;
		r = freeze_begin(&res->freeze, &res->vm->link, FREEZE_TIMEOUT_MS, e);
		res->is_frozen = r == 0;
	}
	/* What is frozen lives on without the connection it was started from. */
	if (r == 0)
		workload_leave(&w);
	workload_fini(&w);
	return r;
}

/* Which pages a restored VM touches until it is resumed, found out by restoring it once; that it
 * can be restored is learnt on the way. */
static int try_out(const struct bake *b, struct draft *d, struct err *e)
{
	const struct restore_request q = {
		.dir = d->tmp, .is_trial = true, .timeout_ms = b->options->boot_timeout_ms};
	struct sm_vm *vm;
	bool is_snapshot;
	int r = vm_new(GENERIC_NAME, &vm, e);

	if (r < 0)
		return r;
	vm->image = image_ref(b->image);
	r = vm_restore(vm, &q, &is_snapshot, e);
	if (r == 0)
		save_pages(vm, d, clock_deadline_ns(PAGES_TIMEOUT_MS));
	vm_free(vm);
	return r < 0 ? err_ctx(e, "the baked state cannot be restored") : 0;
}

void bake_drop_vm(struct bake_result *res)
{
	if (res->is_frozen)
		freeze_drop(&res->freeze);
	res->is_frozen = false;
	vm_free(res->vm);
	res->vm = NULL;
}

int bake_adopt_vm(struct bake_result *res, const struct bake *b, struct sm_vm **ret, struct err *e)
{
	const struct sm_vm_options *o = b->options;
	const struct restore_request q = {.timeout_ms = o->boot_timeout_ms,
		.clone_index = o->clone_index,
		.clone_count = o->clone_count,
		.clone_env = o->clone_env};
	int r = vm_adopt(res->vm, o->name, &q, e);

	if (r == 0)
		*ret = take_ptr(&res->vm);
	bake_drop_vm(res);
	return r;
}

/* Saves the VM, which is then gone. */
static int save(const struct bake *b, struct bake_result *res, struct draft *d, struct err *e)
{
	const struct save_request q = {.dir = b->dir};
	int r;

	pthread_mutex_lock(&res->vm->lock);
	r = save_write(res->vm, &q, d, NULL, NULL, e);
	pthread_mutex_unlock(&res->vm->lock);
	if (r == 0)
		r = draft_put(d, "key", b->key.text.data, b->key.text.bytes, e);
	if (r == 0)
		bake_drop_vm(res);
	return r;
}

static int keep(const struct bake *b, struct bake_result *res, struct err *e)
{
	struct draft d;
	int r = draft_begin(&d, b->dir, true, e);

	if (r < 0)
		return r;
	r = save(b, res, &d, e);
	if (r == 0)
		r = try_out(b, &d, e);
	if (r == 0)
		r = draft_commit(&d, true, e);
	draft_abandon(&d);
	if (r == 0)
		bakesweep(b->image->store, b->image->image->reference);
	return r;
}

int bake_make_vm(const struct bake *b, struct bake_result *res, struct err *e)
{
	int r = vm_new(GENERIC_NAME, &res->vm, e);

	if (r < 0)
		return r;
	res->vm->image = image_ref(b->image);
	r = machine_copy(&b->machine, &res->vm->machine);
	r = r < 0 ? err_set(e, r, "no memory for a VM")
		  : vm_boot(res->vm, b->options->boot_timeout_ms, e);
	if (r == 0)
		r = prepare(b, res, e);
	if (r == 0)
		return 0;
	if (b->options->failed_log)
		(void)console_tail(
			res->vm->console_fd, b->options->failed_log, b->options->failed_log_bytes);
	bake_drop_vm(res);
	return r;
}

static int bake(const struct bake *b, struct bake_result *res, struct err *e)
{
	int r = bake_make_vm(b, res, e);

	if (r == 0)
		r = keep(b, res, e);
	res->is_made = r == 0;
	return r;
}

int bake_ensure(struct bake *b, const char *redo, struct bake_result *ret, struct err *e)
{
	uint64_t of_no_use = redo ? b->seen : 0;
	char why[TEXT_BYTES];

	*ret = (struct bake_result){.is_made = false};
	if (!redo && is_there(b))
		return 0;
	autoclose int fd = lock(b, e);
	if (fd < 0) {
		/* A store that cannot be written to still runs images. */
		ret->can_run_cold = true;
		return fd;
	}
	if (is_there(b) && b->seen != of_no_use)
		return 0;
	if (redo)
		snprintf(why, sizeof(why), "%s", redo);
	else
		bakewhy(b->image->store, &b->key, b->image->image->reference, why, sizeof(why));
	bake_tell(b->options, SM_NOTICE_BAKE, "%s", why);
	return bake(b, ret, e);
}
