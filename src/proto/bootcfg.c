// SPDX-License-Identifier: Apache-2.0
#include "proto/bootcfg.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { LAYERS_MAX = 32, DISKS_MAX = 1 };

bool bootcfg_is_hostname(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n <= BOOTCFG_HOSTNAME_MAX && s[0] != '-' && s[0] != '.' &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == n;
}

int bootcfg_encode(const struct bootcfg *c, char *out, size_t room)
{
	int n;

	if (!bootcfg_is_hostname(c->hostname) || c->n_layers > LAYERS_MAX || c->n_disks > DISKS_MAX)
		return -EINVAL;
	n = snprintf(out, room, "version 2\nlayers %u\ndisks %u\ntmpfs %llu\nhostname %s\n",
		c->n_layers, c->n_disks, (unsigned long long)c->tmpfs_bytes, c->hostname);
	return n < 0 || (size_t)n >= room ? -E2BIG : n;
}

/* A decimal number that is all of s. */
static int number(const char *s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -EINVAL;
	}
	*ret = v;
	return 0;
}

enum {
	SEEN_VERSION = 1,
	SEEN_LAYERS = 2,
	SEEN_TMPFS = 4,
	SEEN_HOSTNAME = 8,
	SEEN_DISKS = 16,
	SEEN_ALL = 31,
};

/* Takes one line in. Returns the SEEN_ bit, or -EINVAL. */
static int take_line(struct bootcfg *c, const char *key, const char *value)
{
	uint64_t v = 0;

	if (!strcmp(key, "hostname")) {
		if (!bootcfg_is_hostname(value))
			return -EINVAL;
		memcpy(c->hostname, value, strlen(value) + 1);
		return SEEN_HOSTNAME;
	}
	if (number(value, &v) < 0)
		return -EINVAL;
	if (!strcmp(key, "version"))
		return v == 2 ? SEEN_VERSION : -EINVAL;
	if (!strcmp(key, "tmpfs")) {
		c->tmpfs_bytes = v;
		return SEEN_TMPFS;
	}
	if (!strcmp(key, "disks") && v <= DISKS_MAX) {
		c->n_disks = (uint32_t)v;
		return SEEN_DISKS;
	}
	if (strcmp(key, "layers") || v > LAYERS_MAX)
		return -EINVAL;
	c->n_layers = (uint32_t)v;
	return SEEN_LAYERS;
}

int bootcfg_decode(const char *text, size_t bytes, struct bootcfg *ret)
{
	char copy[BOOTCFG_TEXT_MAX + 1];
	struct bootcfg c = {0};
	int seen = 0;

	if (bytes > BOOTCFG_TEXT_MAX || memchr(text, '\0', bytes))
		return -EINVAL;
	memcpy(copy, text, bytes);
	copy[bytes] = '\0';
	for (char *line = copy, *end; *line; line = end + 1) {
		char *value;
		int bit;

		end = strchr(line, '\n');
		if (!end)
			return -EINVAL;
		*end = '\0';
		value = strchr(line, ' ');
		if (!value)
			return -EINVAL;
		*value++ = '\0';
		bit = take_line(&c, line, value);
		if (bit < 0 || (seen & bit))
			return -EINVAL;
		seen |= bit;
	}
	if (seen != SEEN_ALL)
		return -EINVAL;
	*ret = c;
	return 0;
}
