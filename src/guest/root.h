// SPDX-License-Identifier: Apache-2.0
/*
 * The root file system: read-only layers, lowest first, and a writable layer in memory above them,
 * joined by overlayfs.
 */
#pragma once

#include "guest/disks.h"

/* Mounts the layers and joins them. tmpfs_bytes bounds the writable layer, 0: half of RAM. */
int root_mount(const struct disks *layers, uint64_t tmpfs_bytes, struct err *e) MUST_CHECK;

/* Gives the initramfs's memory back and makes what root_mount made this process's root. */
int root_enter(struct err *e) MUST_CHECK;
