// SPDX-License-Identifier: Apache-2.0
/* Strict parsing of numbers and sizes as people write them. */
#pragma once

#include "base/cc.h"

/* A decimal number without sign, blanks or anything after it. Returns 0, -EINVAL or -ERANGE. */
int str_to_u64(const char *s, uint64_t *ret) MUST_CHECK;

/* A size in bytes: a decimal number and at most one of K M G T (powers of 1024, either case,
 * "iB" or "B" may follow). Returns 0, -EINVAL or -ERANGE. */
int str_to_size(const char *s, uint64_t *ret_bytes) MUST_CHECK;

bool str_starts_with(const char *s, const char *prefix);
bool str_ends_with(const char *s, const char *suffix);
