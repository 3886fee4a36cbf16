// SPDX-License-Identifier: Apache-2.0
/*
 * The control group (cgroup v2) that every command is started in and no descendant leaves, so that
 * all of them can be brought to rest at once. A kernel without control groups has no such group:
 * its descriptors are -1.
 *
 * The group is for freezing alone and has no controllers: the memory controller, for one, charges
 * every page, which a machine that has one tenant would pay for and not need.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

#define WORKLOAD_ROOT "/sys/fs/cgroup"
#define WORKLOAD_NAME "workload"

struct workload {
	int group_fd;  /* the group's directory: where commands start */
	int leaf_fd;   /* a child of it, once the group itself may hold no processes; else -1 */
	int freeze_fd; /* cgroup.freeze */
	int events_fd; /* cgroup.events; polled, it hangs up when it has changed */
};

/* No group. */
void workload_init(struct workload *w);

/* Makes the group below `root`, a mount of cgroup2 or a directory in one. Returns 0 or negative
 * with *w untouched. */
int workload_open(struct workload *w, const char *root, struct err *e) MUST_CHECK;
void workload_close(struct workload *w);

/* Makes the group all that this process and its children can see and reach of control groups, and
 * what is mounted at WORKLOAD_ROOT. */
int workload_seclude(const struct workload *w, struct err *e) MUST_CHECK;

/* Freezes or thaws everything in the group; it takes a while until workload_is_frozen. */
int workload_freeze(const struct workload *w, bool is_wanted) MUST_CHECK;

/* 1 when nothing in the group runs, 0, or -errno. Looking makes events_fd quiet until the next
 * change. */
int workload_is_frozen(const struct workload *w) MUST_CHECK;

/* Where the next command goes: -1 when there is no group. */
int workload_fd(const struct workload *w);

/* The group may hold no processes of its own, since some program hands its controllers out to
 * groups below it (cgroup-v2.rst, "No Internal Process Constraint"). From now on commands start in
 * a child of it. Returns 0 or -errno; -EBUSY when that was so already. */
int workload_use_leaf(struct workload *w) MUST_CHECK;
