// SPDX-License-Identifier: Apache-2.0
/* Which operating system and processor an image is for, in OCI's (Go's) words. */
#pragma once

#include "base/err.h"

enum { PLATFORM_PART_BYTES = 16, PLATFORM_TEXT_BYTES = 3 * PLATFORM_PART_BYTES + 2 };

struct platform {
	char os[PLATFORM_PART_BYTES];
	char architecture[PLATFORM_PART_BYTES];
	char variant[PLATFORM_PART_BYTES]; /* "" when not given */
};

/* text: "OS/ARCH[/VARIANT]", or NULL for Linux on the processor we run on. -EINVAL malformed. */
int platform_parse(const char *text, struct platform *ret, struct err *e) MUST_CHECK;
void platform_format(const struct platform *p, char out[PLATFORM_TEXT_BYTES]);

/* How well an image for `offered` runs where `wanted` is asked for: 0 not at all, more is better.
 * A missing variant means the baseline: v1 for amd64, v8 for arm64. */
int platform_match(const struct platform *wanted, const struct platform *offered);
