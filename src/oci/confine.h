// SPDX-License-Identifier: Apache-2.0
/*
 * Shuts the helper program in before it parses a stranger's bytes: no new privileges, no core
 * dumps, no program started, and (Landlock, Linux 5.19 on) no file seen but the store, the source
 * and the system's own under /usr. Where the kernel has no Landlock the rest still holds.
 */
#pragma once

#include "base/err.h"

int confine_to(const char *store, const char *source, struct err *e) MUST_CHECK;
