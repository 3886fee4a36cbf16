// SPDX-License-Identifier: Apache-2.0
/* Kernel modules of the initramfs. A kernel with all built in brings none. */
#pragma once

#include "base/err.h"

/* Loads the modules that /modules/order names, one file name a line, in that order. Without that
 * file there is nothing to do. A module that the kernel refuses is said on the console and skipped:
 * if it is needed, the step that needs it fails and says so. */
int modules_load(struct err *e) MUST_CHECK;
