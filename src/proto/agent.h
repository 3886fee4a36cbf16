// SPDX-License-Identifier: Apache-2.0
/*
 * Agent protocol: host <-> agent in the guest, over vsock. Little-endian, versioned, bounded.
 *
 * The host connects to AGENT_PORT once for each request; a connection is one request with its
 * streams and ends with it. Frames are a struct agent_frame and `bytes` bytes of payload. The first
 * frame each way is AGENT_HELLO with struct agent_hello; a version that the other side does not
 * speak is answered by AGENT_FAILED and the end of the connection.
 *
 * When the agent is ready to serve it connects to AGENT_EVENT_PORT of the host (CID 2), says
 * AGENT_HELLO, then AGENT_READY; that connection stays open and carries the guest's events.
 *
 * Exec: host sends AGENT_EXEC (fields, see below); agent answers AGENT_STARTED or AGENT_FAILED.
 * Then STDIN, STDIN_CLOSE, SIGNAL from the host; STDOUT, STDERR, STDIN_TAKEN from the agent, at
 * last AGENT_EXIT, after all output that the process left. Standard input is windowed: the host
 * has at most AGENT_STDIN_WINDOW bytes under way that AGENT_STDIN_TAKEN has not acknowledged, so
 * that a signal never waits behind input which the process does not read. When the connection
 * breaks before AGENT_EXIT the agent kills the process group.
 */
#pragma once

#include <stdint.h>

enum {
	AGENT_VERSION = 1,
	AGENT_PORT = 1024,
	AGENT_EVENT_PORT = 1025,	 /* on the host, CID 2 */
	AGENT_FRAME_MAX = 64 * 1024,	 /* payload of a stream frame */
	AGENT_REQUEST_MAX = 1024 * 1024, /* payload of AGENT_EXEC: argv + env and all */
	AGENT_STDIN_WINDOW = 256 * 1024,
};

enum agent_type {
	AGENT_HELLO = 1,
	AGENT_FAILED = 2, /* struct agent_failed */

	/* requests, host -> agent */
	AGENT_EXEC = 16,     /* fields */
	AGENT_SHUTDOWN = 17, /* struct agent_shutdown; answered by AGENT_DONE, then power-off */
	AGENT_SYNC = 18,     /* no payload; answered by AGENT_DONE when file systems are written */

	/* of a running exec, host -> agent */
	AGENT_STDIN = 32,
	AGENT_STDIN_CLOSE = 33,
	AGENT_SIGNAL = 34, /* struct agent_u32: to the process group */

	/* of a running exec, agent -> host */
	AGENT_STARTED = 48, /* struct agent_u32: pid in the guest */
	AGENT_STDOUT = 49,
	AGENT_STDERR = 50,
	AGENT_STDIN_TAKEN = 51, /* struct agent_u32: bytes */
	AGENT_EXIT = 52,	/* struct agent_exit */

	AGENT_DONE = 64,

	/* events, agent -> host, on the event connection */
	AGENT_READY = 80, /* no payload */
};

/* Fields of AGENT_EXEC: struct agent_field and `bytes` bytes, one after the other, unpadded.
 * Strings carry no NUL. A repeated field appends (ARG, ENV); any other may come once. */
enum agent_tag {
	AGENT_ARG = 1,	 /* argv, at least one; argv[0] is searched in PATH of the given env */
	AGENT_ENV = 2,	 /* NAME=value; this is the whole environment (HOME is added if missing) */
	AGENT_CWD = 3,	 /* made if it does not exist, as image configurations expect */
	AGENT_USER = 4,	 /* user[:group], names (looked up in the image) or numbers, as in OCI */
	AGENT_FLAGS = 5, /* u32, AGENT_EXEC_* */
};

enum {
	AGENT_EXEC_STDIN = 1,  /* standard input follows; otherwise it is /dev/null */
	AGENT_EXEC_STDOUT = 2, /* wanted; otherwise /dev/null */
	AGENT_EXEC_STDERR = 4,
};

enum agent_stage {
	AGENT_STAGE_REQUEST = 1, /* malformed or unknown version */
	AGENT_STAGE_USER,	 /* no such user in the image */
	AGENT_STAGE_CWD,
	AGENT_STAGE_SPAWN, /* fork, pipes */
	AGENT_STAGE_EXEC,  /* execve: ENOENT is exit status 127, EACCES and others 126 */
};

struct agent_frame {
	uint32_t bytes; /* of the payload */
	uint16_t type;	/* enum agent_type */
	uint16_t reserved;
};

struct agent_hello {
	uint32_t version;
	uint32_t reserved;
};

struct agent_field {
	uint32_t bytes;
	uint16_t tag;
	uint16_t reserved;
};

struct agent_u32 {
	uint32_t value;
};

struct agent_failed {
	int32_t code; /* -Exxx, Linux numbering */
	uint32_t stage;
	char cause[248]; /* terminated */
};

struct agent_shutdown {
	uint32_t is_reset; /* 1: restart instead of power-off */
	uint32_t grace_ms; /* between SIGTERM and SIGKILL to what still runs */
};

struct agent_exit {
	int32_t status; /* exit status, or -1 when a signal ended it */
	int32_t signal; /* that signal, or 0 */
	uint64_t user_us;
	uint64_t system_us;
	uint64_t peak_rss_bytes;
};

_Static_assert(sizeof(struct agent_frame) == 8, "wire format");
_Static_assert(sizeof(struct agent_hello) == 8, "wire format");
_Static_assert(sizeof(struct agent_field) == 8, "wire format");
_Static_assert(sizeof(struct agent_failed) == 256, "wire format");
_Static_assert(sizeof(struct agent_shutdown) == 8, "wire format");
_Static_assert(sizeof(struct agent_exit) == 32, "wire format");
