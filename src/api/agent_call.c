// SPDX-License-Identifier: Apache-2.0
#include "api/agent_call.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"

enum { THAW_TIMEOUT_MS = 10000 };

int agent_call(struct channel *c, struct link *l, uint16_t type, const void *payload, size_t bytes,
	struct err *e)
{
	int r = channel_open(c, l, e);

	if (r == -ESHUTDOWN)
		return link_gone_error(l, link_epoch(l), e);
	if (r < 0)
		return r;
	r = channel_put(c, type, payload, bytes);
	/* A broken connection shows, with its reason, when the answer is read. */
	if (r == 0 || r == -EPIPE)
		return 0;
	channel_close(c);
	return err_set(e, r, "no memory for a message");
}

int agent_call_refused(const uint8_t *payload, size_t bytes, struct err *e)
{
	struct agent_failed m;

	if (bytes != sizeof(m))
		return err_set(e, -EPROTO, "the guest's agent refused without a reason");
	memcpy(&m, payload, sizeof(m));
	m.cause[sizeof(m.cause) - 1] = '\0';
	if (m.code >= 0 || m.code < -4095)
		m.code = -EIO;
	return err_set(e, m.code, "%s", m.cause[0] ? m.cause : strerror(-m.code));
}

int agent_call_done(struct channel *c, uint64_t deadline_ns, struct err *e)
{
	const uint8_t *payload;
	struct agent_frame f;
	int r = channel_wait(c, deadline_ns, &f, &payload, e);

	if (r == -ENODATA)
		return channel_gone_error(c, e);
	if (r < 0)
		return r;
	if (f.type == AGENT_DONE)
		return 0;
	if (f.type == AGENT_FAILED)
		return agent_call_refused(payload, f.bytes, e);
	return err_set(e, -EPROTO, "the guest's agent answered with something else");
}

int freeze_begin(struct freeze *f, struct link *l, int64_t timeout_ms, struct err *e)
{
	int r = agent_call(&f->channel, l, AGENT_FREEZE, NULL, 0, e);

	if (r < 0)
		return r;
	r = agent_call_done(&f->channel, clock_deadline_ns(timeout_ms), e);
	if (r == 0)
		return 0;
	if (r == -ETIMEDOUT) {
		err_set(e, r, "what runs in the guest did not come to rest within %lld ms",
			(long long)timeout_ms);
		err_remedy(e, "give it more time (freeze_timeout_ms), and read the output of its "
			      "commands meanwhile");
	}
	channel_close(&f->channel);
	return r;
}

int freeze_end(struct freeze *f, struct err *e)
{
	int r = channel_put(&f->channel, AGENT_THAW, NULL, 0);

	if (r < 0 && r != -EPIPE)
		err_set(e, r, "no memory for a message");
	else
		r = agent_call_done(&f->channel, clock_deadline_ns(THAW_TIMEOUT_MS), e);
	channel_close(&f->channel);
	return r;
}

void freeze_drop(struct freeze *f)
{
	channel_close(&f->channel);
}
