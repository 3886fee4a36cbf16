// SPDX-License-Identifier: Apache-2.0
/* Where a VM can run: here, or in the emulated host, which then runs this whole command again. */
#pragma once

#include "cli/emulate.h"
#include "cli/progress.h"

struct signals;

struct place_request {
	struct emulate_request emulate;
	enum emulate_mode mode;
	bool has_kernel; /* of the caller's choice, or in a snapshot: the default may be missing */
};

/* Returns 0 when VMs can run here; else an exit status, after it said why. When the emulated host
 * takes over it does not come back. `signals` may be NULL. */
int place_choose(const struct place_request *q, const struct signals *signals, struct progress *p);
