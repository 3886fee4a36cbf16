// SPDX-License-Identifier: Apache-2.0
#include "guest/workload.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/vfork_into.h"

enum { TEXT_BYTES = 512 };

void workload_init(struct workload *w)
{
	*w = (struct workload){-1, -1, -1, -1};
}

void workload_close(struct workload *w)
{
	autoclose_run(&w->events_fd);
	autoclose_run(&w->freeze_fd);
	autoclose_run(&w->leaf_fd);
	autoclose_run(&w->group_fd);
}

/* Reads a small file of a control group. Returns its length or -errno. */
static ssize_t read_text(int fd, char text[TEXT_BYTES])
{
	ssize_t n = pread(fd, text, TEXT_BYTES - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return n;
}

static int open_group(struct workload *w, int root_fd)
{
	if (mkdirat(root_fd, WORKLOAD_NAME, 0755) < 0 && errno != EEXIST)
		return -errno;
	w->group_fd = openat(root_fd, WORKLOAD_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->group_fd < 0)
		return -errno;
	w->freeze_fd = openat(w->group_fd, "cgroup.freeze", O_WRONLY | O_CLOEXEC);
	w->events_fd = openat(w->group_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	return w->freeze_fd < 0 || w->events_fd < 0 ? -errno : 0;
}

int workload_open(struct workload *w, const char *root, struct err *e)
{
	autoclose int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct workload made;
	int r;

	workload_init(&made);
	r = root_fd < 0 ? -errno : open_group(&made, root_fd);
	if (r < 0) {
		workload_close(&made);
		err_set(e, r, "no control group for commands: %s", strerror(-r));
		err_object(e, "%s/" WORKLOAD_NAME, root);
		return err_remedy(e, "snapshots of a guest that runs commands need a guest kernel "
				     "with control groups version 2");
	}
	*w = made;
	return 0;
}

/* ---- seclusion ---------------------------------------------------------------------------- */

/* What the child below leaves in the memory that it shares. */
struct secluded {
	int namespace_fd;
	int code;
};

/* A namespace's root is the group of who makes it (cgroup_namespaces(7)). Moving this process into
 * the group and back instead would wait for the kernel's readers twice. Not inlined: what it keeps
 * on the stack must not be the parent's. */
static NORETURN __attribute__((noinline)) void make_namespace(struct secluded *s)
{
	if (unshare(CLONE_NEWCGROUP) < 0)
		s->code = -errno;
	else
		s->namespace_fd = open("/proc/self/ns/cgroup", O_RDONLY | O_CLOEXEC);
	if (!s->code && s->namespace_fd < 0)
		s->code = -errno;
	_exit(0);
}

static int namespace_of(const struct workload *w, struct secluded *s)
{
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)w->group_fd,
	};
	long pid;

	s->namespace_fd = -1;
	s->code = 0;
	pid = vfork_into(&args, sizeof(args));
	if (pid == 0)
		make_namespace(s);
	if (pid < 0)
		return (int)pid;
	while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
		;
	return s->code;
}

int workload_seclude(const struct workload *w, struct err *e)
{
	struct secluded s;
	int r = namespace_of(w, &s);

	if (r == 0) {
		if (setns(s.namespace_fd, CLONE_NEWCGROUP) < 0 ||
			umount2(WORKLOAD_ROOT, MNT_DETACH) < 0 ||
			mount("cgroup2", WORKLOAD_ROOT, "cgroup2", MS_NOSUID | MS_NOEXEC | MS_NODEV,
				NULL) < 0)
			r = -errno;
		close(s.namespace_fd);
	}
	if (r < 0) {
		err_set(e, r, "commands could leave their control group: %s", strerror(-r));
		return err_object(e, WORKLOAD_ROOT);
	}
	return 0;
}

/* ---- rest --------------------------------------------------------------------------------- */

int workload_freeze(const struct workload *w, bool is_wanted)
{
	if (w->freeze_fd < 0)
		return -EOPNOTSUPP;
	return pwrite(w->freeze_fd, is_wanted ? "1" : "0", 1, 0) < 0 ? -errno : 0;
}

int workload_is_frozen(const struct workload *w)
{
	char text[TEXT_BYTES];
	ssize_t n = read_text(w->events_fd, text);

	return n < 0 ? (int)n : strstr(text, "frozen 1") != NULL;
}

int workload_fd(const struct workload *w)
{
	return w->leaf_fd >= 0 ? w->leaf_fd : w->group_fd;
}

int workload_use_leaf(struct workload *w)
{
	if (w->leaf_fd >= 0 || w->group_fd < 0)
		return -EBUSY;
	if (mkdirat(w->group_fd, "commands", 0755) < 0 && errno != EEXIST)
		return -errno;
	w->leaf_fd = openat(w->group_fd, "commands", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return w->leaf_fd < 0 ? -errno : 0;
}
