// SPDX-License-Identifier: Apache-2.0
/* Random bytes from the host's kernel, a bounded amount at a time. Any thread. */
#pragma once

#include <sys/uio.h>

#include "base/cc.h"

/* What one call gives at most: no request keeps its thread for long. */
enum { ENTROPY_REQUEST_MAX = 64 * 1024 };

/* Fills the list from its beginning. Returns the bytes filled, ENTROPY_REQUEST_MAX at most and at
 * least one unless the list is empty, or -errno. */
ssize_t entropy_fill(const struct iovec *iov, unsigned n) MUST_CHECK;
