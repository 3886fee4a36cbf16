// SPDX-License-Identifier: Apache-2.0
#include "cli/place.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/out.h"
#include "cli/signals.h"

/* Says so and does not come back, unless it fails. */
static int become_emulated(const struct place_request *q, const char *why,
	const struct signals *signals, struct progress *p)
{
	struct err e = {0};

	progress_clear(p);
	fprintf(stderr, "supermachine: %s; running in the emulated host, tens of times slower\n",
		why);
	if (signals)
		signals_restore(signals);
	(void)emulate_become(&q->emulate, &e);
	out_err(&e);
	return EXIT_RUN_FAILED;
}

int place_choose(const struct place_request *q, const struct signals *signals, struct progress *p)
{
	struct sm_error err;
	char why[sizeof(err.object) + sizeof(err.cause) + 4];
	int r;

	if (q->mode == EMULATE_ALWAYS)
		return become_emulated(q, "SUPERMACHINE_EMULATE says always", signals, p);
	r = sm_host_check(NULL, NULL, &err);
	progress_step(p, "host checked");
	if (r == SM_E_HYPERVISOR && q->mode == EMULATE_AUTO) {
		/* What is in brackets is for `doctor`. */
		char *details = strstr(err.cause, " (");

		if (details)
			*details = '\0';
		snprintf(why, sizeof(why), "%s: %s", err.object, err.cause);
		return become_emulated(q, why, signals, p);
	}
	if (r == 0 || (r == SM_E_NOT_FOUND && q->has_kernel))
		return 0;
	progress_clear(p);
	out_error(&err);
	return EXIT_RUN_FAILED;
}
