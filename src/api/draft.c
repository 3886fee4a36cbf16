// SPDX-License-Identifier: Apache-2.0
#include "api/draft.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"

enum { RANDOM_CHARACTERS = 6, TRIES = 16 };

bool draft_is_name(const char *path)
{
	size_t n = strlen(path), tail = strlen(DRAFT_INFIX) + RANDOM_CHARACTERS;

	while (n && path[n - 1] == '/')
		n--;
	return n > tail && !strncmp(path + n - tail, DRAFT_INFIX, strlen(DRAFT_INFIX));
}

static int failed(const char *path, int code, const char *what, struct err *e)
{
	err_set(e, code, "%s: %s", what, strerror(-code));
	err_object(e, "%.180s", path);
	if (code == -ENOSPC || code == -EDQUOT)
		return err_remedy(e, "make room there, or name another place");
	if (code == -EACCES || code == -EPERM || code == -EROFS)
		return err_remedy(e, "name a place that you can write to");
	return code;
}

/* ---- removing ------------------------------------------------------------------------------- */

/* Empties the directory; what is in it are files. */
static void empty(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(d)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			(void)unlinkat(dir_fd, entry->d_name, 0);
	closedir(d);
}

void draft_remove(const char *path)
{
	autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return;
	empty(fd);
	(void)rmdir(path);
}

/* Becomes the writer of a directory. False when another is, or it is gone. */
static bool lock_alone(int fd)
{
	struct stat st;

	return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0;
}

static void sweep_one(int parent_fd, const char *name)
{
	autoclose int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || !lock_alone(fd))
		return;
	empty(fd);
	(void)unlinkat(parent_fd, name, AT_REMOVEDIR);
}

/* Removes what killed writers of the same path left. */
static void sweep(const char *path)
{
	autofree char *parent = strdup(path);
	char *slash = parent ? strrchr(parent, '/') : NULL;
	const char *base = slash ? slash + 1 : path;
	struct dirent *entry;
	DIR *d;

	if (!parent)
		return;
	if (slash)
		*slash = '\0';
	d = opendir(!slash ? "." : *parent ? parent : "/");
	if (!d)
		return;
	while ((entry = readdir(d)))
		if (draft_is_name(entry->d_name) && !strncmp(entry->d_name, base, strlen(base)) &&
			strlen(entry->d_name) ==
				strlen(base) + strlen(DRAFT_INFIX) + RANDOM_CHARACTERS)
			sweep_one(dirfd(d), entry->d_name);
	closedir(d);
}

/* ---- making --------------------------------------------------------------------------------- */

static char *without_slashes(const char *path)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	return strndup(path, n);
}

/* One try: 0, -EAGAIN when a sweeper was faster than our lock, or -errno. */
static int make(struct draft *d)
{
	strcpy(d->tmp + strlen(d->tmp) - RANDOM_CHARACTERS, "XXXXXX");
	if (!mkdtemp(d->tmp))
		return -errno;
	d->fd = open(d->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (d->fd >= 0 && lock_alone(d->fd))
		return 0;
	autoclose_run(&d->fd);
	(void)rmdir(d->tmp);
	return -EAGAIN;
}

int draft_begin(struct draft *d, const char *path, bool want_replace, struct err *e)
{
	struct stat st;
	int r = -EAGAIN;

	*d = (struct draft){.fd = -1, .path = without_slashes(path)};
	if (!d->path || asprintf(&d->tmp, "%s" DRAFT_INFIX "XXXXXX", d->path) < 0) {
		d->tmp = NULL;
		draft_abandon(d);
		return err_set(e, -ENOMEM, "no memory for a path");
	}
	if (!want_replace && lstat(d->path, &st) == 0) {
		err_set(e, -EEXIST, "it exists already");
		err_object(e, "%.180s", path);
		err_remedy(e, "name a directory that does not exist, or remove it");
		draft_abandon(d);
		return -EEXIST;
	}
	sweep(d->path);
	for (int i = 0; r == -EAGAIN && i < TRIES; i++)
		r = make(d);
	if (r < 0) {
		failed(path, r, "cannot make a directory beside it", e);
		draft_abandon(d);
	}
	return r;
}

int draft_file(struct draft *d, const char *name, struct err *e)
{
	int fd = openat(d->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd < 0 ? failed(d->path, -errno, "cannot make a file in it", e) : fd;
}

int draft_put(struct draft *d, const char *name, const void *data, size_t bytes, struct err *e)
{
	autoclose int fd = draft_file(d, name, e);
	int r;

	if (fd < 0)
		return fd;
	r = fd_pwrite_full(fd, data, bytes, 0);
	return r < 0 ? failed(d->path, r, "cannot write a file of it", e) : 0;
}

/* ---- its name ------------------------------------------------------------------------------- */

static int settle_file(int dir_fd, const char *name)
{
	autoclose int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	return fchmod(fd, 0444) < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int settle_files(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!d) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (entry = readdir(d)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			r = settle_file(dir_fd, entry->d_name);
	closedir(d);
	if (r == 0 && fsync(dir_fd) < 0)
		r = -errno;
	return r;
}

/* rename(2): EINVAL where the file system lacks the flag. Then a race is lost by whoever comes
 * second only as long as the directory is not empty, which a committed one never is. */
static int give_name(const struct draft *d)
{
	struct stat st;

	if (renameat2(AT_FDCWD, d->tmp, AT_FDCWD, d->path, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (lstat(d->path, &st) == 0)
		return -EEXIST;
	return rename(d->tmp, d->path) < 0 ? -errno : 0;
}

/* The older one gets our temporary name, and goes. */
static int take_name(struct draft *d)
{
	int r = give_name(d);

	if (r != -EEXIST && r != -ENOTEMPTY)
		return r;
	if (renameat2(AT_FDCWD, d->tmp, AT_FDCWD, d->path, RENAME_EXCHANGE) == 0) {
		draft_remove(d->tmp);
		return 0;
	}
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	draft_remove(d->path);
	return give_name(d);
}

static void sync_parent(const char *path)
{
	autofree char *parent = strdup(path);
	char *slash = parent ? strrchr(parent, '/') : NULL;
	autoclose int fd = -1;

	if (!parent)
		return;
	if (slash)
		slash[slash == parent] = '\0';
	fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		(void)fsync(fd);
}

int draft_commit(struct draft *d, bool want_replace, struct err *e)
{
	int r = settle_files(d->fd);

	if (r < 0)
		return failed(d->path, r, "cannot make its files durable", e);
	r = want_replace ? take_name(d) : give_name(d);
	if (r == -EEXIST || r == -ENOTEMPTY) {
		err_set(e, -EEXIST, "it was made by somebody else meanwhile");
		return err_object(e, "%.180s", d->path);
	}
	if (r < 0)
		return failed(d->path, r, "cannot give it its name", e);
	sync_parent(d->path);
	autoclose_run(&d->fd);
	draft_abandon(d);
	return 0;
}

void draft_abandon(struct draft *d)
{
	if (d->fd >= 0) {
		empty(d->fd);
		(void)rmdir(d->tmp);
	}
	autoclose_run(&d->fd);
	free(d->path);
	free(d->tmp);
	*d = (struct draft){.fd = -1};
}
