// SPDX-License-Identifier: Apache-2.0
/*
 * Saved state as named fields: one walk over an object's fields serves both for saving and for
 * loading, so that the two cannot disagree.
 *
 *	void thing_snap(struct thing *t, struct snapio *io)
 *	{
 *		snapio_u32(io, "size", &t->size);
 *		snapio_count(io, "n_parts", &t->n_parts, THING_PARTS_MAX);
 *		if (snapio_is_loading(io) && t->size > LIMIT)
 *			snapio_fail(io, "size", "%u is more than %u", t->size, LIMIT);
 *	}
 *
 * Each field is stored with its name's hash and its size, so that a walk which meets other fields
 * than were saved says so instead of reading nonsense. The first failure sticks: later calls do
 * nothing and leave their values alone. What is loaded comes from a stranger: the walk must bound
 * every value before it is used. Knows neither files nor devices; used by one thread.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct snapio {
	const char *section; /* borrowed; for errors */
	uint32_t version;    /* of the section: what is loaded, or what is being written */
	struct buf *out;     /* saving; borrowed */
	const uint8_t *in;   /* loading; borrowed */
	size_t in_bytes;
	struct err err; /* the first failure */
};

void snapio_save_to(struct snapio *io, const char *section, uint32_t version, struct buf *out);
void snapio_load_from(
	struct snapio *io, const char *section, uint32_t version, const void *data, size_t bytes);

static inline bool snapio_is_loading(const struct snapio *io)
{
	return !io->out;
}

static inline bool snapio_is_good(const struct snapio *io)
{
	return !io->err.code;
}

/* One field each. `name` is a literal, unique among the fields that may come next. */
void snapio_u8(struct snapio *io, const char *name, uint8_t *v);
void snapio_u16(struct snapio *io, const char *name, uint16_t *v);
void snapio_u32(struct snapio *io, const char *name, uint32_t *v);
void snapio_u64(struct snapio *io, const char *name, uint64_t *v);
void snapio_bool(struct snapio *io, const char *name, bool *v); /* 0 or 1, nothing else */

/* Exactly `bytes` bytes. */
void snapio_bytes(struct snapio *io, const char *name, void *data, size_t bytes);

/* A u32 that must not be above `max` when loaded: how many of something follow. */
void snapio_count(struct snapio *io, const char *name, uint32_t *n, uint32_t max);

/* Gives up: what is wrong with the field just loaded. Does nothing after an earlier failure. */
void snapio_fail(struct snapio *io, const char *name, const char *cause, ...) PRINTF_LIKE(3, 4);

/* The end of a walk. When loading, nothing may be left. Returns 0, or the first failure: -EBADMSG
 * (damaged or not ours), -E2BIG, -ENOMEM, with the section as the object. */
int snapio_end(struct snapio *io, struct err *e) MUST_CHECK;
