// SPDX-License-Identifier: Apache-2.0
/* The end of the guest. */
#pragma once

#include "base/err.h"

/* Writes file systems and unmounts those on writable disks, then powers off or restarts; restarts,
 * too, where the kernel cannot power off. Returns only if the kernel refuses. */
void power_off(bool is_reset);

/* The guest cannot start: says "init: fatal: <sentence>" on the console and powers off. */
NORETURN void power_fatal(const struct err *e);
