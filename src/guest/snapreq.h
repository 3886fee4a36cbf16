// SPDX-License-Identifier: Apache-2.0
/* What AGENT_RESUME and AGENT_AWAIT ask for, taken out of their fields and checked. */
#pragma once

#include "base/err.h"
#include "proto/agent.h"
#include "proto/bootcfg.h"

enum {
	SNAPREQ_ENTROPY_MIN = 32,
	SNAPREQ_ENTROPY_MAX = 512,
	SNAPREQ_MACHINE_ID_CHARS = 32,
	SNAPREQ_ENV_MAX = 512,
};

struct resume {
	uint8_t entropy[SNAPREQ_ENTROPY_MAX];
	size_t entropy_bytes;
	struct agent_clock clock;
	char hostname[BOOTCFG_HOSTNAME_MAX + 1];       /* empty: as it was */
	char machine_id[SNAPREQ_MACHINE_ID_CHARS + 1]; /* empty: as it was */
	struct agent_clone clone;		       /* count 0: not one of several */
	char **env; /* n_env variables NAME=value, each name once, without line breaks */
	size_t n_env;
	void *memory; /* env lives in here */
};

/* Returns 0, -EINVAL with the reason, or -ENOMEM. */
int resume_decode(const void *payload, size_t bytes, struct resume *ret, struct err *e) MUST_CHECK;
/* Also forgets the entropy. */
void resume_fini(struct resume *r);

struct await_request {
	uint16_t tag; /* AGENT_W_LISTEN or AGENT_W_FILE */
	uint16_t port;
	char *path; /* owned */
};

/* Returns 0, -EINVAL with the reason, or -ENOMEM. */
int await_decode(
	const void *payload, size_t bytes, struct await_request *ret, struct err *e) MUST_CHECK;
void await_request_fini(struct await_request *q);
