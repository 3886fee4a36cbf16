// SPDX-License-Identifier: Apache-2.0
/*
 * Digest text, and SHA-256 by libmd: for documents of a few kilobytes, loading libcrypto would take
 * longer than the hashing.
 */
#include "oci/digest.h"

#include <errno.h>
#include <sha2.h>
#include <string.h>

static const char digest_prefix[] = "sha256:";

void digest_of(const void *data, size_t bytes, struct digest *ret)
{
	SHA2_CTX context;

	SHA256Init(&context);
	SHA256Update(&context, data, bytes);
	SHA256Final(ret->sha256, &context);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -EINVAL;
}

int digest_parse_hex(const char *hex, struct digest *ret)
{
	struct digest d;

	if (strlen(hex) != DIGEST_HEX_BYTES - 1)
		return -EINVAL;
	for (size_t i = 0; i < SHA256_BYTES; i++) {
		int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		d.sha256[i] = (uint8_t)(high << 4 | low);
	}
	*ret = d;
	return 0;
}

int digest_parse(const char *text, struct digest *ret, struct err *e)
{
	static const char sha512[] = "sha512:";
	size_t n = sizeof(digest_prefix) - 1;

	if (!strncmp(text, sha512, sizeof(sha512) - 1)) {
		err_set(e, -ENOTSUP, "its digest is SHA-512, and only SHA-256 is supported");
		return err_remedy(e, "copy the image with SHA-256 digests");
	}
	if (strncmp(text, digest_prefix, n) || digest_parse_hex(text + n, ret) < 0)
		return err_set(
			e, -EINVAL, "\"%.80s\" is not a digest (sha256:<64 lower-case hex>)", text);
	return 0;
}

void digest_format_hex(const struct digest *d, char out[DIGEST_HEX_BYTES])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < SHA256_BYTES; i++) {
		out[2 * i] = digits[d->sha256[i] >> 4];
		out[2 * i + 1] = digits[d->sha256[i] & 15];
	}
	out[DIGEST_HEX_BYTES - 1] = '\0';
}

void digest_format(const struct digest *d, char out[DIGEST_TEXT_BYTES])
{
	memcpy(out, digest_prefix, sizeof(digest_prefix) - 1);
	digest_format_hex(d, out + sizeof(digest_prefix) - 1);
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return !memcmp(a->sha256, b->sha256, SHA256_BYTES);
}
