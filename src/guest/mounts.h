// SPDX-License-Identifier: Apache-2.0
/* The kernel's own file systems: what init needs in the initramfs, and what a container expects. */
#pragma once

#include "base/err.h"

/* /proc, /sys and /dev in the initramfs. */
int mounts_early(struct err *e) MUST_CHECK;

/* The same and /dev/pts, /dev/shm, /dev/mqueue, /sys/fs/cgroup and the links in /dev, in the root
 * that the process now has. Missing directories are made. */
int mounts_container(struct err *e) MUST_CHECK;
