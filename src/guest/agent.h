// SPDX-License-Identifier: Apache-2.0
/*
 * The agent: serves proto/agent.h on connections that it is given or accepts. One thread, one loop.
 * It does not know where its sockets come from, what powering off means, or how a machine is
 * brought to rest.
 */
#pragma once

#include <time.h>

#include "base/err.h"

struct workload;

/* The machine around the agent. Codes are 0 or -errno. Whatever follows power_off may be NULL: that
 * machine cannot be snapshotted while commands run. */
struct agent_ops {
	/* Sends a signal to every process but this one. */
	void (*signal_all)(int signal, void *context);
	/* Everything has ended and AGENT_DONE is sent. Does not return in a real guest. */
	void (*power_off)(bool is_reset, void *context);
	/* Gives the host back what it can have before the machine is saved. */
	void (*trim)(void *context);
	/* Begins to freeze all commands, or thaws them. */
	int (*freeze)(bool is_wanted, void *context);
	/* 1 when nothing of them runs any more, else 0. */
	int (*is_frozen)(void *context);
	/* Gives the kernel's random numbers this new beginning, and has its word for it. */
	int (*reseed)(const void *entropy, size_t bytes, void *context);
	int (*set_clock)(const struct timespec *now, void *context);
	int (*set_hostname)(const char *name, void *context);
	/* A new event connection to the host, non-blocking; it may still be under way. Returns the
	 * descriptor. */
	int (*connect_events)(struct err *e, void *context);
};

struct agent_config {
	int listen_fd; /* a listening, non-blocking stream socket */
	int event_fd;  /* connected to the host's AGENT_EVENT_PORT, non-blocking */
	const struct agent_ops *ops;
	void *context;
	/* The rest may be zero. */
	struct workload *workload; /* where commands start; borrowed */
	int frozen_fd;		   /* hangs up when is_frozen may have changed; with ops->freeze */
	int freeze_timeout_ms;	   /* default 8000 */
	const char *etc;	   /* default "/etc" */
	const char *clone_dir;	   /* default "/run/supermachine" */
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
