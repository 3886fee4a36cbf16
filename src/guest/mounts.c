// SPDX-License-Identifier: Apache-2.0
#include "guest/mounts.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "guest/file.h"

struct mount_point {
	const char *type;
	const char *where;
	unsigned long flags;
	const char *data;
	bool is_optional; /* a kernel without it is fine */
};

enum { SAFE = MS_NOSUID | MS_NOEXEC | MS_NODEV };

/* In the order of mounting. OCI runtime spec, config-linux.md, "Default Filesystems"; options as
 * container engines give them. 5 is the group "tty" everywhere. */
static const struct mount_point points[] = {
	{"proc", "/proc", SAFE, NULL, false},
	{"sysfs", "/sys", SAFE, NULL, false},
	{"devtmpfs", "/dev", MS_NOSUID, "mode=0755", false},
	{"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5",
		false},
	{"tmpfs", "/dev/shm", SAFE, "mode=1777", false},
	{"mqueue", "/dev/mqueue", SAFE, NULL, true},
	{"cgroup2", "/sys/fs/cgroup", SAFE, NULL, true},
};

enum { N_EARLY = 3 };

static int mount_one(const struct mount_point *m, struct err *e)
{
	int r = file_make_dirs(m->where, 0755);

	if (r < 0 && !m->is_optional) {
		err_set(e, r, "cannot be made a directory to mount %s on: %s", m->type,
			strerror(-r));
		return err_object(e, "%s", m->where);
	}
	if (r < 0 || !mount(m->type, m->where, m->type, m->flags, m->data))
		return 0;
	/* EBUSY: the kernel itself has mounted it there. */
	if (m->is_optional || errno == EBUSY)
		return 0;
	err_sys(e, "cannot mount %s", m->type);
	err_object(e, "%s", m->where);
	return err_remedy(e, "the guest kernel needs %s", m->type);
}

static int mount_first(unsigned n, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		int r = mount_one(&points[i], e);

		if (r < 0)
			return r;
	}
	return 0;
}

int mounts_early(struct err *e)
{
	return mount_first(N_EARLY, e);
}

/* OCI runtime spec, runtime-linux.md, "Dev symbolic links". */
static void link_dev(void)
{
	(void)!symlink("/proc/self/fd", "/dev/fd");
	(void)!symlink("/proc/self/fd/0", "/dev/stdin");
	(void)!symlink("/proc/self/fd/1", "/dev/stdout");
	(void)!symlink("/proc/self/fd/2", "/dev/stderr");
}

int mounts_container(struct err *e)
{
	int r = mount_first(ARRAY_LEN(points), e);

	if (r < 0)
		return r;
	link_dev();
	return 0;
}
