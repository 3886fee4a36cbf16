// SPDX-License-Identifier: Apache-2.0
/*
 * The guest's console as the VMM keeps it: bytes go to the log that the library gave, and an eye is
 * kept on them for the words with which Linux says that it panics. Runs on vCPU threads, under the
 * serial port's lock.
 */
#pragma once

#include <stdatomic.h>

#include "backend/console_ring.h"
#include "base/err.h"

struct console {
	struct console_ring ring;
	unsigned n_matched; /* of the panic words, at the end of what was printed */
	_Atomic bool has_panicked;
};

/* Prints into the log at fd, which it takes on success. */
int console_init(struct console *c, int fd, struct err *e) MUST_CHECK;
void console_fini(struct console *c);

/* A serial_sink; ctx is the console. */
void console_write(void *ctx, const void *data, size_t bytes);
