// SPDX-License-Identifier: Apache-2.0
/*
 * The runtime directory: where the sockets of running VMs are, one NAME.sock each.
 *
 * $XDG_RUNTIME_DIR/supermachine, else /run/user/UID/supermachine, else /tmp/supermachine-UID; only
 * its owner may look into it, which is checked at every use. A socket that nobody listens on was
 * left by a process that was killed.
 */
#pragma once

#include "base/err.h"

enum { RUNDIR_NAME_MAX = 64 };

/* Makes it if it is not there, checks whose it is. Returns a descriptor or -errno. */
int rundir_open(struct err *e) MUST_CHECK;

/* One process at a time changes it; the lock goes with the descriptor. */
int rundir_lock(int dir_fd, struct err *e) MUST_CHECK;
void rundir_unlock(int dir_fd);

/* Whether a VM can have this name, which is its host name too: -EINVAL with the reason if not. */
int rundir_check_name(const char *name, struct err *e) MUST_CHECK;

/* Binds or connects a new SOCK_SEQPACKET socket to the name. Returns the socket or -errno, without
 * a sentence: -EADDRINUSE, -ECONNREFUSED and -ENOENT mean different things to the callers. Connect
 * without is_waiting gives -EAGAIN where the other side is busy. */
int rundir_bind(int dir_fd, const char *name) MUST_CHECK;
int rundir_connect(int dir_fd, const char *name, bool is_waiting) MUST_CHECK;
void rundir_remove(int dir_fd, const char *name);

/* Calls `each` (may be NULL) with the names of VMs that live; removes what dead ones left. Needs
 * the lock. */
void rundir_sweep(int dir_fd, void (*each)(const char *name, void *context), void *context);
