// SPDX-License-Identifier: Apache-2.0
/*
 * The step between a restored machine and user code running in it (proto/agent.h, AGENT_RESUME):
 * fresh randomness, the right time, an identity of its own, old connections gone. All of it
 * acknowledged, or the VM is not handed out. Any thread.
 */
#pragma once

#include "api/link.h"
#include "base/buf.h"

enum { RESUME_FIELDS_MAX = AGENT_FRAME_MAX - 1024 };

struct resume_identity {
	const char *name;	/* host name */
	unsigned index, count;	/* clone index of count; 0: of none */
	const char *const *env; /* NAME=value, NULL-terminated; may be NULL */
};

/* Encodes what stays the same at every resume of a VM. -EINVAL says what is wrong. */
int resume_encode(struct buf *out, const struct resume_identity *id, struct err *e) MUST_CHECK;

/* Resumes the guest and waits for its acknowledgement of every step. After a failure the VM must
 * not be used: the caller kills it. */
int resume_run(struct link *l, const struct buf *identity, uint64_t deadline_ns,
	struct agent_resumed *ret, struct err *e) MUST_CHECK;
