// SPDX-License-Identifier: Apache-2.0
#include "vms.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "peer.h"

enum { LOG_BYTES = 4096 };

static void complain(const struct sm_error *err, const char *what)
{
	char why[1024];

	sm_error_sentence(err, why, sizeof(why));
	fprintf(stderr, "bench: %s: %s\n", what, why);
}

void vms_check(int r, const struct sm_error *err, const char *what)
{
	if (r >= 0)
		return;
	complain(err, what);
	die("nothing can be measured");
}

void vms_open(struct vms *v, const char *store, const char *image, const char *kernel)
{
	struct sm_error err;

	*v = (struct vms){.store = store, .kernel = kernel};
	vms_check(sm_image_open(store, image, NULL, &v->image, &err), &err, image);
}

static struct sm_vm *start(const struct vms *v, unsigned mib, bool is_baked)
{
	struct sm_vm_options o = SM_INIT(o);
	struct sm_error err;
	struct sm_vm *vm;

	o.memory_bytes = (uint64_t)mib << 20;
	o.kernel = v->kernel;
	o.no_bake = !is_baked;
	vms_check(
		sm_vm_start(v->image, &o, &vm, &err), &err, is_baked ? "baked start" : "cold boot");
	return vm;
}

struct sm_vm *vms_boot(const struct vms *v, unsigned mib)
{
	return start(v, mib, false);
}

struct sm_vm *vms_start_baked(const struct vms *v, unsigned mib, bool is_populated)
{
	struct sm_vm *vm;

	setenv("SUPERMACHINE_POPULATE", is_populated ? "1" : "0", 1);
	vm = start(v, mib, true);
	unsetenv("SUPERMACHINE_POPULATE");
	return vm;
}

struct sm_vm *vms_try_restore(const struct vms *v, const char *dir)
{
	struct sm_vm_options o = SM_INIT(o);
	char log[LOG_BYTES] = "";
	struct sm_error err;
	struct sm_vm *vm;

	o.failed_log = log;
	o.failed_log_bytes = sizeof(log);
	if (sm_vm_restore(v->store, dir, &o, &vm, &err) >= 0)
		return vm;
	complain(&err, dir);
	fprintf(stderr, "%s\n", log);
	return NULL;
}

struct sm_vm *vms_restore(const struct vms *v, const char *dir)
{
	struct sm_vm *vm = vms_try_restore(v, dir);

	if (!vm)
		die("a restore failed");
	return vm;
}

bool vms_try_true(struct sm_vm *vm)
{
	static const char *const argv[] = {"/bin/busybox", "true", NULL};
	char log[LOG_BYTES];
	struct sm_output out;
	struct sm_error err;
	int status;

	if (sm_exec_output(vm, argv, NULL, &out, &err) < 0) {
		complain(&err, "true");
		if (sm_vm_logs(vm, log, sizeof(log), NULL) > 0)
			fprintf(stderr, "%s\n", log);
		return false;
	}
	status = out.exit.status;
	sm_output_free(&out);
	return status == 0;
}

void vms_true(struct sm_vm *vm)
{
	if (!vms_try_true(vm))
		die("true failed");
}

void vms_snapshot(struct sm_vm *vm, const char *dir, const char *base)
{
	struct sm_snapshot_options o = SM_INIT(o);
	struct sm_error err;

	o.base = base;
	vms_check(sm_vm_snapshot(vm, dir, &o, &err), &err, dir);
}

void vms_take(const struct vms *v, unsigned mib, const char *dir)
{
	struct sm_vm *vm = vms_boot(v, mib);

	vms_snapshot(vm, dir, NULL);
	sm_vm_close(vm);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st, (void)kind, (void)where;
	return remove(path);
}

void vms_remove_tree(const char *dir)
{
	if (nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
		die("remove %s: %s", dir, strerror(errno));
}
