// SPDX-License-Identifier: Apache-2.0
#include "dev/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void bus_init(struct bus *b)
{
	b->n = 0;
	b->is_frozen = false;
}

static int refuse_overlap(const struct bus_range *there, uint64_t base, uint64_t last,
	const char *name, struct err *e)
{
	err_set(e, -EEXIST,
		"its addresses 0x%" PRIx64 "-0x%" PRIx64 " overlap 0x%" PRIx64 "-0x%" PRIx64
		" of %s",
		base, last, there->base, there->last, there->name);
	err_object(e, "%s", name);
	err_remedy(e, "give the two devices addresses of their own");
	return -EEXIST;
}

static int refuse(int code, const char *cause, const char *name, struct err *e)
{
	err_set(e, code, "%s", cause);
	err_object(e, "%s", name);
	return code;
}

int bus_add(struct bus *b, uint64_t base, uint64_t bytes, const struct bus_ops *ops, void *ctx,
	const char *name, struct err *e)
{
	uint64_t last;
	unsigned at = 0;

	if (b->is_frozen)
		return refuse(-EBUSY, "the machine already runs, no device can be added", name, e);
	if (!bytes || add_overflows(base, bytes - 1, &last))
		return refuse(-EINVAL, "its address range is empty or passes the end", name, e);
	if (b->n == BUS_RANGES_MAX)
		return refuse(-ENOSPC, "the bus has no room for another device", name, e);

	while (at < b->n && b->ranges[at].last < base)
		at++;
	if (at < b->n && b->ranges[at].base <= last)
		return refuse_overlap(&b->ranges[at], base, last, name, e);

	memmove(&b->ranges[at + 1], &b->ranges[at], (b->n - at) * sizeof(b->ranges[0]));
	b->ranges[at] = (struct bus_range){base, last, ops, ctx, name};
	b->n++;
	return 0;
}

void bus_freeze(struct bus *b)
{
	b->is_frozen = true;
}

/* The range that covers the whole access, or NULL. */
static const struct bus_range *find(const struct bus *b, uint64_t address, unsigned bytes)
{
	unsigned low = 0, high = b->n;
	uint64_t last;

	if (!bytes || bytes > BUS_ACCESS_MAX || add_overflows(address, (uint64_t)bytes - 1, &last))
		return NULL;
	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		const struct bus_range *range = &b->ranges[middle];

		if (address < range->base)
			high = middle;
		else if (address > range->last)
			low = middle + 1;
		else
			return last <= range->last ? range : NULL;
	}
	return NULL;
}

bool bus_read(const struct bus *b, uint64_t address, void *ret_data, unsigned bytes)
{
	const struct bus_range *range = find(b, address, bytes);

	if (!range) {
		memset(ret_data, 0xff, MIN(bytes, (unsigned)BUS_ACCESS_MAX));
		return false;
	}
	range->ops->read(range->ctx, address - range->base, ret_data, bytes);
	return true;
}

bool bus_write(const struct bus *b, uint64_t address, const void *data, unsigned bytes)
{
	const struct bus_range *range = find(b, address, bytes);

	if (!range)
		return false;
	range->ops->write(range->ctx, address - range->base, data, bytes);
	return true;
}
