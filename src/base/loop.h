// SPDX-License-Identifier: Apache-2.0
/*
 * An event loop over file descriptors, run by one thread.
 *
 * A watch is embedded in its owner's struct; its callback runs on the loop's thread. Only
 * loop_stop may be called from other threads. A callback may add, change and remove any watch, its
 * own included: a removed watch is not called again, not even for events already collected.
 */
#pragma once

#include "base/err.h"

enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };

struct loop_watch {
	int fd;
	/* events: LOOP_* bits; LOOP_HANGUP is reported whether asked for or not. */
	void (*ready)(struct loop_watch *w, unsigned events);
};

struct loop {
	int poll_fd;
	struct loop_watch waker;
	bool is_stopping;
	void *pending;	    /* events collected in the current turn, struct epoll_event[] */
	unsigned n_pending; /* how many of them are still to be called */
};

int loop_init(struct loop *l, struct err *e) MUST_CHECK;
void loop_fini(struct loop *l);

/* Registers, changes or removes a watch. events: LOOP_READ, LOOP_WRITE or both; 0 leaves only
 * hang-ups. The descriptor stays the caller's and must be removed before it is closed. */
int loop_add(struct loop *l, struct loop_watch *w, unsigned events) MUST_CHECK;
int loop_change(struct loop *l, struct loop_watch *w, unsigned events) MUST_CHECK;
void loop_remove(struct loop *l, struct loop_watch *w);

/* Waits at most timeout_ms (-1: for ever) and calls what is ready. Returns the number called, or
 * -errno. */
int loop_turn(struct loop *l, int timeout_ms);

/* Turns until loop_stop. Returns 0 or -errno. */
int loop_run(struct loop *l) MUST_CHECK;

/* Ends loop_run after the current callback. Any thread. */
void loop_stop(struct loop *l);
