// SPDX-License-Identifier: Apache-2.0
/*
 * The library's end of proto/control.h: what is known of a running VMM, and how to wait for more.
 *
 * There is no thread of ours. Of the threads that wait, one is the reader: it polls the sockets and
 * records what arrives; the others sleep until something changed. When the reader has what it came
 * for, another takes over. Every function may be called from any thread.
 */
#pragma once

#include <pthread.h>

#include "api/child.h"
#include "base/buf.h"
#include "proto/agent.h"
#include "proto/control.h"

enum link_fact {
	LINK_RUNNING = 1,  /* the vCPUs run */
	LINK_READY = 2,	   /* the agent answers; in a restored VM: it has been resumed */
	LINK_ENDED = 4,	   /* the VM is no more */
	LINK_ANSWERED = 8, /* the request of link_ask has its answer */
};

enum { LINK_LISTENERS_MAX = 64 };

/* Why it is no more, beside what enum ctl_end_reason says. */
enum {
	LINK_END_KILLED = 100, /* by us */
	LINK_END_DIED,	       /* the process ended without a word */
	LINK_END_PROTOCOL,     /* it said something impossible and was killed */
};

struct link {
	pthread_mutex_t asking; /* held from a request to its answer; taken before lock */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int sock;
	int console_fd; /* borrowed */

	/* All below: lock. */
	struct child child;
	bool has_reader;
	unsigned facts;
	int event_fd; /* the agent's event connection; changed by the reader only */
	struct buf event_in;
	bool is_restored;      /* readiness is not what the event connection says */
	bool is_event_awaited; /* a new event connection takes the place of the old one */
	unsigned epoch;	       /* how often connections to the agent were cut by a rollback */
	uint16_t asked;	       /* type of the request that waits for its answer, or 0 */
	struct ctl_answer answer;
	struct agent_listener listeners[LINK_LISTENERS_MAX]; /* as the agent reported them */
	unsigned n_listeners;
	uint64_t running_ns; /* when the facts became true */
	uint64_t ready_ns;
	struct ctl_running running;
	int end_reason;
	struct ctl_end end;
	const char *kill_cause;
	bool is_stray_agent; /* the event connection said something impossible */
};

/* Starts the VMM and connects to it; nothing is sent yet. */
int link_open(struct link *l, const char *program, const char *label, int console_fd,
	struct err *e) MUST_CHECK;

/* Kills the VMM if it lives, reaps it, frees all. Nobody may wait any more. */
void link_close(struct link *l);

/* Sends one packet with descriptors. -ESHUTDOWN when the VM is gone, without a reason in e. */
int link_send(struct link *l, void *message, size_t bytes, uint16_t type, const int *fds,
	unsigned n_fds, struct err *e) MUST_CHECK;

/* Waits until one of the wanted facts or LINK_ENDED is true, or until the deadline. Returns the
 * facts as they are then. */
unsigned link_wait(struct link *l, unsigned wanted, uint64_t deadline_ns);

/* Sends a request that CTL_ANSWER answers and waits for that; one at a time, others wait. Returns 0
 * with *ret when the VMM did it, else what the VMM said of it. -ESHUTDOWN when the VM is gone (e
 * says why); a VMM that has not answered by the deadline is killed. */
int link_ask(struct link *l, void *message, size_t bytes, uint16_t type, const int *fds,
	unsigned n_fds, uint64_t deadline_ns, struct ctl_answer *ret, struct err *e) MUST_CHECK;

/* The agent is about to connect its event connection again: after a restore or a rollback. */
void link_expect_event(struct link *l);

/* The agent of a restored VM has been resumed: LINK_READY. */
void link_set_ready(struct link *l);

/* Connections made so far will end, because the VM is made its snapshot again. Says how often that
 * has happened. */
void link_cut(struct link *l);
unsigned link_epoch(struct link *l);

/* Copies what the guest is known to listen on. Returns how many. */
unsigned link_listeners(struct link *l, struct agent_listener ret[LINK_LISTENERS_MAX]);

/* SIGKILL; `cause` (static) is what waiting calls are told. */
void link_kill(struct link *l, const char *cause);

/* Waits until the process is gone, killing it when it lingers after its last word. */
void link_reap(struct link *l);

/* Says why the VM is no more, under a code of its own kind; LINK_ENDED must be known. */
int link_end_error(struct link *l, struct err *e);

/* The same as the answer to a call that needed the VM, on a connection made in `epoch` (see
 * link_epoch): -ESHUTDOWN and "the VM is gone: …" or "the VM was reset". Waits a little for the
 * reason. If the VM lives, -EPROTO and "the guest closed the connection". */
int link_gone_error(struct link *l, unsigned epoch, struct err *e);
