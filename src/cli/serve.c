// SPDX-License-Identifier: Apache-2.0
#include "cli/serve.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/reach.h"

enum { PATIENCE_S = 2 }; /* with a client that connects and says nothing */

/* ---- the name ------------------------------------------------------------------------------ */

static int bind_name(struct serve *s, struct err *e)
{
	int r = rundir_lock(s->dir_fd, e);

	if (r < 0)
		return r;
	rundir_sweep(s->dir_fd, NULL, NULL);
	r = rundir_bind(s->dir_fd, s->name);
	rundir_unlock(s->dir_fd);
	if (r >= 0) {
		s->listen_fd = r;
		return 0;
	}
	if (r == -EADDRINUSE) {
		err_set(e, r, "a VM of this name runs already");
		err_object(e, "%s", s->name);
		return err_remedy(e, "choose another --name, or end that one");
	}
	err_set(e, r, "cannot make a socket in the runtime directory: %s", strerror(-r));
	return err_object(e, "%s", s->name);
}

int serve_claim(struct serve *s, const char *name, struct err *e)
{
	int r;

	*s = (struct serve){.dir_fd = -1, .listen_fd = -1, .stop_fd = -1};
	r = rundir_check_name(name, e);
	if (r < 0)
		return r;
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->dir_fd = rundir_open(e);
	return s->dir_fd < 0 ? s->dir_fd : bind_name(s, e);
}

void serve_release(struct serve *s)
{
	/* Before the socket closes: nobody shall take it for one that was left behind. */
	if (s->listen_fd >= 0)
		rundir_remove(s->dir_fd, s->name);
	autoclose_run(&s->listen_fd);
	autoclose_run(&s->stop_fd);
	autoclose_run(&s->dir_fd);
}

/* ---- requests ------------------------------------------------------------------------------ */

/* The directory is ours alone; this holds where it is not. */
static bool is_friend(int fd)
{
	struct ucred peer;
	socklen_t bytes = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

static bool is_path(const char text[PATH_MAX], bool may_be_empty)
{
	if (!memchr(text, '\0', PATH_MAX))
		return false;
	return text[0] == '/' || (may_be_empty && !text[0]);
}

static void refuse(struct sm_error *err, enum sm_code code, const char *cause)
{
	*err = (struct sm_error){.code = code};
	snprintf(err->object, sizeof(err->object), "request");
	snprintf(err->cause, sizeof(err->cause), "%s", cause);
}

/* err->code is 0 when it went well. */
static void obey(struct serve *s, const struct reach_request *q, size_t bytes, struct sm_error *err)
{
	struct sm_snapshot_options o = SM_INIT(o);

	*err = (struct sm_error){0};
	if (bytes != sizeof(*q) || q->version != REACH_VERSION)
		return refuse(err, SM_E_UNSUPPORTED,
			"the process that holds the VM is of another version");
	if (q->kind != REACH_SNAPSHOT)
		return refuse(err, SM_E_UNSUPPORTED,
			"the process that holds the VM knows no such request");
	if (!is_path(q->dir, false) || !is_path(q->base, true))
		return refuse(err, SM_E_INVALID, "it names no absolute path");
	o.base = q->base[0] ? q->base : NULL;
	if (sm_vm_snapshot(s->vm, q->dir, &o, err) >= 0)
		*err = (struct sm_error){0};
}

static void answer(struct serve *s, int fd)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	struct reach_request q;
	struct reach_answer a;
	struct sm_error err;
	ssize_t n;

	if (!is_friend(fd))
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	n = recv(fd, &q, sizeof(q), MSG_TRUNC);
	/* Nothing: somebody looked whether we live. */
	if (n <= 0)
		return;
	obey(s, &q, (size_t)n, &err);
	reach_error_answer(&err, &a);
	(void)!send(fd, &a, sizeof(a), MSG_NOSIGNAL);
}

static void *serve_requests(void *context)
{
	struct serve *s = context;
	struct pollfd p[] = {
		{.fd = s->stop_fd, .events = POLLIN}, {.fd = s->listen_fd, .events = POLLIN}};

	for (;;) {
		int n = poll(p, ARRAY_LEN(p), -1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || p[0].revents)
			return NULL;
		if (p[1].revents) {
			autoclose int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

			if (fd >= 0)
				answer(s, fd);
		}
	}
}

int serve_start(struct serve *s, struct sm_vm *vm, struct err *e)
{
	int r;

	s->vm = vm;
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (s->stop_fd < 0)
		return err_sys(e, "make an eventfd");
	r = pthread_create(&s->thread, NULL, serve_requests, s);
	if (r)
		return err_set(e, -r, "cannot create a thread: %s", strerror(r));
	s->is_running = true;
	return 0;
}

void serve_stop(struct serve *s)
{
	if (!s->is_running)
		return;
	(void)eventfd_write(s->stop_fd, 1);
	(void)pthread_join(s->thread, NULL);
	s->is_running = false;
}
