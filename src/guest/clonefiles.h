// SPDX-License-Identifier: Apache-2.0
/* The files by which a program learns that it goes on as a clone, and as which one. */
#pragma once

#include "base/err.h"

#define CLONEFILES_DIR "/run/supermachine"

enum { CLONEFILES_ID_CHARS = 32 };

struct clonefiles {
	unsigned index, count;
	const char *id;	  /* different in every clone */
	bool want_env;	  /* false: the file of the environment is left alone */
	char *const *env; /* NAME=value */
	size_t n_env;
};

/* Puts a small file system in memory at CLONEFILES_DIR, so that the files below cost a restored
 * guest no disk access. */
int clonefiles_prepare(struct err *e) MUST_CHECK;

/* Writes dir/env and dir/clone, in this order, each replaced as a whole. */
int clonefiles_write(const char *dir, const struct clonefiles *c, struct err *e) MUST_CHECK;
