// SPDX-License-Identifier: Apache-2.0
/*
 * VMs of one image by the public library, as a measurement wants them: what fails ends the program
 * with the library's sentence, unless said otherwise. Any thread.
 */
#pragma once

#include "base/cc.h"
#include "supermachine.h"

struct vms {
	const char *store, *kernel;
	struct sm_image *image;
};

/* Ends the program when r is negative. */
void vms_check(int r, const struct sm_error *err, const char *what);

void vms_open(struct vms *v, const char *store, const char *image, const char *kernel);

struct sm_vm *vms_boot(const struct vms *v, unsigned mib);

/* From the image's baked state; the first call bakes. The recorded write set is populated or not.
 */
struct sm_vm *vms_start_baked(const struct vms *v, unsigned mib, bool is_populated);

struct sm_vm *vms_restore(const struct vms *v, const char *dir);

/* NULL: it failed; the reason and the guest's console are on stderr. */
struct sm_vm *vms_try_restore(const struct vms *v, const char *dir);

/* Runs /bin/busybox true. */
void vms_true(struct sm_vm *vm);

/* The same; false: it failed; the reason and the guest's console are on stderr. */
bool vms_try_true(struct sm_vm *vm);

/* base: of a differential snapshot, or NULL. */
void vms_snapshot(struct sm_vm *vm, const char *dir, const char *base);

/* Takes a snapshot of a VM that has just booted. */
void vms_take(const struct vms *v, unsigned mib, const char *dir);

void vms_remove_tree(const char *dir);
