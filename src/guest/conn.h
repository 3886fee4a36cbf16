// SPDX-License-Identifier: Apache-2.0
/*
 * One connection of the host: the greeting, then one request with its streams. Malformed frames end
 * it with AGENT_FAILED and hurt nobody else.
 */
#pragma once

#include "guest/exec.h"
#include "proto/agent.h"

/*
 *	NEW --HELLO--> IDLE --EXEC, ATTACH--> EXEC ---AGENT_EXIT---> CLOSING
 *	 |              |  |                                          ^
 *	 |              |  +--SHUTDOWN--> SHUTDOWN --AGENT_DONE-------+
 *	 |              |  +--FREEZE----> FREEZE ----AGENT_THAW-------+
 *	 |              |  +--AWAIT-----> AWAIT -----AGENT_DONE-------+
 *	 |              +----SYNC, RESUME-----------------------------+
 *	 +---------- anything wrong: AGENT_FAILED --------------------+
 *
 * In CLOSING what is kept is sent, then the stream is ended and the host's end awaited. EVENT is
 * the connection that the agent made: the host only greets on it.
 */
enum conn_state {
	CONN_NEW,
	CONN_IDLE,
	CONN_EXEC,
	CONN_SHUTDOWN,
	CONN_FREEZE,
	CONN_AWAIT,
	CONN_CLOSING,
	CONN_EVENT,
};

struct await;
struct conn;
struct conn_host;

/* What connections ask of their agent. Those that are given a connection in its own callback may
 * fail or finish it, but neither settle it nor forget it. */
struct conn_ops {
	/* A shutdown is asked for; its connection is in state SHUTDOWN. */
	void (*shutdown)(struct conn_host *h, const struct agent_shutdown *s);
	/* Requests for which the connection itself has no answer; it is in state IDLE. */
	void (*freeze)(struct conn_host *h, struct conn *c);
	void (*resume)(struct conn_host *h, struct conn *c, const uint8_t *payload, size_t bytes);
	void (*await)(struct conn_host *h, struct conn *c, const uint8_t *payload, size_t bytes);
	/* On a connection in state FREEZE. Returns 0 or what went wrong. */
	int (*thaw)(struct conn_host *h, struct conn *c);
	/* Takes a detached command out for AGENT_ATTACH: pid, or 0 for the only one. Returns NULL
	 * with *ret_code set when there is none, or more than one. */
	struct exec *(*claim)(struct conn_host *h, pid_t pid, int *ret_code);
	/* Takes a command in whose connection is gone while nothing may be done about it. */
	void (*keep)(struct conn_host *h, struct exec *x);
	/* The connection is over: forget it, then conn_free it. */
	void (*gone)(struct conn_host *h, struct conn *c);
};

/* What connections of an agent share. */
struct conn_host {
	struct exec_host exec;
	const struct conn_ops *ops;
	unsigned n_execs;
	bool is_ending; /* a shutdown is under way: no new command */
	char **env;	/* n_env variables of this clone, for every command that starts */
	size_t n_env;
	uint8_t received[sizeof(struct agent_frame) + AGENT_FRAME_MAX]; /* for one read */
};

struct conn {
	struct loop_watch watch;
	struct conn_host *host;
	struct wire wire;
	enum conn_state state;
	unsigned events;     /* watched for */
	bool is_ended;	     /* our half of the stream */
	bool is_old;	     /* it was there when the workload froze */
	struct exec *exec;   /* in state EXEC */
	struct await *await; /* in state AWAIT; the agent's */
};

/* Takes fd on success. Returns NULL when memory or descriptors are short. */
struct conn *conn_new(struct conn_host *h, int fd, enum conn_state state);
/* A command that it runs is killed, or kept while the workload is frozen. */
void conn_free(struct conn *c);

/* Refuses a request with a reason: AGENT_FAILED, then the end of the connection. A command that it
 * runs is killed. */
void conn_fail(struct conn *c, int code, int stage, const char *cause);

/* Sends and moves what can be moved, and watches for the rest. May end in ops->gone. */
void conn_settle(struct conn *c);

/* Answers a request that has been carried out. */
void conn_done(struct conn *c);

/* True when nothing is owed to the host any more. */
bool conn_is_quiet(const struct conn *c);
