// SPDX-License-Identifier: Apache-2.0
/*
 * QEMU as a restorer of templates, which is what a snapshot is compared with: a machine is saved
 * once with its RAM in a file that it shares, so that the state holds all but RAM
 * (x-ignore-shared); each restored machine maps that file privately and goes on. Whatever fails
 * ends the program.
 */
#pragma once

#include "peer.h"

enum {
	QEMU_MONITOR_FD = 4, /* in QEMU */
	QEMU_RAM_FD,
	QEMU_FIRST_FD, /* of what is given to qemu_start */
	QEMU_OPTIONS_MAX = 40,
	QEMU_FDS_MAX = 8,
};

struct qemu_template {
	const char *qemu;    /* the program */
	const char *machine; /* -M */
	unsigned ram_mib;
	int ram_fd, state_fd; /* made by qemu_template_init */
};

struct qemu {
	struct peer peer;
	int monitor; /* speaks QMP */
	size_t n_heard;
	char heard[4096]; /* not yet whole lines */
};

/* Makes the two files, nameless, in that directory. */
void qemu_template_init(struct qemu_template *t, const char *directory);

/* Starts QEMU with a template's machine and these options beside (NULL-terminated), as a fresh one
 * or as the saved one going on. */
void qemu_start(struct qemu *q, const struct qemu_template *t, bool is_restored,
	const char *const *options, const int *fds, unsigned n_fds);

/* Waits until the saved machine goes on in this QEMU. */
void qemu_await_restored(struct qemu *q);

/* Writes the state of a running machine into the template and ends its QEMU. */
void qemu_save(struct qemu *q);

void qemu_kill(struct qemu *q);
