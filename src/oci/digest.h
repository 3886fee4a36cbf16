// SPDX-License-Identifier: Apache-2.0
/*
 * Digests as OCI writes them, "sha256:" and 64 lower-case hexadecimal characters, and SHA-256 for
 * small documents (FIPS 180-4) without loading a cryptographic library: start-up time counts.
 * Layers are hashed by libcrypto in the helper program (hash.h).
 */
#pragma once

#include "base/err.h"

enum {
	SHA256_BYTES = 32,
	DIGEST_HEX_BYTES = 2 * SHA256_BYTES + 1,      /* with the NUL */
	DIGEST_TEXT_BYTES = 7 + 2 * SHA256_BYTES + 1, /* "sha256:" + hex + NUL */
};

struct digest {
	uint8_t sha256[SHA256_BYTES];
};

/* Parses the whole of `text`. -EINVAL malformed, -ENOTSUP another algorithm than sha256. */
int digest_parse(const char *text, struct digest *ret, struct err *e) MUST_CHECK;

/* The hexadecimal part alone, which is safe as a file name. */
int digest_parse_hex(const char *hex, struct digest *ret) MUST_CHECK;

void digest_format(const struct digest *d, char out[DIGEST_TEXT_BYTES]);
void digest_format_hex(const struct digest *d, char out[DIGEST_HEX_BYTES]);
bool digest_equal(const struct digest *a, const struct digest *b);

/* Of a whole document in memory. */
void digest_of(const void *data, size_t bytes, struct digest *ret);
