// SPDX-License-Identifier: Apache-2.0
/* The boot configuration as a file of the initramfs. */
#pragma once

#include "base/err.h"
#include "proto/bootcfg.h"

/* Reads and checks `path` (BOOTCFG_PATH in a guest). */
int bootfile_read(const char *path, struct bootcfg *ret, struct err *e) MUST_CHECK;
