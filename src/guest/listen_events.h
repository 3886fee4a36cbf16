// SPDX-License-Identifier: Apache-2.0
/*
 * Tells when a program of a control group begins to listen on a TCP socket, the moment it does: a
 * BPF program of a few instructions, attached to the group, which the kernel runs at listen(2)
 * (BPF_SOCK_OPS_TCP_LISTEN_CB) and which writes to a ring that a descriptor can be watched for. It
 * is there only while somebody waits. That a listener is gone nobody tells.
 */
#pragma once

#include "base/loop.h"

struct listen_events {
	struct loop_watch watch; /* fd -1: closed */
	struct loop *loop;
	int link_fd;
	void *consumed; /* pages of the ring: where we are, where the kernel is */
	void *produced;
	void (*happened)(struct listen_events *l);
};

void listen_events_init(struct listen_events *l);

/* Watches what the group with this directory does. Returns 0 or -errno: kernels without BPF, and
 * callers without privilege, have to look for themselves. */
int listen_events_open(struct listen_events *l, struct loop *loop, int cgroup_fd,
	void (*happened)(struct listen_events *l)) MUST_CHECK;
void listen_events_close(struct listen_events *l);
