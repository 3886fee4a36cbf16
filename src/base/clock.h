// SPDX-License-Identifier: Apache-2.0
/* Monotonic time and deadlines. */
#pragma once

#include "base/cc.h"

enum { CLOCK_FOREVER_MS = -1 };

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t clock_now_ns(void);

/* The moment `timeout_ms` from now; CLOCK_FOREVER_MS (any negative) gives UINT64_MAX, "never". */
uint64_t clock_deadline_ns(int64_t timeout_ms);

/* What is left until the deadline, rounded up, as poll(2) wants it: -1 for "never", 0 when over. */
int clock_left_ms(uint64_t deadline_ns);
