// SPDX-License-Identifier: Apache-2.0
/* The commands known to run in a VM: what a snapshot says of them. Locks itself; any thread. */
#pragma once

#include <pthread.h>

enum {
	COMMANDS_MAX = 256, /* as many as the agent runs */
	COMMAND_NAME_BYTES = 64,
};

struct command {
	int pid; /* in the guest */
	char name[COMMAND_NAME_BYTES];
};

struct commands {
	pthread_mutex_t lock;
	unsigned n;
	struct command items[COMMANDS_MAX];
};

void commands_init(struct commands *c);
void commands_fini(struct commands *c);

/* Notes that a command runs; one of the same pid takes the place of the old. What is over the limit
 * is left out. */
void commands_add(struct commands *c, int pid, const char *name);

/* It has ended. */
void commands_remove(struct commands *c, int pid);

/* Copies all. Returns how many. */
unsigned commands_copy(struct commands *c, struct command ret[COMMANDS_MAX]);

/* Replaces all. */
void commands_set(struct commands *c, const struct command *items, unsigned n);
