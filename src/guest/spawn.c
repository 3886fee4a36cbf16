// SPDX-License-Identifier: Apache-2.0
#include "guest/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/interp.h"
#include "guest/vfork_into.h"
#include "proto/agent.h"

/* ---- in the child: shared memory, so no allocation, no locks, no return ------------------- */

/* These do not return, they become another program. An address sanitizer would wait for their
 * return to forget their frames, which are on the parent's stack. Not inlined: what they keep there
 * must not be where the parent keeps things. */
#define BECOMES __attribute__((noinline, no_sanitize("address")))

static NORETURN void give_up(struct spawn *s, int stage, int code)
{
	s->stage = stage;
	s->code = code;
	_exit(127);
}

static void take_descriptors(struct spawn *s)
{
	for (int i = 0; i < 3; i++)
		if (dup2(s->fds[i], i) < 0)
			give_up(s, AGENT_STAGE_SPAWN, -errno);
	/* All are close-on-exec by rule; this is the rule's proof. */
	syscall(SYS_close_range, 3u, ~0u, 0u);
}

/* Raw calls: the C library's would make the other threads follow, and there is the parent's memory
 * to look for them in. */
static void become_user(struct spawn *s)
{
	const struct user *u = s->user;

	if (geteuid() != 0) {
		if (u->uid != geteuid() || u->gid != getegid())
			give_up(s, AGENT_STAGE_USER, -EPERM);
		return;
	}
	if (syscall(SYS_setgroups, (size_t)u->n_groups, u->groups) < 0 ||
		syscall(SYS_setresgid, u->gid, u->gid, u->gid) < 0 ||
		syscall(SYS_setresuid, u->uid, u->uid, u->uid) < 0)
		give_up(s, AGENT_STAGE_USER, -errno);
}

/* What the parent shields itself from, this program is not shielded from. */
static void allow_oom_kill(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	if (fd < 0)
		return;
	(void)!write(fd, "0", 1);
	close(fd);
}

/* Ignored signals survive execve, and so would whatever started us with. By system calls, since the
 * C libraries do not let go of the few that they keep for themselves. */
static void reset_signals(void)
{
	enum { KERNEL_SIGNALS = 64, KERNEL_SIGSET_BYTES = 8 };
	/* the kernel's struct sigaction: SIG_DFL, no flags, no restorer, empty mask */
	static const unsigned long by_default[4];
	sigset_t none;

	for (int i = 1; i <= KERNEL_SIGNALS; i++)
		syscall(SYS_rt_sigaction, i, by_default, NULL, KERNEL_SIGSET_BYTES);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Puts dir/name into s->tried; an empty dir is the working directory. */
static bool join(struct spawn *s, const char *dir, size_t dir_bytes, const char *name)
{
	size_t n = strlen(name);

	if (!dir_bytes) {
		dir = ".";
		dir_bytes = 1;
	}
	if (dir_bytes + 1 + n + 1 > sizeof(s->tried))
		return false;
	memcpy(s->tried, dir, dir_bytes);
	s->tried[dir_bytes] = '/';
	memcpy(s->tried + dir_bytes + 1, name, n + 1);
	return true;
}

static bool is_program(struct spawn *s)
{
	return !stat(s->tried, &s->st) && S_ISREG(s->st.st_mode);
}

/* Tries every directory of the path as a shell does: a file that may not be executed is kept in
 * mind while the search goes on; directories and what cannot be seen are no finds. */
static BECOMES int search(struct spawn *s, const char *name)
{
	const char *dir = s->path, *end;
	int worst = -ENOENT;

	for (;; dir = end + 1) {
		end = strchrnul(dir, ':');
		if (join(s, dir, (size_t)(end - dir), name)) {
			int code;

			execve(s->tried, s->argv, s->envp);
			code = -errno;
			if (is_program(s)) {
				if (!s->found[0]) {
					memcpy(s->found, s->tried, sizeof(s->found));
					s->found_mode = s->st.st_mode;
					worst = code;
				}
				if (code != -EACCES)
					return code;
			}
		}
		if (!*end)
			return worst;
	}
}

static BECOMES int execute(struct spawn *s)
{
	const char *name = s->argv[0];
	size_t n = strlen(name);
	int code;

	if (!n)
		return -ENOENT;
	if (!memchr(name, '/', n))
		return n > NAME_MAX ? -ENAMETOOLONG : search(s, name);
	if (n >= sizeof(s->tried))
		return -ENAMETOOLONG;
	memcpy(s->tried, name, n + 1);
	execve(s->tried, s->argv, s->envp);
	code = -errno;
	if (!stat(s->tried, &s->st)) {
		memcpy(s->found, s->tried, n + 1);
		s->found_mode = s->st.st_mode;
	}
	return code;
}

static NORETURN BECOMES void child(struct spawn *s)
{
	int code;

	setsid();
	take_descriptors(s);
	allow_oom_kill();
	/* As root first: a user may be put where it could not go by itself. */
	code = chdir(s->cwd) < 0 ? -errno : 0;
	become_user(s);
	if (code < 0 && chdir(s->cwd) < 0)
		give_up(s, AGENT_STAGE_CWD, -errno);
	reset_signals();
	give_up(s, AGENT_STAGE_EXEC, execute(s));
}

/* ---- in the parent ------------------------------------------------------------------------ */

/* A file was found and the kernel did not find something: the file's interpreter. */
static int explain_missing(const struct spawn *s, struct err *e)
{
	char path[2 * PATH_MAX], wanted[160];
	const char *base = s->found[0] == '/' ? "" : s->cwd;

	snprintf(path, sizeof(path), "%s%s%s", base, *base ? "/" : "", s->found);
	if (interp_of(path, wanted, sizeof(wanted)) < 0)
		return err_set(e, s->code, "\"%.64s\" cannot be executed: %s", s->found,
			strerror(-s->code));
	return err_set(e, s->code, "\"%.64s\" needs the interpreter %.120s, not found in the image",
		s->found, wanted);
}

static int explain_exec(const struct spawn *s, struct err *e)
{
	const char *name = s->argv[0];

	if (!s->found[0] && s->code == -ENOENT && !strchr(name, '/'))
		return err_set(
			e, s->code, "\"%.64s\": no such command in PATH=%.150s", name, s->path);
	if (!s->found[0])
		return err_set(e, s->code, "\"%.150s\": %s", name, strerror(-s->code));
	if (S_ISDIR(s->found_mode))
		return err_set(e, s->code, "\"%.150s\" is a directory", s->found);
	if (s->code == -ENOENT)
		return explain_missing(s, e);
	if (s->code == -EACCES && !(s->found_mode & 0111))
		return err_set(e, s->code, "\"%.150s\" is not an executable file (mode %03o)",
			s->found, s->found_mode & 07777);
	if (s->code == -ENOEXEC)
		return err_set(e, s->code,
			"\"%.120s\" is neither a program for this machine nor a script that "
			"begins with #!",
			s->found);
	return err_set(e, s->code, "\"%.150s\": %s", s->found, strerror(-s->code));
}

static int explain(const struct spawn *s, struct err *e)
{
	switch (s->stage) {
	case AGENT_STAGE_USER:
		return err_set(e, s->code, "the agent cannot become user %u, group %u: %s",
			s->user->uid, s->user->gid, strerror(-s->code));
	case AGENT_STAGE_CWD:
		return err_set(
			e, s->code, "working directory \"%.150s\": %s", s->cwd, strerror(-s->code));
	case AGENT_STAGE_EXEC:
		return explain_exec(s, e);
	default:
		return err_set(e, s->code, "cannot give the command its descriptors: %s",
			strerror(-s->code));
	}
}

/* Born in the group: a moment outside it would be enough to leave a child behind there. Moving a
 * process also waits for the kernel's readers, some milliseconds each time. */
static void into_group(const struct spawn *s, struct clone_args *args)
{
	*args = (struct clone_args){
		.flags = CLONE_VM | CLONE_VFORK | CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)s->cgroup_fd,
	};
}

pid_t spawn_run(struct spawn *s, struct err *e)
{
	struct clone_args args;
	pid_t pid;

	s->stage = s->code = 0;
	s->tried[0] = s->found[0] = '\0';
	if (s->cgroup_fd < 0) {
		pid = vfork();
		if (pid < 0)
			pid = -errno;
	} else {
		into_group(s, &args);
		pid = (pid_t)vfork_into(&args, sizeof(args));
	}
	if (pid == 0)
		child(s);
	if (pid < 0) {
		s->stage = AGENT_STAGE_SPAWN;
		s->code = pid;
		return err_set(e, s->code, "no new process: %s", strerror(-s->code));
	}
	if (!s->stage)
		return pid;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return explain(s, e);
}
