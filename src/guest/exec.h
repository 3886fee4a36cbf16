// SPDX-License-Identifier: Apache-2.0
/*
 * A command that runs for a connection: its process, its three pipes, and the frames between them
 * and the wire. Memory is bounded: output is read only when the wire is clear, input is windowed.
 * Runs on the loop's thread.
 */
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include "base/loop.h"
#include "guest/request.h"
#include "guest/wire.h"

/* What all execs of an agent share. */
struct exec_host {
	struct loop *loop;
	int null_fd;
	struct workload *workload; /* where commands start; NULL: nowhere in particular */
	bool is_held;		   /* nothing is read from pipes or written to them */
	/* For one frame on its way from a pipe to a wire. */
	uint8_t frame[sizeof(struct agent_frame) + AGENT_FRAME_MAX];
};

struct exec_pipe {
	struct loop_watch watch; /* fd -1: closed */
	struct exec *exec;
	uint16_t type; /* AGENT_STDOUT … of the frames that carry it */
	bool is_watched;
	size_t left; /* after the process ended: what it left in the pipe */
};

struct exec {
	struct exec_host *host;
	struct wire *wire; /* NULL: detached */
	/* Called after a pipe moved something: the owner settles the wire; it may free the exec. */
	void (*moved)(struct exec *x);
	pid_t pid; /* also its session and process group */
	bool has_ended;
	bool is_done; /* AGENT_EXIT is on the wire */
	int failure;  /* -errno of the wire, met while a pipe was read */
	bool has_input, is_input_over;
	bool is_attached; /* its host may not know whether it has input */
	bool is_lost;	  /* detached since its connection broke, not since it was restored */
	struct exec_pipe in, out, err;
	struct buf input;   /* what the process's pipe did not take */
	uint32_t taken;	    /* bytes taken and not yet acknowledged by AGENT_STDIN_TAKEN */
	uint32_t under_way; /* bytes that the host sent and nobody acknowledged */
	size_t foreign;	    /* bytes at the start of `input` that an earlier connection sent */
	struct agent_exit exit;
};

/* Starts the command. On success *ret is the running exec, and AGENT_STARTED is on the wire. On
 * failure returns -errno, *ret_stage is an agent_stage and e the reason. */
int exec_start(struct exec_host *host, struct wire *wire, struct request *q,
	void (*moved)(struct exec *x), struct exec **ret, int *ret_stage, struct err *e) MUST_CHECK;

/* Frees it; what still runs of the process group is killed. */
void exec_free(struct exec *x);

/* Leaves the pipes alone, and watches them again: for all execs of a host while is_held is set.
 * After exec_release the owner settles the wire. */
void exec_hold(struct exec *x);
void exec_release(struct exec *x);

/* Takes it off its wire: it runs on until its pipes are full. */
void exec_detach(struct exec *x);

/* Continues a detached one on this wire: AGENT_STARTED, then as after exec_start. Returns 0 or
 * -ENOMEM, then it is still detached. */
int exec_attach(struct exec *x, struct wire *wire, void (*moved)(struct exec *x)) MUST_CHECK;

/* Frames of the host. Return 0 or -EPROTO with the reason. */
int exec_input(struct exec *x, const void *data, size_t bytes, struct err *e) MUST_CHECK;
int exec_input_over(struct exec *x, struct err *e) MUST_CHECK;
int exec_signal(struct exec *x, uint32_t number, struct err *e) MUST_CHECK;

/* The process has ended, as wait4 says. */
void exec_ended(struct exec *x, int status, const struct rusage *usage);

/* Moves what can move now: to be called when the wire may have become clear. Sets is_done after the
 * last frame. Returns 0 or -errno when the connection is to be given up. */
int exec_pump(struct exec *x) MUST_CHECK;
