// SPDX-License-Identifier: Apache-2.0
/* Starting a VM from an image for the public header: by its baked state, or cold. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/bake.h"
#include "api/bakesweep.h"
#include "api/console.h"
#include "api/disk.h"
#include "api/error.h"
#include "api/handles.h"
#include "api/options.h"
#include "api/vmstart.h"
#include "base/alloc.h"

enum { VCPUS_MAX = CTL_VCPUS_MAX, READY_TIMEOUT_MS = 60000 };

#define MIB	   ((uint64_t)1 << 20)
#define MEMORY_MIN (32 * MIB)
#define MEMORY_MAX (MIB << 20)
#define MEMORY	   (512 * MIB)

/* ---- options ------------------------------------------------------------------------------- */

static int check_machine(struct sm_vm_options *o, struct err *e)
{
	if (!o->vcpus)
		o->vcpus = 1;
	if (o->vcpus > VCPUS_MAX) {
		err_set(e, -EINVAL, "a VM has 1 to %d vCPUs, not %u", VCPUS_MAX, o->vcpus);
		err_object(e, "vcpus");
		return err_remedy(e, "ask for at most %d", VCPUS_MAX);
	}
	if (!o->memory_bytes)
		o->memory_bytes = MEMORY;
	if (o->memory_bytes < MEMORY_MIN || o->memory_bytes > MEMORY_MAX) {
		err_set(e, -EINVAL, "a VM has 32 MiB to 1 TiB of memory, not %llu bytes",
			(unsigned long long)o->memory_bytes);
		err_object(e, "memory");
		return err_remedy(e, "ask for at least 32 MiB; 512 MiB is the default");
	}
	o->memory_bytes = ALIGN_UP(o->memory_bytes, 2 * MIB);
	if (!o->boot_timeout_ms)
		o->boot_timeout_ms = START_TIMEOUT_DEFAULT_MS;
	return 0;
}

static int check_disk(struct sm_vm_options *o, struct err *e)
{
	if (o->disk_bytes && o->tmpfs_bytes) {
		err_set(e, -EINVAL, "what the guest writes goes to a disk or to a tmpfs, not both");
		err_object(e, "disk");
		return err_remedy(e, "leave one of disk_bytes and tmpfs_bytes 0");
	}
	if (o->tmpfs_bytes > o->memory_bytes) {
		err_set(e, -EINVAL, "a tmpfs of %llu bytes does not fit into %llu bytes of memory",
			(unsigned long long)o->tmpfs_bytes, (unsigned long long)o->memory_bytes);
		err_object(e, "tmpfs");
		return err_remedy(e, "ask for less, for more memory, or for a disk");
	}
	if (o->tmpfs_bytes)
		return 0;
	if (!o->disk_bytes)
		o->disk_bytes = DISK_BYTES;
	if (o->disk_bytes < DISK_BYTES_MIN || o->disk_bytes > DISK_BYTES_MAX) {
		err_set(e, -EINVAL, "a VM's disk has 64 MiB to 16 TiB, not %llu bytes",
			(unsigned long long)o->disk_bytes);
		err_object(e, "disk");
		return err_remedy(e, "ask for at least 64 MiB; 8 GiB is the default, and only what "
				     "is written takes room");
	}
	o->disk_bytes = ALIGN_UP(o->disk_bytes, DISK_PAGE_BYTES);
	return 0;
}

static int no_workload(struct err *e, const char *cause)
{
	err_set(e, -EINVAL, "%s", cause);
	return err_object(e, "ready");
}

static int check_ready(struct sm_vm_options *o, struct err *e)
{
	bool is_init = o->ready == SM_READY_INIT;

	if (o->ready > SM_READY_FILE)
		return no_workload(e, "there is no such readiness");
	if (is_init && o->workload)
		return no_workload(e, "a workload needs to be said when it is ready");
	if (!is_init && !o->workload)
		return no_workload(e, "there is no workload that could become ready");
	if ((o->ready == SM_READY_EXEC || o->ready == SM_READY_FILE) &&
		(!o->ready_text || !o->ready_text[0]))
		return no_workload(e, "neither a command nor a path says when it is ready");
	if (o->ready == SM_READY_FILE && o->ready_text[0] != '/')
		return no_workload(e, "the file of a readiness is an absolute path");
	if (o->on_warmup && (!o->warmup_key || !o->warmup_key[0]) && !o->no_bake) {
		err_set(e, -EINVAL, "a warm-up by the program needs a key that names what it does");
		return err_object(e, "warmup_key");
	}
	if (!o->ready_timeout_ms)
		o->ready_timeout_ms = READY_TIMEOUT_MS;
	return 0;
}

static int read_options(const struct sm_vm_options *options, struct sm_vm_options *o, struct err *e)
{
	int r = options_copy(o, sizeof(*o), offsetof(struct sm_vm_options, disk_bytes), options,
		"struct sm_vm_options", e);

	if (r == 0 && o->failed_log && o->failed_log_bytes)
		o->failed_log[0] = '\0';
	if (r == 0)
		r = check_machine(o, e);
	if (r == 0)
		r = check_disk(o, e);
	return r < 0 ? r : check_ready(o, e);
}

/* Borrows the texts. */
static struct machine machine_of(const struct sm_vm_options *o)
{
	return (struct machine){
		.memory_bytes = o->memory_bytes,
		.vcpus = o->vcpus,
		.disk_bytes = o->disk_bytes,
		.tmpfs_bytes = o->tmpfs_bytes,
		.cmdline = (char *)(uintptr_t)o->cmdline,
		.kernel = (char *)(uintptr_t)o->kernel,
	};
}

/* ---- by either way -------------------------------------------------------------------------- */

static int failed(struct sm_vm *vm, const struct sm_vm_options *o, int code, struct err *e)
{
	err_object(e, "VM %s", vm->name);
	if (o->failed_log)
		(void)console_tail(vm->console_fd, o->failed_log, o->failed_log_bytes);
	vm_free(vm);
	return code;
}

static int boot(
	struct sm_image *image, const struct sm_vm_options *o, struct sm_vm **ret, struct err *e)
{
	const struct machine m = machine_of(o);
	struct sm_vm *vm;
	int r = vm_new(o->name, &vm, e);

	if (r < 0)
		return r;
	vm->image = image_ref(image);
	r = machine_copy(&m, &vm->machine);
	r = r < 0 ? err_set(e, r, "no memory for a VM") : vm_boot(vm, o->boot_timeout_ms, e);
	if (r < 0)
		return failed(vm, o, r, e);
	*ret = vm;
	return 0;
}

/* Without a snapshot, because there can be none: the VM that it was to be made of, or another one
 * brought to the same state. */
static int run_cold(struct bake *b, struct bake_result *res, const struct err *why,
	struct sm_vm **ret, struct err *e)
{
	const struct sm_vm_options *o = b->options;
	char sentence[400];
	int r;

	err_sentence(why, sentence, sizeof(sentence));
	bake_tell(o, SM_NOTICE_COLD, "not baked: %s", sentence);
	if (res->vm && bake_adopt_vm(res, b, ret, e) == 0)
		return 0;
	if (o->ready == SM_READY_INIT && !o->warmup && !o->on_warmup)
		return boot(b->image, o, ret, e);
	r = bake_make_vm(b, res, e);
	return r < 0 ? r : bake_adopt_vm(res, b, ret, e);
}

static int restore(struct bake *b, struct sm_vm **ret, bool *ret_is_snapshot, struct err *e)
{
	const struct sm_vm_options *o = b->options;
	const struct restore_request q = {.dir = b->dir,
		.timeout_ms = o->boot_timeout_ms,
		.clone_index = o->clone_index,
		.clone_count = o->clone_count,
		.clone_env = o->clone_env};
	struct sm_vm *vm;
	int r = vm_new(o->name, &vm, e);

	*ret_is_snapshot = false;
	if (r < 0)
		return r;
	vm->image = image_ref(b->image);
	r = vm_restore(vm, &q, ret_is_snapshot, e);
	if (r < 0)
		return failed(vm, o, r, e);
	bakesweep_note_use(b->dir);
	*ret = vm;
	return 0;
}

/* A state that cannot be restored here is baked once more. */
static int start_baked(struct bake *b, struct sm_vm **ret, struct err *e)
{
	struct bake_result res;
	char reason[400];
	bool is_snapshot;
	int r;

	for (const char *redo = NULL;; redo = reason) {
		r = bake_ensure(b, redo, &res, e);
		if (r < 0 && res.can_run_cold) {
			struct err why = *e;

			return run_cold(b, &res, &why, ret, e);
		}
		if (r < 0)
			return r;
		r = restore(b, ret, &is_snapshot, e);
		if (r == 0 || !is_snapshot || redo)
			return r;
		err_sentence(e, reason, sizeof(reason));
	}
}

static int start(
	struct sm_image *image, const struct sm_vm_options *o, struct sm_vm **ret, struct err *e)
{
	const struct machine m = machine_of(o);
	struct bake b;
	int r;

	if (o->no_bake)
		return boot(image, o, ret, e);
	r = bake_init(&b, image, o, &m, e);
	if (r < 0)
		return r;
	r = start_baked(&b, ret, e);
	bake_fini(&b);
	return r;
}

int sm_vm_start(struct sm_image *image, const struct sm_vm_options *options, struct sm_vm **ret,
	struct sm_error *err)
{
	struct sm_vm_options o;
	struct err e = {0};
	int r = read_options(options, &o, &e);

	if (r == 0)
		r = start(image, &o, ret, &e);
	return r < 0 ? error_out(err, &e) : 0;
}

/* ---- only the state ------------------------------------------------------------------------- */

static int bake(struct sm_image *image, const struct sm_vm_options *o, char *out, size_t out_bytes,
	struct err *e)
{
	const struct machine m = machine_of(o);
	struct bake_result res = {.is_made = false};
	struct bake b;
	int r = bake_init(&b, image, o, &m, e);

	if (r < 0)
		return r;
	r = bake_ensure(&b, NULL, &res, e);
	bake_drop_vm(&res);
	if (r == 0 && out && strlen(b.dir) >= out_bytes) {
		r = err_set(
			e, -ENAMETOOLONG, "its directory's name has %zu characters", strlen(b.dir));
		err_remedy(e, "give more room for it");
	}
	if (r == 0 && out)
		strcpy(out, b.dir);
	bake_fini(&b);
	return r < 0 ? r : res.is_made;
}

int sm_image_bake(struct sm_image *image, const struct sm_vm_options *options, char *out,
	size_t out_bytes, struct sm_error *err)
{
	struct sm_vm_options o;
	struct err e = {0};
	int r = read_options(options, &o, &e);

	if (r == 0)
		r = bake(image, &o, out, out_bytes, &e);
	return r < 0 ? error_out(err, &e) : r;
}
