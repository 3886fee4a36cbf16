// SPDX-License-Identifier: Apache-2.0
#include "base/sparse_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

enum { SMALL_BYTES = 32 << 10 }; /* to copy so much costs less than to write it alone */

int sparse_copy_init(struct sparse_copy *c, int fd, const char *what, struct err *e)
{
	*c = (struct sparse_copy){.what = what, .room = malloc(SPARSE_COPY_BYTES)};
	if (!c->room) {
		err_set(e, -ENOMEM, "no memory to save it");
		return err_object(e, "%s", what);
	}
	sparse_begin(&c->to, fd);
	return 0;
}

void sparse_copy_fini(struct sparse_copy *c)
{
	free(c->room);
	*c = (struct sparse_copy){0};
}

static int failed_to(const struct sparse_copy *c, const char *action, int code, struct err *e)
{
	errno = -code;
	err_sys(e, "%s", action);
	err_object(e, "%s", c->what);
	if (code == -ENOSPC || code == -EDQUOT || code == -EFBIG)
		err_remedy(e, "free space where the snapshot is written, or write it elsewhere");
	return code;
}

static int write_now(
	struct sparse_copy *c, uint64_t to, const uint8_t *data, uint64_t bytes, struct err *e)
{
	for (uint64_t n; bytes; to += n, data += n, bytes -= n) {
		int r;

		/* looked at, summed and written while it is in the cache */
		n = MIN(bytes, (uint64_t)SPARSE_COPY_BYTES);
		r = sparse_write(&c->to, to, data, n);
		if (r < 0)
			return failed_to(c, "write the snapshot's file", r, e);
	}
	return 0;
}

static int flush(struct sparse_copy *c, struct err *e)
{
	uint64_t n = c->n;

	c->n = 0;
	return write_now(c, c->at, c->room, n, e);
}

/* Room for `bytes` bytes that go to `to`, after what waits there already. */
static int reserve(
	struct sparse_copy *c, uint64_t to, uint64_t bytes, uint8_t **ret_room, struct err *e)
{
	int r = 0;

	if (c->n && (c->at + c->n != to || c->n + bytes > SPARSE_COPY_BYTES))
		r = flush(c, e);
	if (!c->n)
		c->at = to;
	*ret_room = c->room + c->n;
	return r;
}

int sparse_copy_put(
	struct sparse_copy *c, uint64_t to, const void *data, uint64_t bytes, struct err *e)
{
	uint8_t *room;
	int r;

	if (bytes > SMALL_BYTES) {
		r = flush(c, e);
		return r < 0 ? r : write_now(c, to, data, bytes, e);
	}
	r = reserve(c, to, bytes, &room, e);
	if (r < 0)
		return r;
	memcpy(room, data, bytes);
	c->n += bytes;
	return 0;
}

static int copy_data(
	struct sparse_copy *c, uint64_t to, int fd, uint64_t at, uint64_t end, struct err *e)
{
	for (uint64_t n; at < end; at += n, to += n) {
		uint8_t *room;
		int r;

		n = MIN(end - at, (uint64_t)SPARSE_COPY_BYTES);
		r = reserve(c, to, n, &room, e);
		if (r < 0)
			return r;
		r = fd_pread_full(fd, room, n, (off_t)at);
		if (r < 0)
			return failed_to(c, "read what the VM was made from", r, e);
		c->n += n;
	}
	return 0;
}

int sparse_copy_file(
	struct sparse_copy *c, uint64_t to, int fd, uint64_t at, uint64_t bytes, struct err *e)
{
	uint64_t end = at + bytes, from = at, data, data_end;
	int r;

	while (from < end) {
		r = sparse_next_data(fd, from, end, &data, &data_end);
		if (r < 0)
			return failed_to(c, "look for data in what the VM was made from", r, e);
		data = MAX(data, from);
		if (r == 0 || data >= end)
			return 0;
		r = copy_data(c, to + (data - at), fd, data, data_end, e);
		if (r < 0)
			return r;
		from = data_end;
	}
	return 0;
}

int sparse_copy_end(struct sparse_copy *c, uint64_t bytes, struct err *e)
{
	int r = flush(c, e);

	if (r < 0)
		return r;
	r = sparse_end(&c->to, bytes);
	return r < 0 ? failed_to(c, "give the snapshot's file its size", r, e) : 0;
}
