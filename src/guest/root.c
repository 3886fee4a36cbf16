// SPDX-License-Identifier: Apache-2.0
#include "guest/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "guest/file.h"
#include "proto/bootcfg.h"

/* Short, because all layers must fit the one page of options that mount(2) takes. */
#define LAYERS	 "/l"
#define WRITABLE "/w"
#define ROOT	 "/r"

enum {
	OPTIONS_BYTES = 512,
	LAYER_PATH_BYTES = 16,
	TRIM_MIN_BYTES = 64 << 10, /* smaller gaps are not worth a request each */
};

static int make_dir(const char *path, struct err *e)
{
	int r = file_make_dirs(path, 0755);

	if (r < 0) {
		err_set(e, r, "cannot be made in the initramfs: %s", strerror(-r));
		return err_object(e, "%s", path);
	}
	return 0;
}

static int mount_layer(unsigned i, const char *node, struct err *e)
{
	static const char *const types[] = {"squashfs", "erofs"};
	char where[LAYER_PATH_BYTES];
	int codes[ARRAY_LEN(types)], r;

	snprintf(where, sizeof(where), LAYERS "/%u", i);
	r = make_dir(where, e);
	if (r < 0)
		return r;
	for (size_t t = 0; t < ARRAY_LEN(types); t++) {
		if (!mount(node, where, types[t], MS_RDONLY, NULL))
			return 0;
		codes[t] = errno;
	}
	err_set(e, -codes[0], "cannot be mounted as layer %u: %s: %s, %s: %s", i, types[0],
		strerror(codes[0]), types[1], strerror(codes[1]));
	err_object(e, "%s", node);
	if (codes[0] == ENODEV && codes[1] == ENODEV)
		return err_remedy(e, "the guest kernel needs squashfs");
	return err_remedy(e, "the layer's image is damaged: remove it from the store");
}

/* Without "discard", which would wait for the host at every file that is removed: root_trim tells
 * it all at once. noinit_itable: the disk was all zeroes when its file system was made, so its
 * inode tables are initialised as they are; a kernel thread that wrote them again would fill the
 * host's sparse file (ext4.rst). */
static int mount_disk(const char *node, struct err *e)
{
	if (!mount(node, WRITABLE, "ext4", MS_NOATIME, "noinit_itable"))
		return 0;
	err_sys(e, "cannot be mounted as the writable layer (ext4)");
	err_object(e, "%s, serial " BOOTCFG_DISK_SERIAL, node);
	return err_remedy(e, "%s",
		e && e->code == -ENODEV
			? "the guest kernel needs ext4"
			: "the disk must hold a file system made by mke2fs -t ext4");
}

static int mount_memory(uint64_t bytes, struct err *e)
{
	char options[64];

	if (bytes)
		snprintf(
			options, sizeof(options), "mode=0755,size=%llu", (unsigned long long)bytes);
	else
		snprintf(options, sizeof(options), "mode=0755,size=50%%");
	if (mount("tmpfs", WRITABLE, "tmpfs", 0, options) < 0) {
		err_sys(e, "cannot mount the writable layer (tmpfs, %s)", options);
		return err_object(e, WRITABLE);
	}
	return 0;
}

static int mount_writable(const struct disks *disks, uint64_t tmpfs_bytes, struct err *e)
{
	int r = make_dir(WRITABLE, e);

	if (r == 0)
		r = disks->has_root ? mount_disk(disks->root, e) : mount_memory(tmpfs_bytes, e);
	if (r < 0)
		return r;
	r = make_dir(WRITABLE "/upper", e);
	return r < 0 ? r : make_dir(WRITABLE "/work", e);
}

/* "lowerdir=/l/2:/l/1:/l/0,…": the first named is the highest (overlayfs.rst). */
static void overlay_options(unsigned n_layers, char out[OPTIONS_BYTES])
{
	size_t at = (size_t)snprintf(out, OPTIONS_BYTES, "lowerdir=");

	_Static_assert(DISKS_MAX * (sizeof(LAYERS) + 4) + 64 < OPTIONS_BYTES, "all layers fit");
	for (unsigned i = n_layers; i-- > 0;)
		at += (size_t)snprintf(
			out + at, OPTIONS_BYTES - at, LAYERS "/%u%s", i, i ? ":" : "");
	snprintf(out + at, OPTIONS_BYTES - at,
		",upperdir=" WRITABLE "/upper,workdir=" WRITABLE "/work");
}

int root_mount(const struct disks *disks, uint64_t tmpfs_bytes, struct err *e)
{
	char options[OPTIONS_BYTES];
	int r;

	if (!disks->n)
		return err_set(e, -EINVAL, "there is no image layer to make a root of");
	for (unsigned i = 0; i < disks->n; i++) {
		r = mount_layer(i, disks->node[i], e);
		if (r < 0)
			return r;
	}
	r = mount_writable(disks, tmpfs_bytes, e);
	if (r < 0)
		return r;
	r = make_dir(ROOT, e);
	if (r < 0)
		return r;
	overlay_options(disks->n, options);
	if (mount("overlay", ROOT, "overlay", 0, options) < 0) {
		err_sys(e, "cannot join %u layers and the writable one", disks->n);
		err_object(e, "root file system");
		return err_remedy(e, "the guest kernel needs overlayfs");
	}
	return 0;
}

int root_writable_fd(const struct disks *disks)
{
	return disks->has_root ? open(WRITABLE, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

int root_trim(int writable_fd)
{
	struct fstrim_range all = {.len = UINT64_MAX, .minlen = TRIM_MIN_BYTES};

	return ioctl(writable_fd, FITRIM, &all) < 0 ? -errno : 0;
}

/* The modules are loaded and the configuration is read: nobody needs these files any more. */
static void free_initramfs(void)
{
	DIR *dir = opendir("/modules");
	const struct dirent *entry;

	unlink(BOOTCFG_PATH);
	if (!dir)
		return;
	while ((entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	rmdir("/modules");
}

/* The initramfs can be neither unmounted nor pivoted away from: what is mounted on top of it hides
 * it (Documentation/filesystems/ramfs-rootfs-initramfs.rst). */
int root_enter(struct err *e)
{
	free_initramfs();
	if (chdir(ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0) {
		err_sys(e, "cannot be entered");
		return err_object(e, "root file system");
	}
	return 0;
}
