// SPDX-License-Identifier: Apache-2.0
/* SHA-256 of a stream, as fast as the processor can (libcrypto). For the helper program only. */
#pragma once

#include "oci/digest.h"

struct hasher {
	void *context;
};

int hasher_init(struct hasher *h, struct err *e) MUST_CHECK;
void hasher_fini(struct hasher *h);

int hasher_add(struct hasher *h, const void *data, size_t bytes) MUST_CHECK;

/* The digest of all that was added; nothing can be added after it. */
int hasher_end(struct hasher *h, struct digest *ret) MUST_CHECK;
