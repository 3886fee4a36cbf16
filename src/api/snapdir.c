// SPDX-License-Identifier: Apache-2.0
#include "api/snapdir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <supermachine.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "api/draft.h"
#include "base/alloc.h"
#include "base/fd.h"

/* ---- opening -------------------------------------------------------------------------------- */

static int cannot_open(const char *path, int code, struct err *e)
{
	if (code == -ENOENT || code == -ENOTDIR)
		err_set(e, -ENOENT, "there is no snapshot there");
	else
		err_set(e, code, "the snapshot cannot be opened: %s", strerror(-code));
	err_object(e, "%.180s", path);
	return err_remedy(e, "name the directory that a snapshot was saved to");
}

static int no_description(const char *path, struct err *e)
{
	if (draft_is_name(path)) {
		err_set(e, -EBUSY, "this snapshot is being written, or was left unfinished");
		err_object(e, "%.180s", path);
		return err_remedy(e, "name it without \"" DRAFT_INFIX "…\" once it is there");
	}
	err_set(e, -ENOENT, "there is no snapshot.json in it, so it is no snapshot");
	err_object(e, "%.180s", path);
	return err_remedy(e, "name the directory that a snapshot was saved to");
}

static int read_description(int dir_fd, const char *path, struct snapshot **ret, struct err *e)
{
	autoclose int fd =
		openat(dir_fd, "snapshot.json", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	autobuf struct buf b;
	int r;

	buf_init(&b, SNAPSHOT_JSON_MAX);
	if (fd < 0)
		return errno == ENOENT ? no_description(path, e) : cannot_open(path, -errno, e);
	r = buf_read_fd(&b, fd);
	if (r == -E2BIG)
		r = err_set(e, -EBADMSG, "its snapshot.json is larger than any that is written");
	else if (r < 0)
		return cannot_open(path, r, e);
	else
		r = snapshot_decode(b.data, b.bytes, ret, e);
	if (r == 0)
		return 0;
	if (e) /* the directory tells more than the file's name */
		e->object[0] = '\0';
	err_object(e, "%.160s/snapshot.json", path);
	return err_remedy(e, "take the snapshot again");
}

static int base_differs(const struct snapdir *d, const char *how, struct err *e)
{
	err_set(e, -EBADMSG, "the snapshot that it builds on, %.120s, %s", d->snapshot->base_path,
		how);
	err_object(e, "%.180s", d->path);
	return err_remedy(e, "put the one back from which it was taken");
}

static int check_base(const struct snapdir *d, struct err *e)
{
	const struct snapshot *s = d->snapshot, *b = d->base;

	if (strcmp(s->base_id, b->id))
		return base_differs(d, "is another one than it was taken from", e);
	if (b->base_id[0])
		return base_differs(d, "is a differential one itself", e);
	if (b->machine.memory_bytes != s->machine.memory_bytes ||
		b->machine.disk_bytes != s->machine.disk_bytes ||
		b->machine.vcpus != s->machine.vcpus || b->image->n_layers != s->image->n_layers)
		return base_differs(d, "is of another machine", e);
	return 0;
}

static int open_base(struct snapdir *d, struct err *e)
{
	const char *path = d->snapshot->base_path;

	d->base_fd = openat(d->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->base_fd < 0) {
		err_set(e, -ENOENT, "the snapshot that it builds on is not at %.120s: %s", path,
			strerror(errno));
		err_object(e, "%.180s", d->path);
		return err_remedy(e, "put it back there; a differential snapshot is of no use "
				     "without it");
	}
	if (read_description(d->base_fd, path, &d->base, e) < 0) {
		err_ctx(e, "the snapshot that it builds on");
		return e ? e->code : -EBADMSG;
	}
	return check_base(d, e);
}

int snapdir_open(const char *path, unsigned flags, struct snapdir *ret, struct err *e)
{
	struct snapdir d = {.fd = -1, .base_fd = -1, .path = strdup(path)};
	int r = 0;

	if (!d.path)
		return err_set(e, -ENOMEM, "no memory for a path");
	d.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d.fd < 0)
		r = cannot_open(path, -errno, e);
	else if (draft_is_name(path) && !(flags & SNAPDIR_TRIAL))
		r = no_description(path, e);
	if (r == 0)
		r = read_description(d.fd, path, &d.snapshot, e);
	if (r == 0 && d.snapshot->base_id[0] && !(flags & SNAPDIR_NO_BASE))
		r = open_base(&d, e);
	if (r < 0) {
		snapdir_close(&d);
		return r;
	}
	*ret = d;
	return 0;
}

void snapdir_close(struct snapdir *d)
{
	snapshot_free(d->snapshot);
	snapshot_free(d->base);
	autoclose_run(&d->fd);
	autoclose_run(&d->base_fd);
	free(d->path);
	*d = (struct snapdir){.fd = -1, .base_fd = -1};
}

/* ---- the host ------------------------------------------------------------------------------- */

/* "0.1.0" as a number that can be compared; a text that is no version is newer than all. */
static uint64_t version_number(const char *text)
{
	unsigned major, minor, patch;
	int n = 0;

	if (sscanf(text, "%3u.%5u.%5u%n", &major, &minor, &patch, &n) != 3 || text[n])
		return UINT64_MAX;
	return (uint64_t)major << 40 | (uint64_t)minor << 20 | patch;
}

int snapdir_check_host(const struct snapdir *d, struct err *e)
{
	const struct snapshot *s = d->snapshot;
	struct utsname host;

	if (uname(&host) < 0)
		return err_sys(e, "ask for the host's architecture");
	if (strcmp(s->architecture, host.machine)) {
		err_set(e, -ENOTSUP,
			"the snapshot is of a machine of architecture %s, and this "
			"host is %s",
			s->architecture, host.machine);
		err_object(e, "%.180s", d->path);
		return err_remedy(e, "restore it on a host of that architecture");
	}
	if (version_number(s->product) > version_number(SM_VERSION)) {
		err_set(e, -ENOTSUP,
			"the snapshot was taken by supermachine %s, which is newer "
			"than this one (%s)",
			s->product, SM_VERSION);
		err_object(e, "%.180s", d->path);
		return err_remedy(e, "restore it with that version or a newer one, or take it "
				     "again with this one");
	}
	return 0;
}

/* ---- files ---------------------------------------------------------------------------------- */

int snapdir_extra(const struct snapdir *d, const char *name)
{
	int fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

static int bad_file(const struct snapdir *d, const char *name, int code, struct err *e)
{
	err_object(e, "%.160s/%s", d->path, name);
	err_remedy(e, "the snapshot is damaged: take it again, or copy all of it again");
	return code;
}

int snapdir_file(
	const struct snapdir *d, bool of_base, const char *name, uint64_t bytes, struct err *e)
{
	/* A fifo put in its place must not hold us up. */
	autoclose int fd = openat(
		of_base ? d->base_fd : d->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const char *whose = of_base ? "of the snapshot that it builds on " : "";
	struct stat st;

	if (fd < 0 && errno == ENOENT) {
		err_set(e, -EBADMSG, "this file %sis missing", whose);
		return bad_file(d, name, -EBADMSG, e);
	}
	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = err_sys(e, "this file %scannot be opened", whose);

		err_object(e, "%.160s/%s", d->path, name);
		return r;
	}
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes) {
		err_set(e, -EBADMSG,
			"this file %shas %lld bytes, and the snapshot was written with %" PRIu64,
			whose, (long long)st.st_size, bytes);
		return bad_file(d, name, -EBADMSG, e);
	}
	return take_fd(&fd);
}

/* ---- where a base is ------------------------------------------------------------------------ */

/* The directory that `path`, which need not exist, is in: absolute, resolved. */
static char *parent_of(const char *path)
{
	autofree char *copy = strdup(path);
	size_t n = copy ? strlen(copy) : 0;
	char *slash;

	if (!copy)
		return NULL;
	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = '\0';
	slash = strrchr(copy, '/');
	if (!slash)
		return realpath(".", NULL);
	slash[slash == copy] = '\0';
	return realpath(copy, NULL);
}

int snapdir_base_path(const char *from, const char *to, char **ret, struct err *e)
{
	autofree char *here = parent_of(from);
	autofree char *base = realpath(to, NULL);
	char *slash = base ? strrchr(base, '/') : NULL;
	char *relative;

	if (!here || !slash) {
		err_sys(e, "cannot be looked up");
		return err_object(e, "%.180s", base ? from : to);
	}
	if (strlen(here) != (size_t)(slash - base) || strncmp(here, base, strlen(here))) {
		*ret = take_ptr(&base);
		return 0;
	}
	if (asprintf(&relative, "..%s", slash) < 0)
		return err_set(e, -ENOMEM, "no memory for a path");
	*ret = relative;
	return 0;
}
