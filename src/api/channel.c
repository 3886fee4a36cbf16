// SPDX-License-Identifier: Apache-2.0
#include "api/channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/le.h"
#include "proto/frame.h"

enum {
	IN_CEILING = 256 * 1024,
	READ_BYTES = 128 * 1024,
	/* The largest request, and a window of standard input with its heads. */
	OUT_CEILING = AGENT_REQUEST_MAX + 2 * AGENT_STDIN_WINDOW,
};

int channel_open(struct channel *c, struct link *l, struct err *e)
{
	struct {
		struct agent_frame head;
		struct agent_hello hello;
	} hello = {.hello.version = AGENT_VERSION};
	struct ctl_port m = {.port = AGENT_PORT};
	int pair[2], r;

	*c = (struct channel){.fd = -1, .link = l, .epoch = link_epoch(l)};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_sys(e, "create a socket pair");
	c->fd = pair[0];
	(void)pthread_mutex_init(&c->lock, NULL);
	buf_init(&c->out, OUT_CEILING);
	buf_init(&c->in, IN_CEILING);
	frame_head(&hello.head, AGENT_HELLO, sizeof(hello.hello));
	r = buf_append(&c->out, &hello, sizeof(hello));
	if (r < 0)
		err_set(e, r, "no memory for a message");
	else
		r = link_send(l, &m, sizeof(m), CTL_CONNECT, &pair[1], 1, e);
	close(pair[1]);
	if (r < 0)
		channel_close(c);
	return r;
}

void channel_close(struct channel *c)
{
	if (c->fd < 0)
		return;
	close(c->fd);
	c->fd = -1;
	buf_fini(&c->out);
	buf_fini(&c->in);
	(void)pthread_mutex_destroy(&c->lock);
}

int channel_gone_error(struct channel *c, struct err *e)
{
	return link_gone_error(c->link, c->epoch, e);
}

/* With the lock. */
static ssize_t flush(struct channel *c)
{
	size_t sent = 0;
	ssize_t n = 0;

	while (sent < c->out.bytes) {
		n = send(c->fd, c->out.data + sent, c->out.bytes - sent,
			MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	if (n < 0 && errno != EAGAIN && errno != ENOBUFS) {
		buf_consume(&c->out, c->out.bytes);
		return -EPIPE;
	}
	buf_consume(&c->out, sent);
	return (ssize_t)c->out.bytes;
}

int channel_put(struct channel *c, uint16_t type, const void *payload, size_t bytes)
{
	struct agent_frame head;
	ssize_t left;
	int r;

	frame_head(&head, type, (uint32_t)bytes);
	pthread_mutex_lock(&c->lock);
	/* Both or neither: half a frame would spoil all that follow. */
	r = buf_reserve(&c->out, sizeof(head) + bytes) ? 0 : -ENOMEM;
	if (r == 0)
		r = buf_append(&c->out, &head, sizeof(head));
	if (r == 0)
		r = buf_append(&c->out, payload, bytes);
	if (r == 0) {
		left = flush(c);
		r = left < 0 ? (int)left : 0;
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

ssize_t channel_flush(struct channel *c)
{
	ssize_t left;

	pthread_mutex_lock(&c->lock);
	left = flush(c);
	pthread_mutex_unlock(&c->lock);
	return left;
}

int channel_fill(struct channel *c)
{
	ssize_t n;
	void *at;

	buf_consume(&c->in, c->in_at);
	c->in_at = 0;
	at = buf_reserve(&c->in, MIN((size_t)READ_BYTES, IN_CEILING - c->in.bytes));
	if (!at)
		return -ENOMEM;
	do
		n = recv(
			c->fd, at, MIN((size_t)READ_BYTES, IN_CEILING - c->in.bytes), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (n <= 0)
		c->is_finished = true;
	else
		buf_grew(&c->in, (size_t)n);
	return 0;
}

static int bad_version(struct err *e, uint32_t version)
{
	err_set(e, -EPROTO, "the guest's agent speaks version %u of its protocol, not %u", version,
		AGENT_VERSION);
	return err_remedy(e, "library and initramfs.cpio are of different builds: install them "
			     "together");
}

int channel_get(
	struct channel *c, struct agent_frame *ret, const uint8_t **ret_payload, struct err *e)
{
	for (;;) {
		struct agent_frame f;
		const uint8_t *payload;
		int64_t took =
			frame_decode(c->in.data + c->in_at, c->in.bytes - c->in_at, &f, &payload);

		if (took == 0)
			return 0;
		if (took < 0)
			return err_set(e, -EPROTO, "the guest's agent sent an impossible frame");
		c->in_at += (size_t)took;
		if (f.type == AGENT_HELLO && !c->has_hello &&
			f.bytes == sizeof(struct agent_hello)) {
			if (le32_load(payload) != AGENT_VERSION)
				return bad_version(e, le32_load(payload));
			c->has_hello = true;
			continue;
		}
		/* A refusal may come from an agent too old for a hello. */
		if (f.type == AGENT_HELLO || (!c->has_hello && f.type != AGENT_FAILED))
			return err_set(e, -EPROTO, "the guest's agent sent a frame out of order");
		*ret = f;
		*ret_payload = payload;
		return 1;
	}
}

int channel_wait(struct channel *c, uint64_t deadline_ns, struct agent_frame *ret,
	const uint8_t **ret_payload, struct err *e)
{
	for (;;) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		int r = channel_get(c, ret, ret_payload, e);

		if (r)
			return r;
		if (c->is_finished)
			return err_set(e, -ENODATA, "the connection to the guest's agent ended");
		r = channel_fill(c);
		if (r == 0)
			continue;
		if (r != -EAGAIN)
			return err_set(e, r, "no memory for a message");
		if (channel_flush(c) > 0)
			p.events |= POLLOUT;
		if (poll(&p, 1, clock_left_ms(deadline_ns)) == 0)
			return err_set(e, -ETIMEDOUT, "the guest's agent does not answer");
	}
}
