// SPDX-License-Identifier: Apache-2.0
/*
 * The host's side of the agent protocol for tests: runs the real agent in a process of its own,
 * over unix sockets, as first process of a PID namespace where that is allowed (so that nothing it
 * starts outlives it, and a shutdown may signal "everybody") and of a network namespace. All
 * functions fail the test that calls them.
 *
 * The machine around the agent is a double: it writes what it is asked to do to the file "world" in
 * the scratch directory, one line each, and fails in what a file "fail-NAME" there names (freeze,
 * thaw, reseed, clock, hostname, events). While a file "restless" is there nothing comes to rest.
 */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "proto/agent.h"

enum { PEER_FREEZE_MS = 400 };
enum { PEER_TIMEOUT_S = 20, PEER_NOT_FIRST = -1, PEER_POWERED_OFF = 40, PEER_RESET = 41 };

struct peer {
	pid_t pid;     /* of the agent */
	bool is_first; /* it is first process of a namespace */
	int event_fd;
	int event_listen_fd; /* where it connects to after a restore */
	bool has_group;	     /* its commands run in a control group, and freezing is real */
	char group[128];
	char address[64];
	char dir[64]; /* scratch directory, open to all, removed at the end */
};

struct peer_frame {
	uint16_t type;
	uint32_t bytes;
	uint8_t data[AGENT_FRAME_MAX];
};

/* What a command left behind. */
struct peer_result {
	struct buf out, err;
	bool is_failed; /* AGENT_FAILED came instead of AGENT_EXIT */
	struct agent_failed failed;
	struct agent_exit exit;
	uint32_t pid;
};

struct peer_command {
	const char *const *argv;
	const char *const *env; /* NULL: PATH alone */
	const char *cwd;	/* NULL: "/" by default of the agent */
	const char *user;	/* NULL: who the test runs as */
	uint32_t flags;
};

enum { PEER_OUTPUT = AGENT_EXEC_STDOUT | AGENT_EXEC_STDERR };

/* cmocka set-up and tear-down: *state is a struct peer. */
int peer_set_up(void **state);
/* The same with a real control group and real freezing, where that is allowed (has_group). */
int peer_set_up_group(void **state);
int peer_tear_down(void **state);

/* Waits for the agent's end. Returns its exit status, PEER_POWERED_OFF or PEER_RESET after a
 * shutdown. */
int peer_wait(struct peer *p);

int peer_connect(const struct peer *p);
/* Connects and greets. */
int peer_greet(const struct peer *p);

void peer_send_raw(int fd, const void *data, size_t bytes);
void peer_send(int fd, uint16_t type, const void *payload, size_t bytes);
void peer_send_u32(int fd, uint16_t type, uint32_t value);

/* Takes the agent's new event connection in place of the old one. */
void peer_expect_events(struct peer *p);

/* Makes or removes a file of the scratch directory. */
void peer_switch(const struct peer *p, const char *name, bool is_on);
/* What the machine's double wrote since the last time. */
void peer_expect_world(const struct peer *p, const char *text);

/* Receives one frame. Returns false at the end of the stream. */
bool peer_receive(int fd, struct peer_frame *f);
void peer_expect(int fd, uint16_t type, struct peer_frame *f);
void peer_expect_end(int fd);
/* Expects AGENT_FAILED with this code and stage, then the end of the stream; closes fd. */
void peer_expect_failed(int fd, int code, int stage, const char *cause_part);

/* Appends the fields of a command to b. */
void peer_put_field(struct buf *b, uint16_t tag, const void *data, size_t bytes);
void peer_put_command(struct buf *b, const struct peer_command *c);

/* Sends a request on a greeted connection, without waiting for an answer. */
void peer_request(int fd, const struct peer_command *c);
/* Greets, requests and waits until the command runs. Returns the connection. */
int peer_start(const struct peer *p, const struct peer_command *c);
/* Takes in what comes until AGENT_EXIT or AGENT_FAILED and the end of the stream; closes fd. */
void peer_collect(int fd, struct peer_result *r);
/* All of it in one. */
void peer_run(const struct peer *p, const struct peer_command *c, struct peer_result *r);
void peer_result_fini(struct peer_result *r);

/* Runs `sh -c script` with output and checks its exit status and standard output. */
void peer_expect_shell(const struct peer *p, const char *script, int status, const char *out);
