// SPDX-License-Identifier: Apache-2.0
/* vfork(2) with the choice of a control group, which only clone3(2) has (since Linux 5.7). */
#pragma once

#include <stddef.h>
#include <linux/sched.h>

/* `args` must have CLONE_VM and CLONE_VFORK and no stack. Returns the child's ID to the parent, 0
 * to the child, which must not return from the function that called this, or -errno. */
long vfork_into(const struct clone_args *args, size_t bytes) __attribute__((returns_twice));
