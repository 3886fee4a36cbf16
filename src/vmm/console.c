// SPDX-License-Identifier: Apache-2.0
#include "vmm/console.h"

#include <errno.h>
#include <unistd.h>

#include "proto/console_log.h"

/* kernel/panic.c prints it first of all; no character of it occurs twice before the first space, so
 * a mismatch can only restart the match. */
static const char panic_words[] = "Kernel panic - not syncing";

int console_init(struct console *c, int fd, struct err *e)
{
	int r;

	c->n_matched = 0;
	atomic_init(&c->has_panicked, false);
	r = console_ring_init(&c->ring, fd, CONSOLE_LOG_HEADER, CONSOLE_LOG_RING);
	if (r < 0) {
		errno = -r;
		err_sys(e, "cannot write the log");
		return err_object(e, "console");
	}
	return 0;
}

void console_fini(struct console *c)
{
	if (c->ring.fd >= 0)
		close(c->ring.fd);
	c->ring.fd = -1;
}

static void watch_for_panic(struct console *c, const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] != panic_words[c->n_matched])
			c->n_matched = 0;
		if (text[i] == panic_words[c->n_matched])
			c->n_matched++;
		if (!panic_words[c->n_matched]) {
			atomic_store(&c->has_panicked, true);
			c->n_matched = 0;
		}
	}
}

void console_write(void *ctx, const void *data, size_t bytes)
{
	struct console *c = ctx;

	watch_for_panic(c, data, bytes);
	console_ring_write(&c->ring, data, bytes);
}
