// SPDX-License-Identifier: Apache-2.0
/* The machine around the agent as it really is: struct agent_ops over the kernel's calls. Needs the
 * guest's root. */
#pragma once

#include "guest/agent.h"
#include "guest/workload.h"

struct world {
	struct workload workload;
	int writable_fd; /* of root_writable_fd */
	int random_fd;	 /* /dev/urandom, held open: a user may do with the node what they like */
};

/* Prepares what snapshots need. What is missing is said on the console: without it the guest runs,
 * and a snapshot or its restore fails with the reason. */
void world_open(struct world *w, int writable_fd);

/* Makes `config` serve this world. */
void world_describe(struct world *w, struct agent_config *config);
