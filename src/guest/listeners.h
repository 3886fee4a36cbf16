// SPDX-License-Identifier: Apache-2.0
/* The TCP sockets that listen in the guest, by the kernel's socket diagnostics (sock_diag(7)). */
#pragma once

#include "base/err.h"
#include "proto/agent.h"

enum { LISTENERS_MAX = 256 };

struct listeners {
	unsigned n; /* more than LISTENERS_MAX are not looked at */
	struct agent_listener items[LISTENERS_MAX];
};

/* Takes a look: each address and port once, in a fixed order. Returns 0 or negative with *ret
 * untouched. */
int listeners_get(struct listeners *ret, struct err *e) MUST_CHECK;

bool listeners_are_same(const struct listeners *a, const struct listeners *b);
bool listeners_have_port(const struct listeners *l, uint16_t port);
