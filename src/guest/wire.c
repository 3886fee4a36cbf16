// SPDX-License-Identifier: Apache-2.0
#include "guest/wire.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	/* One stream frame that the socket did not take, and small frames after it. */
	OUT_MAX = sizeof(struct agent_frame) + AGENT_FRAME_MAX + 8192,
	/* The largest request, all but its last byte, and one more read. */
	IN_MAX = sizeof(struct agent_frame) + AGENT_REQUEST_MAX + (128 << 10),
	KEEP_ROOM = 4096, /* an empty buffer with more room than this is given back */
};

void wire_init(struct wire *w, int fd)
{
	w->fd = fd;
	buf_init(&w->in, IN_MAX);
	buf_init(&w->out, OUT_MAX);
}

void wire_fini(struct wire *w)
{
	buf_fini(&w->in);
	buf_fini(&w->out);
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

bool wire_is_clear(const struct wire *w)
{
	return !w->out.bytes;
}

static void give_back(struct buf *b)
{
	if (!b->bytes && b->room > KEEP_ROOM)
		buf_fini(b);
}

static int keep(struct buf *b, const void *data, size_t bytes)
{
	return bytes ? buf_append(b, data, bytes) : 0;
}

int wire_queue(struct wire *w, uint16_t type, const void *payload, size_t bytes)
{
	struct agent_frame head;
	int r;

	frame_head(&head, type, (uint32_t)bytes);
	if (!buf_reserve(&w->out, sizeof(head) + bytes))
		return -ENOMEM;
	r = buf_append(&w->out, &head, sizeof(head));
	return r < 0 ? r : keep(&w->out, payload, bytes);
}

/* Returns the bytes that went, 0 when the socket is full, or -errno. */
static ssize_t send_some(struct wire *w, const void *data, size_t bytes)
{
	ssize_t n;

	do
		n = send(w->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
	return n;
}

int wire_flush(struct wire *w)
{
	while (w->out.bytes) {
		ssize_t n = send_some(w, w->out.data, w->out.bytes);

		if (n <= 0)
			return (int)n;
		buf_consume(&w->out, (size_t)n);
	}
	give_back(&w->out);
	return 0;
}

int wire_push(struct wire *w, const void *frame, size_t bytes)
{
	const uint8_t *at = frame;
	ssize_t n = 0;
	int r = wire_flush(w);

	if (r < 0)
		return r;
	if (wire_is_clear(w)) {
		n = send_some(w, at, bytes);
		if (n < 0)
			return (int)n;
	}
	return keep(&w->out, at + n, bytes - (size_t)n);
}

/* Calls fn for the whole frames at `data`. Returns the bytes they take, or what went wrong. */
static ssize_t each_frame(const uint8_t *data, size_t bytes, wire_frame_fn fn, void *context)
{
	size_t at = 0;

	for (;;) {
		struct agent_frame frame;
		const uint8_t *payload;
		int64_t n = frame_decode(data + at, bytes - at, &frame, &payload);
		int r;

		if (n < 0)
			return (ssize_t)n;
		if (n == 0)
			return (ssize_t)at;
		at += (size_t)n;
		r = fn(context, &frame, payload);
		if (r < 0)
			return r;
	}
}

int wire_receive(struct wire *w, void *scratch, size_t room, wire_frame_fn fn, void *context)
{
	ssize_t n, used;
	int r;

	do
		n = recv(w->fd, scratch, room, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : 0;
	if (!w->in.bytes) {
		used = each_frame(scratch, (size_t)n, fn, context);
		if (used < 0)
			return (int)used;
		r = keep(&w->in, (const uint8_t *)scratch + used, (size_t)(n - used));
		return r < 0 ? r : 1;
	}
	r = buf_append(&w->in, scratch, (size_t)n);
	if (r < 0)
		return r;
	used = each_frame(w->in.data, w->in.bytes, fn, context);
	if (used < 0)
		return (int)used;
	buf_consume(&w->in, (size_t)used);
	give_back(&w->in);
	return 1;
}
