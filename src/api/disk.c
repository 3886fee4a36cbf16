// SPDX-License-Identifier: Apache-2.0
#include "api/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/tool.h"
#include "base/fd.h"
#include "base/le.h"
#include "oci/object.h"

/* A file system is made anew when the way it is made changes: then change this name. */
#define TEMPLATE_NAME "disks/ext4-1-%" PRIu64

enum { PATH_BYTES = 4096 };

/*
 * Everything is said, so that no configuration of the host's changes it, and so that the same bytes
 * come out each time. No journal: nobody will ever look at this disk after a crash. Inode tables
 * are not written, and the mount option in the superblock keeps the guest from doing it: the file
 * reads as zeroes anyway. Checksums of block groups make that known to Linux (ext4(5) uninit_bg).
 */
static const char *const features =
	"none,ext_attr,dir_index,filetype,sparse_super,large_file,huge_file,uninit_bg,dir_nlink,"
	"extra_isize,extent,flex_bg,64bit";
static const char *const extended = "lazy_itable_init=1,nodiscard,root_owner=0:0,"
				    "hash_seed=5f8e2d0a-7c11-4000-8000-000000000002";
static const char *const fixed_env[] = {
	"MKE2FS_CONFIG=/dev/null", "E2FSPROGS_FAKE_TIME=1", "LC_ALL=C", NULL};

/* How the tools ended cannot always be known; what they made can. Offsets: Linux
 * Documentation/filesystems/ext4/super.rst. */
static int check_made(int fd, uint64_t bytes, struct err *e)
{
	uint8_t super[1024];
	int r = fd_pread_full(fd, super, sizeof(super), 1024);
	uint64_t blocks = le32_load(super + 0x4) | (uint64_t)le32_load(super + 0x150) << 32;

	if (r == 0 && le16_load(super + 0x38) == 0xef53 && blocks == bytes / 4096 &&
		!memcmp(super + 0x200, "noinit_itable", sizeof("noinit_itable")))
		return 0;
	err_set(e, -EIO, "mke2fs and tune2fs did not make the file system that was asked for");
	return err_remedy(e, "look whether there is room in the store; install e2fsprogs again");
}

static int run_mke2fs(const char *path, struct err *e)
{
	const char *const mke2fs[] = {"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256",
		"-i", "16384", "-m", "0", "-L", "root", "-U",
		"5f8e2d0a-7c11-4000-8000-000000000001", "-O", features, "-E", extended, path, NULL};
	const char *const tune2fs[] = {"tune2fs", "-E", "mount_opts=noinit_itable", path, NULL};
	int r = tool_run(mke2fs, fixed_env, e);

	if (r >= 0)
		r = tool_run(tune2fs, fixed_env, e);
	return r == -ENOENT ? err_remedy(e, "install the package e2fsprogs, or run without a disk "
					    "(tmpfs)")
			    : r;
}

static int make_template(struct store *s, struct object_slot *slot, uint64_t bytes, struct err *e)
{
	char path[PATH_BYTES];
	int r;

	if (ftruncate(slot->fd, (off_t)bytes) < 0) {
		if (errno != EFBIG)
			return object_write_failed(s, -errno, e);
		err_set(e, -EFBIG, "the store's file system has no files of %" PRIu64 " bytes",
			bytes);
		return err_remedy(e, "ask for a smaller disk");
	}
	if (snprintf(path, sizeof(path), "%s/%s", store_path(s), slot->tmp) >= (int)sizeof(path))
		return err_set(e, -ENAMETOOLONG, "the store's path is too long");
	r = run_mke2fs(path, e);
	return r < 0 ? r : check_made(slot->fd, bytes, e);
}

static int make(struct store *s, const char *name, uint64_t bytes, struct err *e)
{
	struct object_slot slot;
	int r = object_make_directory(s, "disks", e);

	if (r == 0)
		r = object_reserve(s, name, &slot, e);
	if (r)
		return r < 0 ? r : 0;
	r = make_template(s, &slot, bytes, e);
	if (r < 0) {
		object_abandon(&slot);
		return err_object(e, "writable disk");
	}
	return object_commit(&slot, e);
}

static int open_in(const struct store *s, const char *name, int flags, mode_t mode)
{
	char path[PATH_BYTES];
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", store_path(s), name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, flags | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

static const char *temporary_directory(void)
{
	const char *named = getenv("TMPDIR");

	return named && *named == '/' ? named : "/var/tmp";
}

/* A file that lost its name must still be able to grow: on 9p it cannot, since the server knows it
 * by its name. */
static bool can_grow(int fd)
{
	return ftruncate(fd, (off_t)DISK_PAGE_BYTES) == 0 && ftruncate(fd, 0) == 0;
}

/* Where O_TMPFILE is not known. */
static int open_unlinked(const char *directory)
{
	char path[PATH_BYTES];
	int fd;

	if (snprintf(path, sizeof(path), "%s/supermachine-XXXXXX", directory) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (unlink(path) == 0 && can_grow(fd))
		return fd;
	close(fd);
	return -EOPNOTSUPP;
}

/* open(2): EISDIR from a kernel, EOPNOTSUPP from a file system without O_TMPFILE. */
static int open_nameless(const char *directory)
{
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 && can_grow(fd))
		return fd;
	if (fd < 0 && errno != EISDIR && errno != EOPNOTSUPP && errno != EINVAL)
		return -errno;
	if (fd >= 0)
		close(fd);
	return open_unlinked(directory);
}

/* Whether the file system says where a sparse file has its data. Where it does not (9p), saving a
 * disk would have to read all of its holes. */
static bool knows_holes(int fd, uint64_t bytes)
{
	off_t hole = lseek(fd, 0, SEEK_HOLE);

	(void)lseek(fd, 0, SEEK_SET);
	return hole >= 0 && (uint64_t)hole < bytes;
}

/* The same file system for this VM alone, where temporary files are. */
static int make_private(uint64_t bytes, struct err *e)
{
	autoclose int fd = open_nameless(temporary_directory());
	char path[64];
	int r;

	if (fd < 0) {
		errno = -fd;
		err_sys(e, "make a temporary file for it");
		return err_object(e, "writable disk");
	}
	if (ftruncate(fd, (off_t)bytes) < 0)
		return err_sys(e, "give the writable disk its size");
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	r = run_mke2fs(path, e);
	if (r >= 0)
		r = check_made(fd, bytes, e);
	return r < 0 ? r : take_fd(&fd);
}

/* A fresh file system from the store, made there if it is the first of its size. */
static int open_shared(struct store *s, uint64_t bytes, struct err *e)
{
	char name[OBJECT_NAME_BYTES];
	int fd, r;

	snprintf(name, sizeof(name), TEMPLATE_NAME, bytes);
	fd = open_in(s, name, O_RDONLY, 0);
	if (fd != -ENOENT)
		return fd < 0 ? object_write_failed(s, fd, e) : fd;
	r = make(s, name, bytes, e);
	if (r < 0)
		return r;
	fd = open_in(s, name, O_RDONLY, 0);
	return fd < 0 ? object_write_failed(s, fd, e) : fd;
}

int disk_open_template(struct store *s, uint64_t bytes, struct err *e)
{
	int fd = open_shared(s, bytes, e);

	if (fd < 0 || knows_holes(fd, bytes))
		return fd;
	close(fd);
	return make_private(bytes, e);
}

int disk_open_delta(struct store *s, struct err *e)
{
	char path[PATH_BYTES];
	int fd, r;

	if (snprintf(path, sizeof(path), "%s/disks", store_path(s)) >= (int)sizeof(path))
		return err_set(e, -ENAMETOOLONG, "the store's path is too long");
	fd = open_nameless(path);
	if (fd == -ENOENT) {
		r = object_make_directory(s, "disks", e);
		if (r < 0)
			return r;
		fd = open_nameless(path);
	}
	/* Not every file system of a store can have such files; that for temporary ones can. */
	if (fd == -EOPNOTSUPP)
		fd = open_nameless(temporary_directory());
	return fd < 0 ? object_write_failed(s, fd, e) : fd;
}
