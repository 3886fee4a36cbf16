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
 * breaks before AGENT_EXIT the agent kills the process group, unless the workload is frozen.
 *
 * Snapshots: AGENT_FREEZE brings the workload (every command that runs, and what it started) to
 * rest with the cgroup freezer and answers AGENT_DONE once it is frozen and all output taken from
 * pipes so far has been sent; from then on nothing is read from pipes and no command starts. The
 * machine may now be saved. On the same connection, in the machine that goes on: AGENT_THAW,
 * answered by AGENT_DONE; if the connection breaks instead, the agent thaws by itself.
 * In a machine that was restored every earlier connection has been reset, and AGENT_RESUME on a new
 * one is the single step before any user code runs: it reseeds the random number generator, sets
 * the wall clock, the identity and the clone's files, closes what is left of old connections
 * (commands that ran stay, detached), connects the event connection again, thaws, and answers
 * AGENT_RESUMED; or AGENT_FAILED with the workload still frozen. AGENT_RESUME is accepted only
 * while frozen. A detached command keeps its pipes, which fill up and hold it back; AGENT_ATTACH
 * with its pid continues it on a new connection as if it had been started there (AGENT_STARTED …).
 */
#pragma once

#include <stdint.h>

enum {
	AGENT_VERSION = 2,
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
	AGENT_FREEZE = 19,   /* no payload */
	AGENT_THAW = 20,     /* no payload; after AGENT_FREEZE on its connection */
	AGENT_RESUME = 21,   /* fields AGENT_R_* */
	AGENT_ATTACH = 22,   /* struct agent_u32: pid of a detached command. 0: the only one */
	AGENT_AWAIT = 23, /* fields AGENT_W_*, one; answered by AGENT_DONE when it has happened */

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
	AGENT_RESUMED = 65, /* struct agent_resumed */

	/* events, agent -> host, on the event connection */
	AGENT_READY = 80,     /* no payload */
	AGENT_LISTENING = 81, /* struct agent_listener: a TCP socket of the guest listens */
};

/* Fields of AGENT_RESUME. The first two are required. */
enum agent_resume_tag {
	AGENT_R_ENTROPY = 1,  /* 32 … 512 bytes of fresh randomness */
	AGENT_R_CLOCK = 2,    /* struct agent_clock: the host's wall clock as it is sent */
	AGENT_R_HOSTNAME = 3, /* as bootcfg's */
	AGENT_R_MACHINE_ID =
		4,	   /* 32 hexadecimal digits, written where the image has a machine-id */
	AGENT_R_CLONE = 5, /* struct agent_clone */
	AGENT_R_ENV = 6,   /* NAME=value, may be repeated: for this clone's commands and files */
};

/* Fields of AGENT_AWAIT. */
enum agent_await_tag {
	AGENT_W_LISTEN = 1, /* struct agent_u32: a TCP port that some process of the workload
			     * listens on; 0: any, once the set of listeners has settled */
	AGENT_W_FILE = 2,   /* absolute path that exists */
};

struct agent_clock {
	uint64_t seconds; /* CLOCK_REALTIME */
	uint32_t nanoseconds;
	uint32_t reserved;
};

struct agent_clone {
	uint32_t index; /* 0 … count - 1 */
	uint32_t count;
};

/* Steps that were done and acknowledged by the guest's kernel; all AGENT_DID_* in a success. */
enum {
	AGENT_DID_RESEED = 1, /* RNDADDENTROPY and RNDRESEEDCRNG returned 0 */
	AGENT_DID_CLOCK = 2,
	AGENT_DID_IDENTITY = 4,
	AGENT_DID_THAW = 8,
	AGENT_DID_ALL = 15,
};

struct agent_resumed {
	uint32_t did;	  /* AGENT_DID_* */
	uint32_t n_execs; /* commands that are detached now */
	uint32_t took_us; /* in the guest */
	uint32_t reserved;
};

struct agent_listener {
	uint16_t port;
	uint8_t family; /* 4 or 6 */
	uint8_t is_loopback;
	uint8_t address[16]; /* network order; the first 4 of family 4 */
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
	AGENT_STAGE_FREEZE,
	AGENT_STAGE_RESUME, /* the cause says which step */
	AGENT_STAGE_AWAIT,
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
_Static_assert(sizeof(struct agent_clock) == 16, "wire format");
_Static_assert(sizeof(struct agent_resumed) == 16, "wire format");
_Static_assert(sizeof(struct agent_listener) == 20, "wire format");
