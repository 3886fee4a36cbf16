// SPDX-License-Identifier: Apache-2.0
/* A double of the machine around an agent, in the agent's process; peer.h says what it does. */
#pragma once

#include "guest/agent.h"
#include "guest/workload.h"
#include "peer.h"

struct sockaddr_un;

struct machine {
	const struct peer *peer;
	struct workload workload;
	int hung_up_fd;
	int status; /* PEER_POWERED_OFF or PEER_RESET after a shutdown */
};

/* Makes `config` serve this machine. Ends the process when it cannot. */
void machine_open(struct machine *m, const struct peer *p, struct agent_config *config);
void machine_close(struct machine *m);

/* A unix socket, and the address of the agent, or of who takes its event connections: that one is a
 * file, since abstract names end at a network namespace. Returns the descriptor. */
int machine_socket(const struct peer *p, bool is_events, struct sockaddr_un *addr);
