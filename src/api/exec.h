// SPDX-License-Identifier: Apache-2.0
/*
 * A command in a VM, as seen from here: one connection to the agent, standard input going in,
 * output coming out, one result. sm_exec.c starts and ends it, pump.c moves the streams.
 *
 * One thread at a time pumps; only `channel` (which locks its sending side), `is_pumping` and
 * `has_exit` are touched by other threads.
 */
#pragma once

#include <stdatomic.h>
#include <supermachine.h>

#include "api/channel.h"

enum exec_fd_kind {
	EXEC_FD_NULL,	/* writes vanish */
	EXEC_FD_PLAIN,	/* regular file: never waits */
	EXEC_FD_PIPE,	/* pipe, terminal, other: at most PIPE_BUF bytes when poll says so */
	EXEC_FD_SOCKET, /* can be told not to wait */
};

/* Where an output stream of the command goes. */
struct exec_output {
	const char *name;
	int fd;
	enum exec_fd_kind kind;
	sm_write_fn write; /* instead of fd; may be NULL */
	bool is_broken;	   /* nobody reads it: what still comes is dropped */
};

/* Where its standard input comes from. */
struct exec_input {
	int fd; /* -1: from memory */
	const uint8_t *data;
	size_t left;
	bool is_open;
	uint32_t under_way; /* sent and not acknowledged */
};

struct sm_exec {
	struct sm_vm *vm;
	int pid; /* in the guest; 0 until it runs */
	struct channel channel;
	atomic_flag is_pumping;
	atomic_bool has_exit;
	struct sm_exit exit;
	struct exec_input input;
	struct exec_output outputs[2]; /* stdout, stderr */
	void *context;
	/* A frame of output that its descriptor has not taken yet; it points into channel.in. */
	struct exec_output *pending_to;
	const uint8_t *pending;
	size_t pending_bytes;
	uint64_t hangup_ns; /* when the connection was seen to end while output was pending */
	bool was_sigpipe_raised;
	struct err failure; /* of the caller's streams: told when the command has ended */
	char label[64];	    /* argv[0], for errors */
};

/* Starts it. `input` may be NULL, then options say. Errors carry the stage in *ret_stage
 * (enum agent_stage, 0 when the agent said nothing). */
int exec_open(struct sm_vm *vm, const char *const *argv, const struct sm_exec_options *o,
	const struct exec_input *input, struct sm_exec **ret, uint32_t *ret_stage,
	struct err *e) MUST_CHECK;

/* Closes the handle of a command that goes on without it: of a frozen guest. */
void exec_leave(struct sm_exec *x);

/* It is no longer among those that run in the VM. */
void exec_forget(struct sm_exec *x);

/* The public code for an error of exec_open. */
enum sm_code exec_error_code(uint32_t stage, const struct err *e);

/* Moves the streams until the command ended (0; x->exit is set) or the deadline (-ETIMEDOUT).
 * -ESHUTDOWN: the VM is gone. */
int pump_run(struct sm_exec *x, uint64_t deadline_ns, struct err *e) MUST_CHECK;

/* Sends a signal to the command's process group. */
int exec_signal(struct sm_exec *x, int number, struct err *e) MUST_CHECK;
