// SPDX-License-Identifier: Apache-2.0
/*
 * The guest's console, kept in a file that the library makes and the VMM writes, bounded however
 * much the guest prints: a header, then a ring of CONSOLE_LOG_RING bytes. It stays readable when
 * the VMM is gone. One writer; a reader sees some whole prefix of what was written.
 */
#pragma once

#include <stdint.h>

enum {
	CONSOLE_LOG_HEADER = 4096, /* the ring begins here */
	CONSOLE_LOG_RING = 1 << 20,
};

struct console_log {
	uint64_t written; /* bytes ever printed; byte i is at CONSOLE_LOG_HEADER + i % ring */
};
