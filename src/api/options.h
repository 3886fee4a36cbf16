// SPDX-License-Identifier: Apache-2.0
/* The rule by which option structs grow: they begin with their size, new fields are appended. */
#pragma once

#include "base/err.h"

/* Copies the caller's struct `from` into `to`, which has room for `bytes` bytes and is zeroed
 * first. NULL gives all zero (`to->size` excepted). A smaller, older struct is accepted; a larger
 * one only when what this version does not know is zero. `minimum` is the size of the first
 * version. Returns 0 or -EINVAL, with `name` as the object. */
int options_copy(void *to, size_t bytes, size_t minimum, const void *from, const char *name,
	struct err *e) MUST_CHECK;
