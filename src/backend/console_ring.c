// SPDX-License-Identifier: Apache-2.0
#include "backend/console_ring.h"

#include "base/fd.h"
#include "base/le.h"

static int store_count(struct console_ring *c)
{
	uint8_t count[sizeof(uint64_t)];

	le64_store(count, c->written);
	return fd_pwrite_full(c->fd, count, sizeof(count), 0);
}

int console_ring_init(struct console_ring *c, int fd, uint64_t ring_at, uint64_t ring_bytes)
{
	*c = (struct console_ring){.fd = fd, .ring_at = ring_at, .ring_bytes = ring_bytes};
	return store_count(c);
}

static int append(struct console_ring *c, const char *data, size_t bytes)
{
	int r;

	while (bytes) {
		uint64_t at = c->written % c->ring_bytes;
		size_t n = (size_t)MIN((uint64_t)bytes, c->ring_bytes - at);

		r = fd_pwrite_full(c->fd, data, n, (off_t)(c->ring_at + at));
		if (r < 0)
			return r;
		c->written += n;
		data += n;
		bytes -= n;
	}
	return store_count(c);
}

void console_ring_write(struct console_ring *c, const void *data, size_t bytes)
{
	if (!c->error)
		c->error = append(c, data, bytes);
}
