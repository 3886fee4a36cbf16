// SPDX-License-Identifier: Apache-2.0
/*
 * A snapshot's directory, opened for reading, with the full snapshot that a differential one needs.
 * Knows what a host must be to restore it, as far as snapshot.json can tell. Any thread.
 */
#pragma once

#include "api/snapshot_json.h"

struct snapdir {
	int fd;
	char *path; /* as it was given, for errors */
	struct snapshot *snapshot;
	int base_fd; /* -1 in a full one */
	struct snapshot *base;
};

enum {
	SNAPDIR_TRIAL = 1,   /* one that is not finished yet is meant */
	SNAPDIR_NO_BASE = 2, /* the base is not looked for */
};

/* Reads snapshot.json, and the base's. Errors: -ENOENT no snapshot (or base) there, -EBADMSG
 * damaged, -ENOTSUP another format, -EBUSY still being written; each names the directory. */
int snapdir_open(const char *path, unsigned flags, struct snapdir *ret, struct err *e) MUST_CHECK;
void snapdir_close(struct snapdir *d);

/* 0 when this version on this host can restore it, else -ENOTSUP with why not. */
int snapdir_check_host(const struct snapdir *d, struct err *e) MUST_CHECK;

/* Opens a file of the snapshot (or of its base) read-only and checks its size. Returns a
 * descriptor; -EBADMSG when it is missing or of another size. */
int snapdir_file(const struct snapdir *d, bool of_base, const char *name, uint64_t bytes,
	struct err *e) MUST_CHECK;

/* The same for what need not be there: -ENOENT, without a word. */
int snapdir_extra(const struct snapdir *d, const char *name) MUST_CHECK;

/* How a snapshot that will be at `from` shall name its base at `to`: "../NAME" when they are side
 * by side, else an absolute path. free(3) it. */
int snapdir_base_path(const char *from, const char *to, char **ret, struct err *e) MUST_CHECK;
