// SPDX-License-Identifier: Apache-2.0
/*
 * "user[:group]" as image configurations have it (OCI image-spec config.md, "User"), looked up in
 * the image's /etc/passwd and /etc/group. Those files are a stranger's: a line that makes no sense
 * is passed over, sizes are bounded.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

enum { USER_GROUPS_MAX = 256, USER_HOME_BYTES = 1024, USER_FILE_MAX = 4 << 20 };

struct user {
	uid_t uid;
	gid_t gid;
	unsigned n_groups;
	gid_t groups[USER_GROUPS_MAX]; /* supplementary */
	char home[USER_HOME_BYTES];    /* "/" when the image does not say */
};

/* Resolves `spec` ("" is root) against the texts of the two files. A number needs no entry: its
 * group is then 0. Without ":group" the user is in every group that lists its name; with it, in
 * that one alone. Returns 0, -ENOENT (no such name), -EINVAL (malformed, out of range), -E2BIG (in
 * more than USER_GROUPS_MAX groups). */
int user_parse(const char *spec, const char *passwd, const char *group, struct user *ret,
	struct err *e) MUST_CHECK;

/* The same with the files themselves; one that does not exist is empty. */
int user_resolve(const char *spec, struct user *ret, struct err *e) MUST_CHECK;
