// SPDX-License-Identifier: Apache-2.0
/*
 * Digest text and a plain SHA-256 after FIPS 180-4 §6.2. Used on documents of a few kilobytes,
 * where loading a faster implementation would take longer than the hashing.
 */
#include "oci/digest.h"

#include <errno.h>
#include <string.h>

static const char digest_prefix[] = "sha256:";

/* FIPS 180-4 §4.2.2: the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2};

/* FIPS 180-4 §5.3.3. */
static const uint32_t initial_state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
	0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static uint32_t rotate_right(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static uint32_t load_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

/* FIPS 180-4 §6.2.2 step 1: sixteen words of the message, forty-eight derived from them. */
static void expand(const uint8_t block[64], uint32_t w[64])
{
	for (unsigned i = 0; i < 16; i++)
		w[i] = load_be32(block + 4 * i);
	for (unsigned i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];
		uint32_t s0 = rotate_right(a, 7) ^ rotate_right(a, 18) ^ a >> 3;
		uint32_t s1 = rotate_right(b, 17) ^ rotate_right(b, 19) ^ b >> 10;

		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
}

static void compress_block(uint32_t state[8], const uint8_t block[64])
{
	uint32_t w[64], v[8];

	expand(block, w);
	memcpy(v, state, sizeof(v));
	for (unsigned i = 0; i < 64; i++) {
		uint32_t sum1 = rotate_right(v[4], 6) ^ rotate_right(v[4], 11) ^
			rotate_right(v[4], 25);
		uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
		uint32_t t1 = v[7] + sum1 + choice + round_constants[i] + w[i];
		uint32_t sum0 = rotate_right(v[0], 2) ^ rotate_right(v[0], 13) ^
			rotate_right(v[0], 22);
		uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);

		memmove(v + 1, v, 7 * sizeof(v[0]));
		v[4] += t1;
		v[0] = t1 + sum0 + majority;
	}
	for (unsigned i = 0; i < 8; i++)
		state[i] += v[i];
}

void digest_of(const void *data, size_t bytes, struct digest *ret)
{
	const uint8_t *at = data;
	uint32_t state[8];
	uint8_t last[128] = {0};
	size_t left, last_bytes;

	memcpy(state, initial_state, sizeof(state));
	for (left = bytes; left >= 64; left -= 64, at += 64)
		compress_block(state, at);
	if (left)
		memcpy(last, at, left);
	last[left] = 0x80;
	last_bytes = left < 56 ? 64 : 128;
	store_be32(last + last_bytes - 8, (uint32_t)((uint64_t)bytes >> 29));
	store_be32(last + last_bytes - 4, (uint32_t)bytes << 3);
	for (size_t i = 0; i < last_bytes; i += 64)
		compress_block(state, last + i);
	for (unsigned i = 0; i < 8; i++)
		store_be32(ret->sha256 + 4 * i, state[i]);
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
		return err_set(e, -EINVAL, "\"%.80s\" is not a digest (sha256:<64 lower-case hex>)",
			text);
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
