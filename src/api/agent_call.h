// SPDX-License-Identifier: Apache-2.0
/* Short requests to the agent (proto/agent.h): freeze, thaw, wait for something. Any thread. */
#pragma once

#include "api/channel.h"

/* Opens a connection and sends one request. */
int agent_call(struct channel *c, struct link *l, uint16_t type, const void *payload, size_t bytes,
	struct err *e) MUST_CHECK;

/* Waits for AGENT_DONE. What else can be answered is an error: AGENT_FAILED says its cause, the end
 * of the connection why (channel_gone_error). */
int agent_call_done(struct channel *c, uint64_t deadline_ns, struct err *e) MUST_CHECK;

/* What an AGENT_FAILED says, as an error. Returns its code. */
int agent_call_refused(const uint8_t *payload, size_t bytes, struct err *e);

/* Everything that runs in the guest is at rest from freeze_begin to freeze_end. */
struct freeze {
	struct channel channel;
};

int freeze_begin(struct freeze *f, struct link *l, int64_t timeout_ms, struct err *e) MUST_CHECK;

/* Thaws and waits for it. */
int freeze_end(struct freeze *f, struct err *e) MUST_CHECK;

/* Gives the connection up: the agent thaws by itself, if it still lives. */
void freeze_drop(struct freeze *f);
