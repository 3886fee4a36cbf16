// SPDX-License-Identifier: Apache-2.0
/* What AGENT_EXEC asks for, taken out of its fields and checked. */
#pragma once

#include "base/err.h"

struct request {
	char **argv; /* at least one, NULL-terminated */
	char **envp; /* NULL-terminated; room for one more */
	size_t n_env;
	const char *cwd;  /* absolute; "/" when none is given */
	const char *user; /* "" when none is given */
	uint32_t flags;	  /* AGENT_EXEC_* */
	void *memory;	  /* all of the above live in here */
	void *more;	  /* and envp in here once request_add_env has added to it */
};

/* Decodes a payload of at most AGENT_REQUEST_MAX bytes. Returns 0, -EINVAL with the reason, or
 * -ENOMEM. */
int request_decode(
	const void *payload, size_t bytes, struct request *ret, struct err *e) MUST_CHECK;
void request_fini(struct request *q);

/* Adds those of n variables, each NAME=value, whose names are not in the environment. They are
 * borrowed. Returns 0 or -ENOMEM. */
int request_add_env(struct request *q, char *const *vars, size_t n) MUST_CHECK;

/* The value of NAME in the request's environment, or NULL. */
const char *request_env(const struct request *q, const char *name);
