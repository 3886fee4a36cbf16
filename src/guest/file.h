// SPDX-License-Identifier: Apache-2.0
/* Small files, read and written whole, and the directories they live in. */
#pragma once

#include <sys/types.h>

#include "base/buf.h"

/* Appends all of a regular file to b. Never waits for a stranger: a FIFO or device under that name
 * is -EINVAL. Returns 0, -errno, -E2BIG at the buffer's ceiling, or -ENOMEM. Files whose size
 * cannot be known (procfs, sysfs) are fine. */
int file_read(const char *path, struct buf *b) MUST_CHECK;

/* Replaces the contents of a file, made with mode 0644 if it is new. Returns 0 or -errno. */
int file_write(const char *path, const char *text) MUST_CHECK;

/* The same in place: what the file occupies is used again, so that a short text costs no access to
 * the disk. Who reads meanwhile may see some of both. */
int file_rewrite(const char *path, const char *text) MUST_CHECK;

/* Makes a directory and those above it; one that exists is fine. Returns 0 or -errno; -ENOTDIR when
 * something else has that name, -ENAMETOOLONG from PATH_MAX on. */
int file_make_dirs(const char *path, mode_t mode) MUST_CHECK;
