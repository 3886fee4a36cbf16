// SPDX-License-Identifier: Apache-2.0
/*
 * How one `supermachine` asks another for something about the VM that the other holds: one packet
 * there, one packet back, over the socket of that VM in the runtime directory (cli/rundir.h).
 */
#pragma once

#include <limits.h>
#include <supermachine.h>

#include "base/err.h"

enum { REACH_VERSION = 1 };

enum reach_kind {
	REACH_SNAPSHOT = 1,
};

/* Numbers are the host's own: both ends are on one machine. Texts are terminated. */
struct reach_request {
	uint32_t version;
	uint32_t kind;
	char dir[PATH_MAX];  /* absolute */
	char base[PATH_MAX]; /* absolute, or empty */
};

struct reach_answer {
	uint32_t version;
	int32_t code; /* 0 or an enum sm_code */
	int32_t os_code;
	uint32_t reserved;
	char object[192];
	char cause[256];
	char remedy[256];
};

/* Fills texts of `to` from an answer that came over a socket, or the other way round. */
void reach_answer_error(const struct reach_answer *from, struct sm_error *to);
void reach_error_answer(const struct sm_error *from, struct reach_answer *to);

/* Asks the process that holds VM `name` to save it as `dir` (relative to our directory), on `base`
 * if not NULL; waits until it is done. Returns 0 or a negative enum sm_code and *err. */
int reach_snapshot(
	const char *name, const char *dir, const char *base, struct sm_error *err) MUST_CHECK;
