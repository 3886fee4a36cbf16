// SPDX-License-Identifier: Apache-2.0
/*
 * Address ranges to device handlers. The machine has two: one for MMIO, one for port I/O.
 *
 * Filled while the machine is built, frozen before the first vCPU runs, never changed after: so
 * look-ups from any number of vCPU threads need no lock. It knows nothing of what is behind a
 * range. What no single range covers wholly is unmapped: reads give all ones, writes are ignored.
 */
#pragma once

#include "base/err.h"

enum {
	BUS_RANGES_MAX = 64,
	BUS_ACCESS_MAX = 8, /* the widest single access, bytes */
};

/* Called on the accessing vCPU's thread, by several of them at once; devices lock for themselves.
 * offset is from the range's base; offset + bytes never passes the range's end; bytes is 1..8. */
struct bus_ops {
	void (*read)(void *ctx, uint64_t offset, void *ret_data, unsigned bytes);
	void (*write)(void *ctx, uint64_t offset, const void *data, unsigned bytes);
};

struct bus_range {
	uint64_t base;
	uint64_t last; /* inclusive, so that a range may end at the top of the address space */
	const struct bus_ops *ops;
	void *ctx;
	const char *name;
};

struct bus {
	unsigned n;
	bool is_frozen;
	struct bus_range ranges[BUS_RANGES_MAX]; /* ascending, disjoint */
};

void bus_init(struct bus *b);

/* Puts [base, base + bytes) in the care of a handler; ops, ctx and name are borrowed for as long
 * as the bus lives. Returns 0, or negative with the reason in e: -EINVAL for an empty range or one
 * that passes the end of the address space, -EEXIST when it overlaps another (both named), -ENOSPC
 * when the table is full, -EBUSY when the bus is frozen. */
int bus_add(struct bus *b, uint64_t base, uint64_t bytes, const struct bus_ops *ops, void *ctx,
	const char *name, struct err *e) MUST_CHECK;

/* No bus_add after this. */
void bus_freeze(struct bus *b);

/* One access of 1..BUS_ACCESS_MAX bytes. Return whether a device answered; an unanswered read
 * fills ret_data with 0xff. */
bool bus_read(const struct bus *b, uint64_t address, void *ret_data, unsigned bytes);
bool bus_write(const struct bus *b, uint64_t address, const void *data, unsigned bytes);
