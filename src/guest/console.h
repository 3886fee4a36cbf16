// SPDX-License-Identifier: Apache-2.0
/* The guest's console, where init says what went wrong before and beside the agent. */
#pragma once

#include "base/err.h"

/* Makes sure that descriptors 0, 1 and 2 exist: the console if there is one, else /dev/null, so
 * that no pipe or socket is ever mistaken for standard output. */
void console_open(void);

/* Prints "init: …" and a line end. */
void console_say(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Prints "init: " and the error's sentence: something is missing, the guest goes on without it. */
void console_warn(const struct err *e);

/* Waits until the console's device has taken all that was printed. */
void console_drain(void);
