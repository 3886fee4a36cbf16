// SPDX-License-Identifier: Apache-2.0
/* The agent as its own files see it: agent.c (connections, commands, shutdown), freeze.c (rest and
 * its end), resume.c (the step after a restore), await.c (events that the host waits for). */
#pragma once

#include "guest/agent.h"
#include "guest/conn.h"
#include "guest/listen_events.h"
#include "guest/reap.h"

/* SERVING -> TERMINATING (SIGTERM sent) -> [KILLING (SIGKILL sent)] -> LINGERING -> OVER. */
enum phase { SERVING, TERMINATING, KILLING, LINGERING, OVER };

/*
 *	THAWED --AGENT_FREEZE--> FREEZING --at rest, all sent--> FROZEN
 *	  ^                         |                             |  | connection lost
 *	  |<----too late, lost------+                             |  v
 *	  |<----------------AGENT_THAW----------------------------+  DOUBTED --+
 *	  |<----the event connection lives: this is no clone------------+      | it does not
 *	  |                                                                    v
 *	  +<----AGENT_RESUME (in FROZEN, DOUBTED, ORPHANED)----------------ORPHANED
 *
 * A clone sees the connection break as the original does when its host gives up. But in a clone all
 * connections break, so the event connection tells them apart; in doubt nothing runs.
 */
enum frost { THAWED, FREEZING, FROZEN, DOUBTED, ORPHANED };

enum { ENDED_KEPT_MAX = 32 }; /* detached commands that have ended and nobody asked for */

struct agent {
	struct loop loop;
	struct conn_host host;
	struct reaper reaper;
	struct loop_watch listener;
	const struct agent_ops *ops;
	void *context;
	struct conn *conns[AGENT_CONNECTIONS_MAX];
	unsigned n_conns;
	enum phase phase;
	uint64_t deadline_ns; /* of the phase */
	bool is_reset;

	struct conn *event_conn; /* NULL: lost */
	/* oldest first; they count as n_execs of the host */
	struct exec *detached[AGENT_EXECS_MAX];
	unsigned n_detached;

	enum frost frost;
	uint64_t frost_deadline_ns;
	int freeze_timeout_ms;
	struct conn *freeze_conn; /* in FREEZING and FROZEN */
	bool has_group;		  /* ops->freeze did it; else there was nothing to freeze */
	struct loop_watch rest;	  /* the workload's state may have changed */
	bool is_rest_watched;

	bool is_restored; /* at least once */
	bool has_env_file;
	const char *etc;
	const char *clone_dir;
	void *env_memory; /* of host.env */
	char clone_variables[2][48];

	unsigned n_awaits;
	struct listen_events listening;
	bool want_look; /* something happened that an awaited event may have come of */
	bool has_ended; /* a process ended */
};

/* agent.c */
/* Says AGENT_HELLO and AGENT_READY on a new event connection. Takes fd in any case. */
int agent_announce(struct agent *a, int event_fd, struct err *e) MUST_CHECK;
/* Forgets and frees a connection. */
void agent_drop_conn(struct agent *a, struct conn *c);
/* Forgets a detached command, which is then the caller's. */
struct exec *agent_take_detached(struct agent *a, unsigned i);

/* freeze.c */
void freeze_begin(struct conn_host *h, struct conn *c);
int freeze_end(struct conn_host *h, struct conn *c);
/* Thaws; `except` is in its own callback and settles itself. Returns 0, or -errno and all is as
 * before. */
int freeze_thaw(struct agent *a, const struct conn *except) MUST_CHECK;
/* Lets pipes and wires move again. */
void freeze_release(struct agent *a, const struct conn *except);
/* To be called when a connection is gone: c is no longer to be touched. */
void freeze_lost(struct agent *a, const struct conn *c);
/* To be called after every turn. */
void freeze_step(struct agent *a);

/* resume.c */
void resume_begin(struct conn_host *h, struct conn *c, const uint8_t *payload, size_t bytes);

/* await.c */
void await_begin(struct conn_host *h, struct conn *c, const uint8_t *payload, size_t bytes);
/* To be called when its connection is over; one without is fine. */
void await_drop(struct agent *a, struct conn *c);
/* To be called after every turn. */
void await_step(struct agent *a);
/* The moment to look again, UINT64_MAX: only when something happens. */
uint64_t await_deadline_ns(const struct agent *a);
