// SPDX-License-Identifier: Apache-2.0
/* Programs of the system that are run to their end, such as mke2fs. Any thread. */
#pragma once

#include "base/err.h"

/* Runs argv[0], searched in /usr/sbin, /sbin, /usr/bin, /bin, with this environment (both
 * NULL-terminated), no input, and waits for it; the caller's other children are left alone, and no
 * signal of the caller's is touched. Returns 0; 1 when it has ended but how cannot be known, since
 * the caller reaps every child itself or ignores SIGCHLD; -ENOENT when there is no such program,
 * -EIO (-ENOSPC) when it failed, with what it said last. */
int tool_run(const char *const *argv, const char *const *env, struct err *e) MUST_CHECK;
