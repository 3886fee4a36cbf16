// SPDX-License-Identifier: Apache-2.0
/*
 * What is to be run, put together from the caller's words and the image's configuration by Docker's
 * rules, as the payload of AGENT_EXEC. Data in, data out.
 */
#pragma once

#include <supermachine.h>

#include "base/buf.h"
#include "oci/image.h"

/* Appends the payload to `out`. `flags`: AGENT_EXEC_*. Returns 0, -EINVAL, -E2BIG or -ENOMEM. */
int request_encode(struct buf *out, const struct image_config *image, const char *const *argv,
	const struct sm_exec_options *o, uint32_t flags, struct err *e) MUST_CHECK;
