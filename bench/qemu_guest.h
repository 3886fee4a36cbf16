// SPDX-License-Identifier: Apache-2.0
/*
 * Our guest as a template of QEMU microvm: booted once with the same kernel, initramfs and layer,
 * its workload frozen, then saved. A round restores it, goes through the step that the agent wants
 * after a restore, over vhost-vsock, and runs a command: what sm_vm_restore and sm_exec_output do.
 */
#pragma once

#include "qemu.h"

struct qemu_guest {
	struct qemu_template template;
	int listener, layer_fd;
};

/* `store`: where a layer of the image lies; initramfs: one or several files joined by commas. */
void qemu_guest_prepare(struct qemu_guest *g, const char *qemu, const char *directory,
	const char *store, const char *kernel, const char *initramfs, unsigned mib);

enum { QEMU_GUEST_RESTORED, QEMU_GUEST_RESUMED, QEMU_GUEST_EXECUTED, QEMU_GUEST_STEPS };

/* Gives microseconds from spawning QEMU until it has loaded the state, until the agent has resumed,
 * and until the command's exit status. */
void qemu_guest_round(struct qemu_guest *g, double ret_at_us[QEMU_GUEST_STEPS]);
