// SPDX-License-Identifier: Apache-2.0
#include "api/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "proto/control.h"

enum {
	STACK_BYTES = 32 * 1024,
	/* Above every descriptor that the child gives a fixed number. */
	FIRST_FREE_FD = CTL_SOCKET_FD + 1,
};

/* What the new process needs before it is another program; it shares our memory until then. */
struct start {
	const char *path;
	char *argv[3];
	int null_fd;
	int socket_fd;
	int error; /* errno of what failed in the child, 0 when it runs */
};

/* The child shares the caller's memory and thread-local state until it is another program, so that
 * below it makes bare system calls: the C library, and whoever watches its calls, keep their books.
 * Nor does it return, so that marks put around its variables would stay on our stack. */
static __attribute__((no_sanitize("thread"), no_sanitize("address"))) void default_signals(void)
{
	/* struct kernel_sigaction of every 64-bit architecture; all zero is SIG_DFL. */
	static const uint64_t zero[4];

	/* Ignored ones would stay ignored; handlers of the caller would run on shared memory. */
	for (int n = 1; n < _NSIG; n++)
		(void)syscall(SYS_rt_sigaction, n, zero, NULL, sizeof(uint64_t));
	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, zero, NULL, sizeof(uint64_t));
}

static __attribute__((no_sanitize("thread"), no_sanitize("address"))) int in_child(void *context)
{
	struct start *s = context;
	char *empty[] = {NULL};

	default_signals();
	if (syscall(SYS_setsid) < 0 || syscall(SYS_dup3, s->null_fd, 0, 0) < 0 ||
		syscall(SYS_dup3, s->null_fd, 1, 0) < 0 ||
		syscall(SYS_dup3, s->null_fd, 2, 0) < 0 ||
		syscall(SYS_dup3, s->socket_fd, CTL_SOCKET_FD, 0) < 0)
		goto fail;
	/* Kernels before 5.9 lack it; close-on-exec then does what it can. */
	(void)syscall(SYS_close_range, FIRST_FREE_FD, ~0u, 0);
	(void)syscall(SYS_execve, s->path, s->argv, empty);
fail:
	s->error = errno;
	(void)syscall(SYS_exit_group, 127);
	return 0;
}

/* clone(2) in the manner of vfork: we sleep until the child has become the other program. Signals
 * stay blocked meanwhile, so that none is handled in the child. */
static pid_t spawn(struct start *s, int *ret_pidfd)
{
	_Alignas(16) char stack[STACK_BYTES];
	sigset_t all, before;
	pid_t pid;
	int saved;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = clone(in_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
		s, ret_pidfd);
	saved = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return pid;
}

static int move_up(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
}

int child_start(const char *path, const char *label, int socket, struct child *ret, struct err *e)
{
	autoclose int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	autoclose int null_up = null < 0 ? -1 : move_up(null);
	autoclose int socket_up = move_up(socket);
	const char *slash = strrchr(path, '/');
	char name[NAME_MAX + 1] = "", shown[65] = "";
	struct start s = {.path = path,
		.argv = {name, shown, NULL},
		.null_fd = null_up,
		.socket_fd = socket_up};
	struct child c = {.pidfd = -1};

	if (null_up < 0 || socket_up < 0)
		return err_sys(e, "prepare descriptors for a new process");
	strncpy(name, slash ? slash + 1 : path, sizeof(name) - 1);
	strncpy(shown, label, sizeof(shown) - 1);
	c.pid = spawn(&s, &c.pidfd);
	if (c.pid < 0) {
		err_sys(e, "create a process");
		return err_object(e, "%s", path);
	}
	if (s.error) {
		(void)child_reap(&c, -1);
		close(c.pidfd);
		errno = s.error;
		err_sys(e, "cannot be executed");
		err_object(e, "%s", path);
		return err_remedy(e, "build or install supermachine again");
	}
	*ret = c;
	return 0;
}

void child_kill(struct child *c)
{
	if (c->pid && !c->is_reaped)
		(void)syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
}

/* A process descriptor polls readable when the process has ended (pidfd_open(2)). */
static int wait_end(const struct child *c, int64_t timeout_ms)
{
	uint64_t deadline = clock_deadline_ns(timeout_ms);
	struct pollfd p = {.fd = c->pidfd, .events = POLLIN};
	int n;

	do
		n = poll(&p, 1, clock_left_ms(deadline));
	while (n < 0 && (errno == EINTR || errno == EAGAIN));
	return n > 0 ? 0 : n < 0 ? -errno : -ETIMEDOUT;
}

int child_reap(struct child *c, int64_t timeout_ms)
{
	siginfo_t si = {0};
	int r;

	if (!c->pid || c->is_reaped)
		return 0;
	r = wait_end(c, timeout_ms);
	if (r < 0)
		return r;
	do
		r = waitid((idtype_t)P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOHANG | __WALL);
	while (r < 0 && errno == EINTR);
	/* ECHILD: the caller ignores SIGCHLD or waits for every child; it is gone all the same. */
	if (r == 0 && si.si_pid == c->pid) {
		c->is_status_known = true;
		c->code = si.si_code;
		c->status = si.si_status;
	}
	c->is_reaped = true;
	return 0;
}

void child_fini(struct child *c)
{
	if (!c->pid)
		return;
	child_kill(c);
	(void)child_reap(c, -1);
	close(c->pidfd);
	*c = (struct child){.pidfd = -1};
}
