// SPDX-License-Identifier: Apache-2.0
/*
 * The agent: serves proto/agent.h on connections that it is given or accepts. One thread, one loop.
 * It does not know where its sockets come from or what powering off means.
 */
#pragma once

#include "base/err.h"

/* The outside world, as far as a shutdown touches it. */
struct agent_ops {
	/* Sends a signal to every process but this one. */
	void (*signal_all)(int signal, void *context);
	/* Everything has ended and AGENT_DONE is sent. Does not return in a real guest. */
	void (*power_off)(bool is_reset, void *context);
};

struct agent_config {
	int listen_fd; /* a listening, non-blocking stream socket */
	int event_fd;  /* connected to the host's AGENT_EVENT_PORT, non-blocking */
	const struct agent_ops *ops;
	void *context;
};

struct agent;

enum { AGENT_EXECS_MAX = 256, AGENT_CONNECTIONS_MAX = 512 };

/* Says AGENT_READY and is then ready to run. Takes both descriptors in any case. SIGCHLD is blocked
 * and SIGPIPE ignored from now on; all children of this process are reaped. */
int agent_new(const struct agent_config *config, struct agent **ret, struct err *e) MUST_CHECK;

/* Kills what it runs. */
void agent_free(struct agent *a);

/* Serves until a shutdown has been carried out. Returns 0 after ops->power_off returned, or -errno
 * when the loop itself failed. */
int agent_run(struct agent *a, struct err *e) MUST_CHECK;
