// SPDX-License-Identifier: Apache-2.0
/*
 * The disk that takes what a guest writes: a sparse ext4 file system, empty, shared by all VMs that
 * want that size, made once in the store's directory "disks"; and for each VM a nameless file of
 * its own beside it, which goes with its last descriptor. Any thread, any process.
 */
#pragma once

#include "base/err.h"
#include "oci/store.h"

#define DISK_BYTES	((uint64_t)8 << 30)
#define DISK_BYTES_MIN	((uint64_t)64 << 20)
#define DISK_BYTES_MAX	((uint64_t)16 << 40)
#define DISK_PAGE_BYTES ((uint64_t)4096)

/* Opens the empty file system of this size read-only, making it with mke2fs if it is not there.
 * Returns a descriptor; -ENOENT without e2fsprogs, -ENOSPC and others. */
int disk_open_template(struct store *s, uint64_t bytes, struct err *e) MUST_CHECK;

/* A new, empty, nameless file in the store, or where temporary files are if the store's file system
 * has none (9p). Returns a descriptor, read-write. */
int disk_open_delta(struct store *s, struct err *e) MUST_CHECK;
