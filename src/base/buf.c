// SPDX-License-Identifier: Apache-2.0
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void buf_init(struct buf *b, size_t ceiling)
{
	*b = (struct buf){.ceiling = ceiling};
}

void buf_fini(struct buf *b)
{
	free(b->data);
	*b = (struct buf){.ceiling = b->ceiling};
}

/* Room for `total` bytes and one more, so that buf_cstr can terminate in place. */
static int ensure(struct buf *b, size_t total)
{
	size_t room = b->room ? b->room : 256;
	uint8_t *grown;

	if (total < b->room)
		return 0;
	while (room <= total)
		if (mul_overflows(room, 2, &room))
			return -ENOMEM;
	grown = realloc(b->data, room);
	if (!grown)
		return -ENOMEM;
	b->data = grown;
	b->room = room;
	return 0;
}

static int make_room(struct buf *b, size_t bytes)
{
	size_t total;

	if (add_overflows(b->bytes, bytes, &total) || total > b->ceiling)
		return -E2BIG;
	return ensure(b, total);
}

void *buf_reserve(struct buf *b, size_t bytes)
{
	return make_room(b, bytes) < 0 ? NULL : b->data + b->bytes;
}

void buf_grew(struct buf *b, size_t bytes)
{
	b->bytes += bytes;
}

int buf_append(struct buf *b, const void *data, size_t bytes)
{
	int r = make_room(b, bytes);

	if (r < 0)
		return r;
	if (bytes)
		memcpy(b->data + b->bytes, data, bytes);
	b->bytes += bytes;
	return 0;
}

int buf_append_str(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n, r;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	r = make_room(b, (size_t)n);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->bytes, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->bytes += (size_t)n;
	return 0;
}

void buf_consume(struct buf *b, size_t bytes)
{
	bytes = MIN(bytes, b->bytes);
	b->bytes -= bytes;
	if (b->bytes)
		memmove(b->data, b->data + bytes, b->bytes);
}

const char *buf_cstr(struct buf *b)
{
	if (ensure(b, b->bytes) < 0)
		return NULL;
	b->data[b->bytes] = '\0';
	return (const char *)b->data;
}

int buf_read_fd(struct buf *b, int fd)
{
	for (;;) {
		size_t want = MIN((size_t)65536, b->ceiling - b->bytes);
		char probe;
		ssize_t n;
		void *at;

		if (!want) {
			n = read(fd, &probe, 1);
			if (n < 0 && errno == EINTR)
				continue;
			return n < 0 ? -errno : n ? -E2BIG : 0;
		}
		at = buf_reserve(b, want);
		if (!at)
			return -ENOMEM;
		n = read(fd, at, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : 0;
		b->bytes += (size_t)n;
	}
}
