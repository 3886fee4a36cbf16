// SPDX-License-Identifier: Apache-2.0
#include "api/bakesweep.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/bakekey.h"
#include "api/draft.h"
#include "base/buf.h"
#include "base/fd.h"
#include "oci/object.h"

enum { PATH_BYTES = 4096 };

struct state {
	char name[OBJECT_NAME_BYTES];
	struct timespec at;
};

struct sweep {
	struct store *store;
	const char *reference;
	struct state kept[BAKE_KEPT]; /* those last used, so far */
	unsigned n;
};

static bool is_older(const struct state *a, const struct state *b)
{
	return a->at.tv_sec < b->at.tv_sec ||
	       (a->at.tv_sec == b->at.tv_sec && a->at.tv_nsec < b->at.tv_nsec);
}

/* Whether it is a baked state of the image, and when it was last used: its key file's time says so.
 */
static bool find(const struct sweep *s, const char *name, struct state *ret)
{
	char path[PATH_BYTES];
	autoclose int fd = -1;
	autobuf struct buf key;
	struct stat st;

	buf_init(&key, BAKEKEY_TEXT_MAX);
	if (draft_is_name(name) || strlen(name) >= sizeof(ret->name) ||
		snprintf(path, sizeof(path), "%s/%s/key", store_path(s->store), name) >= PATH_BYTES)
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0 || buf_read_fd(&key, fd) < 0 ||
		!bakekey_is_of((const char *)key.data, key.bytes, s->reference))
		return false;
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	ret->at = st.st_mtim;
	return true;
}

static void drop(const struct sweep *s, const struct state *state)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", store_path(s->store), state->name);
	draft_remove(path);
}

/* Keeps it in the place of the oldest, or drops it. */
static int look(void *context, const char *name)
{
	struct sweep *s = context;
	struct state *oldest = &s->kept[0], state;

	if (!find(s, name, &state))
		return 0;
	if (s->n < BAKE_KEPT) {
		s->kept[s->n++] = state;
		return 0;
	}
	for (unsigned i = 1; i < s->n; i++)
		if (is_older(&s->kept[i], oldest))
			oldest = &s->kept[i];
	drop(s, is_older(oldest, &state) ? oldest : &state);
	if (is_older(oldest, &state))
		*oldest = state;
	return 0;
}

void bakesweep_note_use(const char *dir)
{
	char path[PATH_BYTES];

	/* In a store that cannot be written to nothing is swept either. */
	if (snprintf(path, sizeof(path), "%s/key", dir) < PATH_BYTES)
		(void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
}

void bakesweep(struct store *s, const char *reference)
{
	struct sweep sweep = {.store = s, .reference = reference};

	/* What stays costs room and no more. */
	(void)!object_each(s, "snapshots", look, &sweep, NULL);
}
