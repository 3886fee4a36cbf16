// SPDX-License-Identifier: Apache-2.0
/* The reader's side of proto/console_log.h. The file is written by the VMM, so that nothing in it
 * is believed beyond its bounds. Any thread. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/* Makes an empty console log in memory; its size can never change. Returns a descriptor or
 * -errno. */
int console_new(struct err *e) MUST_CHECK;

/* Copies the last bytes into out, terminated; returns how many. */
ssize_t console_tail(int fd, char *out, size_t out_bytes);

/* One line for an error text: from where the kernel panicked or init gave up, else the last lines
 * that fit, joined by " | ", without control characters. Empty when nothing was printed. */
void console_summary(int fd, char *out, size_t out_bytes);
