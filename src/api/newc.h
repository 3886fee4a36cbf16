// SPDX-License-Identifier: Apache-2.0
/* A cpio archive in the "newc" form (Linux Documentation/driver-api/early-userspace/
 * buffer-format.rst), as the kernel unpacks it into its first root file system. */
#pragma once

#include "base/buf.h"

/* Appends a regular file, readable to root only. Returns 0, -E2BIG or -ENOMEM. */
int newc_add_file(struct buf *b, const char *name, const void *data, size_t bytes) MUST_CHECK;

/* Appends the trailer; pads to 4 bytes, as the next archive in the initramfs expects. */
int newc_end(struct buf *b) MUST_CHECK;
