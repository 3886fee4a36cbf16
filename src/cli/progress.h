// SPDX-License-Identifier: Apache-2.0
/* Tells a person what takes long: on standard error, and only to a terminal unless asked. */
#pragma once

#include <stdio.h>
#include <supermachine.h>

#include "base/cc.h"

struct progress {
	bool is_verbose;
	bool is_terminal;
	bool has_line;	  /* a line of the terminal is to be overwritten */
	uint64_t step_ns; /* when the current step began */
	uint64_t begin_ns;
	const char *image; /* that notices are about */
};

void progress_init(struct progress *p, bool is_verbose);

/* Image options that report to p. */
struct sm_image_options progress_image_options(struct progress *p);

/* A step is done: prints its name and how long it took, if verbose. */
void progress_step(struct progress *p, const char *name);

/* Where the time of a VM's start went, if verbose; and as one line of JSON, asked or not. */
void progress_start_timings(const struct progress *p, const struct sm_start_timings *t);
void progress_json_timings(const struct sm_start_timings *t, FILE *to);

/* One line about what takes long, always; as sm_vm_options wants it, with p as the context. */
void progress_notice(const struct sm_notice *notice, void *context);

/* Ends a line that would be in the way. */
void progress_clear(struct progress *p);
