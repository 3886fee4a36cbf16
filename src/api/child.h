// SPDX-License-Identifier: Apache-2.0
/*
 * The VMM process as a child of the caller's: started, killed and reaped without touching any other
 * child of the caller and without a signal handler. A process descriptor names it, so that it is
 * right even where the caller ignores SIGCHLD or reaps every child itself.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

struct child {
	pid_t pid;
	int pidfd;
	bool is_reaped;
	bool is_status_known; /* false when somebody else reaped it */
	int code;	      /* CLD_EXITED, CLD_KILLED, CLD_DUMPED (waitid(2)) */
	int status;	      /* exit status or signal */
};

/* Starts `path` with no environment, its own session, no signal blocked or ignored, descriptors
 * 0 to 2 on /dev/null, `socket` as CTL_SOCKET_FD and nothing else open. argv[0] is the path's last
 * part, argv[1] is `label` (shown by ps). */
int child_start(const char *path, const char *label, int socket, struct child *ret,
	struct err *e) MUST_CHECK;

/* SIGKILL. Nothing happens when it is gone already. */
void child_kill(struct child *c);

/* Waits until the process is gone, then reaps it. Returns 0, or -ETIMEDOUT. */
int child_reap(struct child *c, int64_t timeout_ms);

/* Kills it if it lives, reaps it, closes the descriptor. A zeroed child (pid 0) is allowed. */
void child_fini(struct child *c);
