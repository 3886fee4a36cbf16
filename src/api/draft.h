// SPDX-License-Identifier: Apache-2.0
/*
 * A directory that appears whole or not at all: made under another name beside its place, renamed
 * when its files are durable. Its writer holds a lock on it (flock(2)), so that what a killed
 * writer left is known from what is being written, and swept by the next. Any thread.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/* Names of such directories end in this and six characters. */
#define DRAFT_INFIX ".tmp-"

struct draft {
	char *path; /* where it will be */
	char *tmp;  /* where it is */
	int fd;	    /* of tmp; -1: there is none */
};

/* True for the name of a directory that is being written, or was left so. */
bool draft_is_name(const char *path);

/* Begins one. -EEXIST when there is something at `path` and want_replace is false; other errors as
 * of mkdir. */
int draft_begin(struct draft *d, const char *path, bool want_replace, struct err *e) MUST_CHECK;

/* A new file in it. Returns a descriptor, read-write. */
int draft_file(struct draft *d, const char *name, struct err *e) MUST_CHECK;

/* A new file with these bytes. */
int draft_put(struct draft *d, const char *name, const void *data, size_t bytes,
	struct err *e) MUST_CHECK;

/* Makes all files read-only and durable and gives the directory its name, taking the place of an
 * older one if want_replace. On failure all is as before, and the draft still there. */
int draft_commit(struct draft *d, bool want_replace, struct err *e) MUST_CHECK;

/* Removes it, unless it was committed. */
void draft_abandon(struct draft *d);

/* Removes a directory of files, if it is there. */
void draft_remove(const char *path);
