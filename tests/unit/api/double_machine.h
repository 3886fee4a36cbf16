// SPDX-License-Identifier: Apache-2.0
/*
 * The snapshot half of the VMM's double: files that look like a machine's state, and those requests
 * to the agent that only make sense in a real guest (freezing needs its cgroups, resuming its
 * kernel). Everything else goes to the real agent.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control.h"

struct machine_double {
	char mode[64]; /* what follows "double="; travels with the state */
	bool is_restored;
	bool has_disk;
	uint64_t memory_bytes;
	uint64_t disk_bytes;
	/* Writes a line on the console; connects to the library's event port. */
	void (*say)(const char *line);
	void (*connect_event)(void);
	/* Every connection to the agent is cut, as by a rollback. */
	void (*cut)(void);
};

/* Set before anything below is called. */
extern struct machine_double machine;

/* Checks what came with CTL_CONFIG and takes the mode out of a snapshot's state. */
void machine_take_config(const struct ctl_config *c, const int *fds, unsigned n);

/* CTL_SNAPSHOT, CTL_ROLLBACK, CTL_PAGES: does it and answers. Closes the descriptors. */
void machine_request(uint16_t type, uint32_t flags, const int *fds, unsigned n);

/* Reads the start of a new connection to the agent. True when it was served here to its end;
 * otherwise `data`, *ret_bytes long, is what has been read of it. */
bool machine_serve(int fd, char *data, size_t room, size_t *ret_bytes);
