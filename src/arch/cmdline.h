// SPDX-License-Identifier: Apache-2.0
/* The kernel command line, built up to its ceiling. */
#pragma once

#include "arch/arch.h"

struct cmdline {
	char text[ARCH_CMDLINE_MAX + 1]; /* always terminated */
	size_t bytes;			 /* without the NUL */
};

void cmdline_init(struct cmdline *c);

/* Adds words after what is there, with a blank between. Returns 0, or with c unchanged: -E2BIG when
 * it would pass the ceiling, -EINVAL for a byte that no command line can carry (control bytes, NUL
 * included). */
int cmdline_add(struct cmdline *c, const char *words, size_t bytes, struct err *e) MUST_CHECK;
