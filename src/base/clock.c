// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <limits.h>
#include <time.h>

enum { NS_PER_MS = 1000000 };

uint64_t clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t clock_deadline_ns(int64_t timeout_ms)
{
	uint64_t ns;

	if (timeout_ms < 0 || mul_overflows((uint64_t)timeout_ms, (uint64_t)NS_PER_MS, &ns) ||
		add_overflows(ns, clock_now_ns(), &ns))
		return UINT64_MAX;
	return ns;
}

int clock_left_ms(uint64_t deadline_ns)
{
	uint64_t now, ms;

	if (deadline_ns == UINT64_MAX)
		return -1;
	now = clock_now_ns();
	if (now >= deadline_ns)
		return 0;
	ms = (deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}
