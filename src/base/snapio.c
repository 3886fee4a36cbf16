// SPDX-License-Identifier: Apache-2.0
/*
 * A field is { le32 hash of its name, le32 size, bytes }, one after the other without gaps. The
 * hash is FNV-1a of 32 bits: it tells fields apart, damage is found by the section's checksum.
 */
#include "base/snapio.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/le.h"

enum { HEADER_BYTES = 8, CAUSE_MAX = 192 };

static uint32_t hash_of(const char *name)
{
	uint32_t hash = 0x811c9dc5;

	while (*name)
		hash = (hash ^ (uint8_t)*name++) * 0x01000193u;
	return hash;
}

void snapio_save_to(struct snapio *io, const char *section, uint32_t version, struct buf *out)
{
	*io = (struct snapio){.section = section, .version = version, .out = out};
}

void snapio_load_from(
	struct snapio *io, const char *section, uint32_t version, const void *data, size_t bytes)
{
	*io = (struct snapio){
		.section = section, .version = version, .in = data, .in_bytes = bytes};
}

static void fail_with(struct snapio *io, int code, const char *name, const char *cause)
{
	err_set(&io->err, code, "field \"%s\": %s", name, cause);
	err_object(&io->err, "section \"%s\" of the snapshot's state", io->section);
	if (snapio_is_loading(io))
		err_remedy(&io->err, "it is damaged, or not of this machine: use another snapshot "
				     "or make it again");
}

void snapio_fail(struct snapio *io, const char *name, const char *cause, ...)
{
	char text[CAUSE_MAX];
	va_list ap;

	if (!snapio_is_good(io))
		return;
	va_start(ap, cause);
	vsnprintf(text, sizeof(text), cause, ap);
	va_end(ap);
	fail_with(io, snapio_is_loading(io) ? -EBADMSG : -EINVAL, name, text);
}

static void save(struct snapio *io, const char *name, const void *data, size_t bytes)
{
	uint8_t header[HEADER_BYTES];
	int r = bytes > UINT32_MAX ? -E2BIG : 0;

	le32_store(header, hash_of(name));
	le32_store(header + 4, (uint32_t)bytes);
	if (r == 0)
		r = buf_append(io->out, header, sizeof(header));
	if (r == 0)
		r = buf_append(io->out, data, bytes);
	if (r < 0)
		fail_with(io, r, name,
			r == -E2BIG ? "there is more state than a snapshot may hold"
				    : "no memory to save it");
}

static void load(struct snapio *io, const char *name, void *data, size_t bytes)
{
	uint32_t hash, size;

	if (io->in_bytes < HEADER_BYTES) {
		snapio_fail(io, name, "the section ends before it");
		return;
	}
	hash = le32_load(io->in);
	size = le32_load(io->in + 4);
	if (hash != hash_of(name))
		snapio_fail(io, name, "another field is in its place");
	else if (size != bytes)
		snapio_fail(io, name, "it has %u bytes instead of %zu", size, bytes);
	else if (size > io->in_bytes - HEADER_BYTES)
		snapio_fail(io, name, "the section ends inside it");
	else if (bytes)
		memcpy(data, io->in + HEADER_BYTES, bytes);
	if (!snapio_is_good(io))
		return;
	io->in += HEADER_BYTES + bytes;
	io->in_bytes -= HEADER_BYTES + bytes;
}

void snapio_bytes(struct snapio *io, const char *name, void *data, size_t bytes)
{
	if (!snapio_is_good(io))
		return;
	if (snapio_is_loading(io))
		load(io, name, data, bytes);
	else
		save(io, name, data, bytes);
}

void snapio_u8(struct snapio *io, const char *name, uint8_t *v)
{
	snapio_bytes(io, name, v, sizeof(*v));
}

/* The host is little-endian, which base/le.h asserts. */
void snapio_u16(struct snapio *io, const char *name, uint16_t *v)
{
	snapio_bytes(io, name, v, sizeof(*v));
}

void snapio_u32(struct snapio *io, const char *name, uint32_t *v)
{
	snapio_bytes(io, name, v, sizeof(*v));
}

void snapio_u64(struct snapio *io, const char *name, uint64_t *v)
{
	snapio_bytes(io, name, v, sizeof(*v));
}

void snapio_bool(struct snapio *io, const char *name, bool *v)
{
	uint8_t byte = *v;

	snapio_u8(io, name, &byte);
	if (byte > 1)
		snapio_fail(io, name, "%u is neither 0 nor 1", byte);
	if (snapio_is_good(io))
		*v = byte;
}

void snapio_count(struct snapio *io, const char *name, uint32_t *n, uint32_t max)
{
	uint32_t count = *n;

	snapio_u32(io, name, &count);
	if (count > max)
		snapio_fail(io, name, "%u are more than the %u that there may be", count, max);
	if (snapio_is_good(io))
		*n = count;
}

int snapio_end(struct snapio *io, struct err *e)
{
	if (snapio_is_good(io) && snapio_is_loading(io) && io->in_bytes)
		snapio_fail(io, "end", "%zu bytes follow that nothing here knows", io->in_bytes);
	if (snapio_is_good(io))
		return 0;
	if (e)
		*e = io->err;
	return io->err.code;
}
