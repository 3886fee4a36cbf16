// SPDX-License-Identifier: Apache-2.0
/*
 * One connection of the host: the greeting, then one request with its streams. Malformed frames end
 * it with AGENT_FAILED and hurt nobody else.
 */
#pragma once

#include "guest/exec.h"
#include "proto/agent.h"

/*
 *	NEW --HELLO--> IDLE --EXEC--> EXEC --------AGENT_EXIT-----> CLOSING
 *	 |              |  |           |                              ^
 *	 |              |  +-SHUTDOWN--+--> SHUTDOWN --AGENT_DONE-----+
 *	 |              +----SYNC-------------------------------------+
 *	 +---------- anything wrong: AGENT_FAILED --------------------+
 *
 * In CLOSING what is kept is sent, then the stream is ended and the host's end awaited. EVENT is
 * the connection that the agent made: the host only greets on it.
 */
enum conn_state { CONN_NEW, CONN_IDLE, CONN_EXEC, CONN_SHUTDOWN, CONN_CLOSING, CONN_EVENT };

struct conn;

/* What connections of an agent share, and what they ask of it. */
struct conn_host {
	struct exec_host exec;
	unsigned n_execs;
	bool is_ending; /* a shutdown is under way: no new command */
	/* A shutdown is asked for; its connection is in state SHUTDOWN. */
	void (*shutdown)(struct conn_host *h, const struct agent_shutdown *s);
	/* The connection is over: forget it, then conn_free it. */
	void (*gone)(struct conn_host *h, struct conn *c);
	uint8_t received[sizeof(struct agent_frame) + AGENT_FRAME_MAX]; /* for one read */
};

struct conn {
	struct loop_watch watch;
	struct conn_host *host;
	struct wire wire;
	enum conn_state state;
	unsigned events;   /* watched for */
	bool is_ended;	   /* our half of the stream */
	struct exec *exec; /* in state EXEC */
};

/* Takes fd on success. Returns NULL when memory or descriptors are short. */
struct conn *conn_new(struct conn_host *h, int fd, enum conn_state state);
void conn_free(struct conn *c);

/* Refuses a request with a reason: AGENT_FAILED, then the end of the connection. A command that it
 * runs is killed. */
void conn_fail(struct conn *c, int code, int stage, const char *cause);

/* Sends and moves what can be moved, and watches for the rest. May end in host->gone. */
void conn_settle(struct conn *c);

/* Answers a shutdown or sync that has been carried out. */
void conn_done(struct conn *c);

/* True when nothing is owed to the host any more. */
bool conn_is_quiet(const struct conn *c);
