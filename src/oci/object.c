// SPDX-License-Identifier: Apache-2.0
/*
 * The file in tmp/ is the lock: whoever holds its flock(2) while it still has its name writes the
 * object. Rename gives it its final name; the kernel drops the lock of a writer that dies.
 */
#include "oci/object.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/store_int.h"

static void hex_name(
	const struct digest *d, const char *before, const char *after, char out[OBJECT_NAME_BYTES])
{
	char hex[DIGEST_HEX_BYTES];

	digest_format_hex(d, hex);
	snprintf(out, OBJECT_NAME_BYTES, "%s%s%s", before, hex, after);
}

void object_layer_name(const struct digest *diff_id, char out[OBJECT_NAME_BYTES])
{
	hex_name(diff_id, "layers/" OBJECT_LAYER_FORMAT "/sha256/", ".squashfs", out);
}

void object_blob_name(const struct digest *d, char out[OBJECT_NAME_BYTES])
{
	hex_name(d, "blobs/sha256/", "", out);
}

void object_image_name(const struct digest *manifest, char out[OBJECT_NAME_BYTES])
{
	hex_name(manifest, "images/", ".json", out);
}

void object_reference_name(const struct digest *d, char out[OBJECT_NAME_BYTES])
{
	hex_name(d, "names/", ".json", out);
}

int64_t object_bytes(const struct store *s, const char *name)
{
	struct stat st;

	if (fstatat(s->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? st.st_size : -ENOENT;
}

int object_write_failed(const struct store *s, int code, struct err *e)
{
	err_set(e, code, "%s", strerror(-code));
	err_object(e, "image store %.120s", s->path);
	if (code == -ENOSPC || code == -EDQUOT || code == -EFBIG)
		return err_remedy(e, "make room there, remove images that are not needed, or set "
				     "SUPERMACHINE_STORE to a larger disk");
	if (code == -EACCES || code == -EPERM || code == -EROFS)
		return err_remedy(e, "set SUPERMACHINE_STORE to a directory that you can write to");
	return code;
}

static void tmp_name(const char *name, char out[OBJECT_NAME_BYTES])
{
	size_t n = (size_t)snprintf(out, OBJECT_NAME_BYTES, "tmp/");

	for (; *name && n + 1 < OBJECT_NAME_BYTES; name++)
		out[n++] = *name == '/' ? '-' : *name;
	out[n] = '\0';
}

/* Does `name` still mean the file that fd has open? A writer before us may have renamed it. */
static bool is_still_named(const struct store *s, int fd, const char *name)
{
	struct stat ours, theirs;

	return !fstat(fd, &ours) && !fstatat(s->dir_fd, name, &theirs, AT_SYMLINK_NOFOLLOW) &&
	       ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

static int lock(int fd, int how)
{
	int r;

	do
		r = flock(fd, how);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* Returns 0 with *fd locked and named, -EAGAIN when the name has passed on, or -errno. */
static int try_reserve(const struct store *s, const char *tmp, int *ret)
{
	autoclose int fd = openat(s->dir_fd, tmp, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = lock(fd, LOCK_EX);
	if (r < 0)
		return r;
	if (!is_still_named(s, fd, tmp))
		return -EAGAIN;
	*ret = take_fd(&fd);
	return 0;
}

int object_reserve(struct store *s, const char *name, struct object_slot *ret, struct err *e)
{
	struct object_slot slot = {.store = s, .fd = -1};
	int r;

	snprintf(slot.name, sizeof(slot.name), "%s", name);
	tmp_name(name, slot.tmp);
	do {
		if (object_bytes(s, name) >= 0)
			return 1;
		r = try_reserve(s, slot.tmp, &slot.fd);
	} while (r == -EAGAIN);
	if (r < 0)
		return object_write_failed(s, r, e);
	/* It may have been finished between the look and the lock. */
	if (object_bytes(s, name) >= 0) {
		object_abandon(&slot);
		return 1;
	}
	if (ftruncate(slot.fd, 0) < 0) {
		r = -errno;
		object_abandon(&slot);
		return object_write_failed(s, r, e);
	}
	*ret = slot;
	return 0;
}

void object_abandon(struct object_slot *slot)
{
	if (slot->fd < 0)
		return;
	unlinkat(slot->store->dir_fd, slot->tmp, 0);
	autoclose_run(&slot->fd);
}

static int give_name(struct object_slot *slot, bool want_durable, struct err *e)
{
	struct store *s = slot->store;
	int r = 0;

	if (fchmod(slot->fd, 0444) < 0 || (want_durable && fdatasync(slot->fd) < 0) ||
		renameat(s->dir_fd, slot->tmp, s->dir_fd, slot->name) < 0)
		r = -errno;
	if (r < 0) {
		object_abandon(slot);
		return object_write_failed(s, r, e);
	}
	autoclose_run(&slot->fd);
	return 0;
}

int object_commit(struct object_slot *slot, struct err *e)
{
	/* A power cut could otherwise leave the name without its bytes, for ever trusted. */
	return give_name(slot, true, e);
}

int object_put(struct store *s, const char *name, const void *data, size_t bytes, struct err *e)
{
	struct object_slot slot = {.store = s, .fd = -1};
	int r;

	snprintf(slot.name, sizeof(slot.name), "%s", name);
	tmp_name(name, slot.tmp);
	do
		r = try_reserve(s, slot.tmp, &slot.fd);
	while (r == -EAGAIN);
	if (r < 0)
		return object_write_failed(s, r, e);
	r = ftruncate(slot.fd, 0) < 0 ? -errno : fd_pwrite_full(slot.fd, data, bytes, 0);
	if (r < 0) {
		object_abandon(&slot);
		return object_write_failed(s, r, e);
	}
	/* Whoever reads it checks it: what a power cut spoils counts as not there. */
	return give_name(&slot, false, e);
}

int object_get(const struct store *s, const char *name, struct buf *ret, struct err *e)
{
	autoclose int fd = openat(s->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r;

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0)
		return err_sys(e, "open %s/%s", s->path, name);
	r = buf_read_fd(ret, fd);
	return r < 0 ? err_set(e, r, "read %s/%s: %s", s->path, name, strerror(-r)) : 0;
}

int object_remove(struct store *s, const char *name)
{
	return unlinkat(s->dir_fd, name, 0) < 0 ? -errno : 0;
}

int object_make_directory(struct store *s, const char *name, struct err *e)
{
	if (mkdirat(s->dir_fd, name, 0700) == 0 || errno == EEXIST)
		return 0;
	return object_write_failed(s, -errno, e);
}

int object_each(struct store *s, const char *directory,
	int (*each)(void *context, const char *name), void *context, struct err *e)
{
	int fd = openat(s->dir_fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[OBJECT_NAME_BYTES];
	struct dirent *entry;
	int r = 0;
	DIR *d;

	if (fd < 0)
		return err_sys(e, "open %s/%s", s->path, directory);
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return err_set(e, -ENOMEM, "out of memory");
	}
	while (!r && (entry = readdir(d))) {
		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(name, sizeof(name), "%s/%s", directory, entry->d_name) <
			(int)sizeof(name))
			r = each(context, name);
	}
	closedir(d);
	return r;
}

static int sweep_one(void *context, const char *name)
{
	struct store *s = context;
	autoclose int fd = openat(s->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd >= 0 && !lock(fd, LOCK_EX | LOCK_NB) && is_still_named(s, fd, name))
		unlinkat(s->dir_fd, name, 0);
	return 0;
}

void object_sweep(struct store *s)
{
	/* A directory that cannot be read is nothing to stop for: the writer will say so. */
	int r = object_each(s, "tmp", sweep_one, s, NULL);

	(void)r;
}

int object_lock_images(struct store *s, bool is_exclusive, struct err *e)
{
	autoclose int fd =
		openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = fd < 0 ? -errno : lock(fd, is_exclusive ? LOCK_EX | LOCK_NB : LOCK_SH);

	if (r == -EWOULDBLOCK) {
		err_set(e, -EBUSY, "an image is being converted");
		return err_remedy(e, "try again when it is done");
	}
	return r < 0 ? object_write_failed(s, r, e) : take_fd(&fd);
}
