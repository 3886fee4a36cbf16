// SPDX-License-Identifier: Apache-2.0
/* Children that ended, this process's own and, as it is the guest's first, every orphan. */
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include "base/loop.h"

struct reaper {
	struct loop_watch watch; /* a signalfd of SIGCHLD */
	struct loop *loop;
	void (*ended)(struct reaper *r, pid_t pid, int status, const struct rusage *usage);
};

/* Blocks SIGCHLD and reports every child that ends by `ended`, on the loop's thread. */
int reaper_start(struct reaper *r, struct loop *l,
	void (*ended)(struct reaper *r, pid_t pid, int status, const struct rusage *usage),
	struct err *e) MUST_CHECK;
void reaper_stop(struct reaper *r);

/* Takes those in that have ended by now. */
void reaper_collect(struct reaper *r);

/* True when nothing runs but this process: any process has a line of parents that ends here. */
bool reaper_is_alone(void);
