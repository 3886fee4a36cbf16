// SPDX-License-Identifier: Apache-2.0
/* Finds a saved field by its name, for tests that change one. Written from
 * docs/snapshot-format.md, not from the code under test. */
#pragma once

#include <string.h>

#include "base/buf.h"
#include "base/le.h"

static inline uint32_t snap_hash(const char *name)
{
	uint64_t hash = 2166136261u;

	for (; *name; name++)
		hash = ((hash ^ (unsigned char)*name) * 16777619u) & UINT32_MAX;
	return (uint32_t)hash;
}

/* The value of the nth field of that name (from 0); NULL when there is none. */
static inline uint8_t *snap_field(
	struct buf *b, const char *name, unsigned nth, uint32_t *ret_bytes)
{
	for (size_t at = 0; at + 8 <= b->bytes; at += 8 + le32_load(b->data + at + 4)) {
		if (le32_load(b->data + at) != snap_hash(name) || nth--)
			continue;
		*ret_bytes = le32_load(b->data + at + 4);
		return b->data + at + 8;
	}
	return NULL;
}

/* Gives it another value; false when there is no such field. */
static inline bool snap_edit(struct buf *b, const char *name, unsigned nth, uint64_t value)
{
	uint32_t bytes;
	uint8_t *at = snap_field(b, name, nth, &bytes);

	if (!at || bytes > sizeof(value))
		return false;
	memcpy(at, &value, bytes);
	return true;
}
