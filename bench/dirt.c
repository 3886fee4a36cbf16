// SPDX-License-Identifier: Apache-2.0
#include "dirt.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "peer.h"

enum { MAPPINGS_MAX = 512 };

/* Mappings of one file, or one that is anonymous (inode 0). */
struct mapped {
	unsigned major, minor;
	unsigned long inode, kib, dirty_kib;
};

/* "7f…-7f… rw-p 00000000 00:00 0   [heap]": a mapping begins. */
static bool is_mapping(const char *line, struct mapped *ret)
{
	unsigned long from, to;

	*ret = (struct mapped){0};
	return sscanf(line, "%lx-%lx %*s %*s %x:%x %lu", &from, &to, &ret->major, &ret->minor,
		       &ret->inode) == 5;
}

static struct mapped *find(struct mapped *all, unsigned *n, const struct mapped *one)
{
	for (unsigned i = 0; one->inode && i < *n; i++)
		if (all[i].inode == one->inode && all[i].major == one->major &&
			all[i].minor == one->minor)
			return &all[i];
	if (*n == MAPPINGS_MAX)
		die("a process with more than %d mappings", MAPPINGS_MAX);
	all[*n] = *one;
	return &all[(*n)++];
}

static unsigned read_mappings(FILE *f, struct mapped *all)
{
	struct mapped *m = NULL, begun;
	unsigned long kib;
	unsigned n = 0;
	char line[512];

	while (fgets(line, sizeof(line), f)) {
		if (is_mapping(line, &begun))
			m = find(all, &n, &begun);
		else if (m && sscanf(line, "Size: %lu kB", &kib) == 1)
			m->kib += kib;
		else if (m && sscanf(line, "Private_Dirty: %lu kB", &kib) == 1)
			m->dirty_kib += kib;
	}
	return n;
}

struct dirt dirt_of(pid_t pid)
{
	struct mapped all[MAPPINGS_MAX], ram = {0};
	unsigned long total_kib = 0;
	unsigned n;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		die("%s: %s", path, strerror(errno));
	n = read_mappings(f, all);
	fclose(f);
	for (unsigned i = 0; i < n; i++) {
		total_kib += all[i].dirty_kib;
		if (all[i].kib > ram.kib)
			ram = all[i];
	}
	return (struct dirt){ram.kib, ram.dirty_kib, total_kib - ram.dirty_kib};
}
