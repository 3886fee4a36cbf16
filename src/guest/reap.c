// SPDX-License-Identifier: Apache-2.0
#include "guest/reap.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

static void ready(struct loop_watch *w, unsigned events)
{
	struct reaper *r = container_of(w, struct reaper, watch);
	struct signalfd_siginfo info[8];

	(void)events;
	/* What it says is of no use: signals of one kind merge, so all children are asked. */
	while (read(w->fd, info, sizeof(info)) > 0)
		;
	reaper_collect(r);
}

int reaper_start(struct reaper *r, struct loop *l,
	void (*ended)(struct reaper *r, pid_t pid, int status, const struct rusage *usage),
	struct err *e)
{
	sigset_t set;
	int fd, code;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(e, "cannot block SIGCHLD");
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return err_sys(e, "cannot receive SIGCHLD by a descriptor");
	*r = (struct reaper){.watch = {.fd = fd, .ready = ready}, .loop = l, .ended = ended};
	code = loop_add(l, &r->watch, LOOP_READ);
	if (code < 0) {
		close(fd);
		r->watch.fd = -1;
		return err_set(e, code, "cannot watch for ended children");
	}
	return 0;
}

void reaper_stop(struct reaper *r)
{
	if (r->watch.fd < 0)
		return;
	loop_remove(r->loop, &r->watch);
	close(r->watch.fd);
	r->watch.fd = -1;
}

void reaper_collect(struct reaper *r)
{
	struct rusage usage;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0)
		r->ended(r, pid, status, &usage);
}

bool reaper_is_alone(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
}
