// SPDX-License-Identifier: Apache-2.0
#include "api/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum { STACK_BYTES = 32 * 1024, FIRST_FREE_FD = 3 };

struct start {
	const char *path;
	char *const *argv;
	char *const *env;
	int null_fd, output_fd;
	int error;
};

/* As in child.c: the child shares our memory until it is another program, so it makes bare system
 * calls. */
static __attribute__((no_sanitize("thread"), no_sanitize("address"))) int in_child(void *context)
{
	static const uint64_t zero[4]; /* struct kernel_sigaction: SIG_DFL */
	struct start *s = context;

	for (int n = 1; n < _NSIG; n++)
		(void)syscall(SYS_rt_sigaction, n, zero, NULL, sizeof(uint64_t));
	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, zero, NULL, sizeof(uint64_t));
	if (syscall(SYS_dup3, s->null_fd, 0, 0) < 0 || syscall(SYS_dup3, s->output_fd, 1, 0) < 0 ||
		syscall(SYS_dup3, s->output_fd, 2, 0) < 0)
		goto fail;
	(void)syscall(SYS_close_range, FIRST_FREE_FD, ~0u, 0);
	(void)syscall(SYS_execve, s->path, s->argv, s->env);
fail:
	s->error = errno;
	(void)syscall(SYS_exit_group, 127);
	return 0;
}

/* In the manner of vfork, as in child.c. */
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

/* Returns the exit status as a shell counts, or -1 when it cannot be known. */
static int await_end(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	siginfo_t si = {0};
	int r;

	while (poll(&p, 1, -1) < 0 && (errno == EINTR || errno == EAGAIN))
		;
	do
		r = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &si, WEXITED | __WALL);
	while (r < 0 && errno == EINTR);
	if (r < 0 || !si.si_pid)
		return -1;
	return si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
}

static int find(const char *name, char *out, size_t room)
{
	static const char *const places[] = {"/usr/sbin", "/sbin", "/usr/bin", "/bin"};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		snprintf(out, room, "%s/%s", places[i], name);
		if (access(out, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

/* The last line of what it said. */
static void last_words(int fd, char *out, size_t room)
{
	char text[1024];
	off_t end = lseek(fd, 0, SEEK_END);
	off_t from = end > (off_t)sizeof(text) - 1 ? end - ((off_t)sizeof(text) - 1) : 0;
	ssize_t n = pread(fd, text, sizeof(text) - 1, from);
	char *line = text;

	n = n < 0 ? 0 : n;
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
		n--;
	text[n] = '\0';
	for (char *p = text; *p; p++)
		if (*p == '\n')
			line = p + 1;
	snprintf(out, room, "%.160s", line);
}

int tool_run(const char *const *argv, const char *const *env, struct err *e)
{
	autoclose int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	autoclose int output = memfd_create("supermachine-tool", MFD_CLOEXEC);
	autoclose int null_up = null < 0 ? -1 : fcntl(null, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
	autoclose int output_up = output < 0 ? -1 : fcntl(output, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
	autoclose int pidfd = -1;
	char path[128], words[192];
	struct start s = {.path = path,
		.argv = (char *const *)(uintptr_t)argv,
		.env = (char *const *)(uintptr_t)env,
		.null_fd = null_up,
		.output_fd = output_up};
	int status;

	if (null_up < 0 || output_up < 0)
		return err_sys(e, "prepare descriptors for a new process");
	if (find(argv[0], path, sizeof(path)) < 0) {
		err_set(e, -ENOENT, "this program is not installed");
		return err_object(e, "%s", argv[0]);
	}
	if (spawn(&s, &pidfd) < 0) {
		err_sys(e, "create a process");
		return err_object(e, "%s", path);
	}
	status = await_end(pidfd);
	if (s.error) {
		errno = s.error;
		err_sys(e, "cannot be executed");
		return err_object(e, "%s", path);
	}
	if (status <= 0)
		return status ? 1 : 0;
	last_words(output, words, sizeof(words));
	err_set(e, strstr(words, "No space left") ? -ENOSPC : -EIO, "it failed with status %d%s%s",
		status, words[0] ? ": " : "", words);
	return err_object(e, "%s", path);
}
