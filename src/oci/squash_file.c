// SPDX-License-Identifier: Apache-2.0
/* A file for libsquashfs over a descriptor. Its own opens by name and forgets errno. Worker
 * threads never call it, only the thread that drives the writer or reader does. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqfs/error.h>
#include <sqfs/io.h>

#include "base/fd.h"
#include "oci/squash.h"

struct fd_file {
	sqfs_file_t file;
	int fd;
	int saved_errno;
	uint64_t bytes;
};

static const struct fd_file *fd_file_of(const sqfs_file_t *file)
{
	return (const struct fd_file *)(const void *)file; /* its first member */
}

static int failed(struct fd_file *f, int r)
{
	f->saved_errno = -r;
	return r == -ENODATA ? SQFS_ERROR_OUT_OF_BOUNDS : SQFS_ERROR_IO;
}

static int file_read(sqfs_file_t *file, sqfs_u64 offset, void *buffer, size_t size)
{
	struct fd_file *f = container_of(file, struct fd_file, file);
	int r;

	if (offset > INT64_MAX)
		return SQFS_ERROR_OUT_OF_BOUNDS;
	r = fd_pread_full(f->fd, buffer, size, (off_t)offset);
	return r < 0 ? failed(f, r) : 0;
}

static int file_write(sqfs_file_t *file, sqfs_u64 offset, const void *buffer, size_t size)
{
	struct fd_file *f = container_of(file, struct fd_file, file);
	int r = fd_pwrite_full(f->fd, buffer, size, (off_t)offset);

	if (r < 0)
		return failed(f, r);
	f->bytes = MAX(f->bytes, offset + size);
	return 0;
}

static sqfs_u64 file_size(const sqfs_file_t *file)
{
	return fd_file_of(file)->bytes;
}

static int file_truncate(sqfs_file_t *file, sqfs_u64 size)
{
	struct fd_file *f = container_of(file, struct fd_file, file);

	if (ftruncate(f->fd, (off_t)size) < 0)
		return failed(f, -errno);
	f->bytes = size;
	return 0;
}

static void file_destroy(sqfs_object_t *o)
{
	free(o);
}

struct sqfs_file_t *squash_file_new(int fd)
{
	struct fd_file *f = calloc(1, sizeof(*f));
	struct stat st;

	if (!f || fstat(fd, &st) < 0) {
		free(f);
		return NULL;
	}
	*f = (struct fd_file){.fd = fd, .bytes = (uint64_t)st.st_size};
	f->file = (sqfs_file_t){.base = {.destroy = file_destroy},
		.read_at = file_read,
		.write_at = file_write,
		.get_size = file_size,
		.truncate = file_truncate};
	return &f->file;
}

int squash_file_errno(const struct sqfs_file_t *file)
{
	return fd_file_of(file)->saved_errno;
}

static const char *sentence(int code)
{
	switch (code) {
	case SQFS_ERROR_ALLOC:
		return "out of memory";
	case SQFS_ERROR_COMPRESSOR:
		return "compression failed";
	case SQFS_ERROR_CORRUPTED:
	case SQFS_ERROR_OUT_OF_BOUNDS:
		return "the squashfs file is corrupt";
	case SQFS_ERROR_OVERFLOW:
		return "there are more of them than squashfs can hold";
	default:
		return "libsquashfs failed";
	}
}

static int code_of(int code)
{
	switch (code) {
	case SQFS_ERROR_ALLOC:
		return -ENOMEM;
	case SQFS_ERROR_CORRUPTED:
	case SQFS_ERROR_OUT_OF_BOUNDS:
	case SQFS_ERROR_COMPRESSOR:
		return -EBADMSG;
	case SQFS_ERROR_OVERFLOW:
		return -E2BIG;
	case SQFS_ERROR_UNSUPPORTED:
		return -ENOTSUP;
	default:
		return -EIO;
	}
}

int squash_failed(const struct sqfs_file_t *f, int code, const char *what, struct err *e)
{
	int saved = f ? squash_file_errno(f) : 0;

	if (saved)
		return err_set(e, -saved, "%s: %s", what, strerror(saved));
	return err_set(e, code_of(code), "%s: %s (%d)", what, sentence(code), code);
}
