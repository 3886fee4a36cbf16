// SPDX-License-Identifier: Apache-2.0
/* Which interpreter an executable file asks for: the "#!" line of a script, the dynamic loader of
 * an ELF program. Only for the sentence that says why execve failed; the file is a stranger's. */
#pragma once

#include "base/cc.h"

/* Writes its path, terminated. Returns 0, -ENOENT when the file asks for none, or -errno. */
int interp_of(const char *path, char *out, size_t out_bytes) MUST_CHECK;
