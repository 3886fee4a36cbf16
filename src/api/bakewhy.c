// SPDX-License-Identifier: Apache-2.0
#include "api/bakewhy.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/draft.h"
#include "base/fd.h"
#include "oci/object.h"

struct search {
	struct store *store;
	const char *reference;
	struct timespec at; /* of the newest so far */
	struct buf newest;  /* its key file; empty: none */
};

static bool is_newer(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

static int look(void *context, const char *name)
{
	struct search *s = context;
	char path[4096];
	autoclose int fd = -1;
	autobuf struct buf text;
	struct stat st;

	buf_init(&text, BAKEKEY_TEXT_MAX);
	snprintf(path, sizeof(path), "%s/%s/key", store_path(s->store), name);
	if (draft_is_name(name))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0 || (s->newest.bytes && !is_newer(&st.st_mtim, &s->at)) ||
		buf_read_fd(&text, fd) < 0 ||
		!bakekey_is_of((const char *)text.data, text.bytes, s->reference))
		return 0;
	buf_fini(&s->newest);
	s->newest = text;
	s->at = st.st_mtim;
	buf_init(&text, 0);
	return 0;
}

void bakewhy(
	struct store *s, const struct bakekey *key, const char *reference, char *out, size_t room)
{
	struct search search = {.store = s, .reference = reference};
	char what[256] = "";

	buf_init(&search.newest, BAKEKEY_TEXT_MAX);
	/* Not to know is no failure. */
	(void)!object_each(s, "snapshots", look, &search, NULL);
	if (search.newest.bytes)
		bakekey_difference(key, (const char *)search.newest.data, search.newest.bytes, what,
			sizeof(what));
	if (what[0])
		snprintf(out, room, "the state baked before does not fit: %s", what);
	else
		snprintf(out, room, "booted once to bake a state that later starts restore");
	buf_fini(&search.newest);
}
