// SPDX-License-Identifier: Apache-2.0
/*
 * Starts a program as somebody, somewhere, with given descriptors, in a session of its own.
 *
 * The child shares this process's memory until it runs the program (vfork), so it only makes system
 * calls and leaves what failed in struct spawn.
 */
#pragma once

#include <limits.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest/user.h"

struct spawn {
	char *const *argv;
	char *const *envp;
	const char *path; /* where argv[0] is searched when it has no slash: dirs, ':' between */
	const char *cwd;
	const struct user *user;
	int fds[3];    /* become 0, 1, 2; each above 2 */
	int cgroup_fd; /* the control group that the program starts in; -1: this process's */

	/* left by the child */
	int stage; /* enum agent_stage; 0: the program runs */
	int code;  /* -errno of it */
	char tried[PATH_MAX];
	char found[PATH_MAX]; /* the file that could not be executed; empty: there is none */
	mode_t found_mode;
	struct stat st;
};

/* Returns the child's process ID, or -errno when there is no child; s->stage and e then say why. An
 * unprivileged caller can start programs only as itself. */
pid_t spawn_run(struct spawn *s, struct err *e) MUST_CHECK;
