// SPDX-License-Identifier: Apache-2.0
#include "guest/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

int file_read(const char *path, struct buf *b)
{
	/* O_NONBLOCK: opening a FIFO must not wait for its writer. */
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return buf_read_fd(b, fd);
}

int file_write(const char *path, const char *text)
{
	autoclose int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);

	return fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));
}

int file_rewrite(const char *path, const char *text)
{
	autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
	size_t bytes = strlen(text);
	int r = fd < 0 ? -errno : fd_write_full(fd, text, bytes);

	return r == 0 && ftruncate(fd, (off_t)bytes) < 0 ? -errno : r;
}

static int make_dir(const char *path, mode_t mode)
{
	struct stat st;

	if (!mkdir(path, mode))
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int file_make_dirs(const char *path, mode_t mode)
{
	char part[PATH_MAX];
	size_t n = strlen(path);
	struct stat st;

	if (n >= sizeof(part))
		return -ENAMETOOLONG;
	if (!stat(path, &st))
		return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	memcpy(part, path, n + 1);
	for (char *p = strchr(part + 1, '/'); n && p; p = strchr(p + 1, '/')) {
		int r;

		*p = '\0';
		r = make_dir(part, mode);
		if (r < 0)
			return r;
		*p = '/';
	}
	return make_dir(part, mode);
}
