// SPDX-License-Identifier: Apache-2.0
/* The way out where KVM cannot run Linux: this very command again, inside the emulated host. */
#pragma once

#include "cli/args.h"

/* Where `make install` puts the program; the build says so. */
#ifndef SM_LIBEXECDIR
#define SM_LIBEXECDIR "/usr/local/libexec/supermachine"
#endif

enum emulate_mode { EMULATE_AUTO, EMULATE_NEVER, EMULATE_ALWAYS };

/* Reads $SUPERMACHINE_EMULATE. -EINVAL for a value that there is not. */
int emulate_mode(enum emulate_mode *ret, struct err *e) MUST_CHECK;

struct emulate_request {
	char **argv;		     /* of this process, from the command's name on */
	bool is_verbose;	     /* was said, somewhere */
	const struct args_list *env; /* what -e was given; may be NULL */
	uint64_t memory_bytes;	     /* of the VM; 0: its default */
	unsigned vcpus;		     /* of the VM; 0: its default */
	bool want_store;	     /* what is put into the store there shall stay */
};

/* Becomes the emulated host, which runs the same command. Returns only on failure. */
int emulate_become(const struct emulate_request *q, struct err *e);
