// SPDX-License-Identifier: Apache-2.0
#include "cli/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

static const char suffix[] = ".sock";

static void find_path(char out[PATH_MAX])
{
	const char *told = getenv("XDG_RUNTIME_DIR");
	char session[64];
	struct stat st;

	snprintf(session, sizeof(session), "/run/user/%u", (unsigned)geteuid());
	if (told && told[0] == '/')
		snprintf(out, PATH_MAX, "%s/supermachine", told);
	else if (stat(session, &st) == 0 && S_ISDIR(st.st_mode))
		snprintf(out, PATH_MAX, "%s/supermachine", session);
	else
		snprintf(out, PATH_MAX, "/tmp/supermachine-%u", (unsigned)geteuid());
}

/* /tmp is everybody's: what is found there under our name may be a stranger's. */
static int check_owner(int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "examine it");
	if (st.st_uid != geteuid())
		return err_set(e, -EPERM, "it belongs to user %u", (unsigned)st.st_uid);
	if (st.st_mode & 077)
		return err_set(e, -EPERM, "others may enter it (mode %03o)",
			(unsigned)(st.st_mode & 0777));
	return 0;
}

int rundir_open(struct err *e)
{
	char path[PATH_MAX];
	autoclose int fd = -1;
	int r = 0;

	find_path(path);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		r = err_sys(e, "make the runtime directory");
	if (r == 0) {
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = fd < 0 ? err_sys(e, "open the runtime directory") : check_owner(fd, e);
	}
	if (r < 0) {
		err_object(e, "%s", path);
		return err_remedy(e, "set XDG_RUNTIME_DIR to a directory that is yours alone");
	}
	return take_fd(&fd);
}

int rundir_lock(int dir_fd, struct err *e)
{
	while (flock(dir_fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return err_sys(e, "lock the runtime directory");
	return 0;
}

void rundir_unlock(int dir_fd)
{
	(void)flock(dir_fd, LOCK_UN);
}

int rundir_check_name(const char *name, struct err *e)
{
	size_t n = strlen(name);

	if (n > 0 && n <= RUNDIR_NAME_MAX && name[0] != '-' && name[0] != '.' &&
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") ==
			n)
		return 0;
	err_set(e, -EINVAL, "a VM's name is also its host name, which this cannot be");
	err_object(e, "%.80s", name);
	return err_remedy(e,
		"use up to %d letters, digits, '-' and '.', beginning with a letter or digit",
		RUNDIR_NAME_MAX);
}

/* The way through /proc is short, however long the directory's own path is. */
static struct sockaddr_un address(int dir_fd, const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%.*s%s", dir_fd, RUNDIR_NAME_MAX,
		name, suffix);
	return a;
}

int rundir_bind(int dir_fd, const char *name)
{
	struct sockaddr_un a = address(dir_fd, name);
	autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	if (listen(fd, SOMAXCONN) < 0)
		return -errno;
	return take_fd(&fd);
}

int rundir_connect(int dir_fd, const char *name, bool is_waiting)
{
	struct sockaddr_un a = address(dir_fd, name);
	int flags = SOCK_SEQPACKET | SOCK_CLOEXEC | (is_waiting ? 0 : SOCK_NONBLOCK);
	autoclose int fd = socket(AF_UNIX, flags, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	return take_fd(&fd);
}

static void file_name(const char *name, char out[NAME_MAX + 1])
{
	snprintf(out, NAME_MAX + 1, "%.*s%s", RUNDIR_NAME_MAX, name, suffix);
}

void rundir_remove(int dir_fd, const char *name)
{
	char file[NAME_MAX + 1];

	file_name(name, file);
	(void)unlinkat(dir_fd, file, 0);
}

/* -ECONNREFUSED is the one answer that says: dead. */
static bool is_alive(int dir_fd, const char *name)
{
	int fd = rundir_connect(dir_fd, name, false);

	if (fd >= 0)
		close(fd);
	return fd != -ECONNREFUSED && fd != -ENOENT;
}

static void sweep_one(
	int dir_fd, const char *file, void (*each)(const char *name, void *context), void *context)
{
	char name[RUNDIR_NAME_MAX + 1];
	size_t bytes = strlen(file);

	if (!str_ends_with(file, suffix) || bytes - strlen(suffix) > RUNDIR_NAME_MAX)
		return;
	snprintf(name, sizeof(name), "%.*s", (int)(bytes - strlen(suffix)), file);
	if (rundir_check_name(name, NULL) < 0)
		return;
	if (!is_alive(dir_fd, name))
		rundir_remove(dir_fd, name);
	else if (each)
		each(name, context);
}

void rundir_sweep(int dir_fd, void (*each)(const char *name, void *context), void *context)
{
	/* A descriptor of its own: reading moves the offset. */
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		autoclose_run(&fd);
		return;
	}
	while ((entry = readdir(dir)))
		sweep_one(dir_fd, entry->d_name, each, context);
	closedir(dir);
}
