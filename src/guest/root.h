// SPDX-License-Identifier: Apache-2.0
/*
 * The root file system: read-only layers, lowest first, and a writable layer above them, on a disk
 * or in memory, joined by overlayfs.
 */
#pragma once

#include "guest/disks.h"

/* Mounts the layers and joins them. Without a writable disk tmpfs_bytes bounds the writable layer,
 * 0: half of RAM. */
int root_mount(const struct disks *disks, uint64_t tmpfs_bytes, struct err *e) MUST_CHECK;

/* A descriptor of the writable disk's file system, which nothing in the root leads to, or -1. To be
 * called between root_mount and root_enter. */
int root_writable_fd(const struct disks *disks);

/* Tells the host which blocks of it are free (FITRIM). Returns 0 or -errno. */
int root_trim(int writable_fd) MUST_CHECK;

/* Gives the initramfs's memory back and makes what root_mount made this process's root. */
int root_enter(struct err *e) MUST_CHECK;
