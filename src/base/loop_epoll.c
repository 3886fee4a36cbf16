// SPDX-License-Identifier: Apache-2.0
#include "base/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS_A_TURN = 32 };

static uint32_t to_epoll(unsigned events)
{
	return (events & LOOP_READ ? EPOLLIN : 0u) | (events & LOOP_WRITE ? EPOLLOUT : 0u);
}

static unsigned from_epoll(uint32_t events)
{
	return (events & EPOLLIN ? LOOP_READ : 0u) | (events & EPOLLOUT ? LOOP_WRITE : 0u) |
	       (events & (EPOLLHUP | EPOLLERR) ? LOOP_HANGUP : 0u);
}

static void woken(struct loop_watch *w, unsigned events)
{
	struct loop *l = container_of(w, struct loop, waker);
	uint64_t count;

	(void)events;
	if (read(w->fd, &count, sizeof(count)) == sizeof(count))
		l->is_stopping = true;
}

int loop_init(struct loop *l, struct err *e)
{
	int r;

	*l = (struct loop){.poll_fd = -1, .waker = {.fd = -1, .ready = woken}};
	l->poll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->waker.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->poll_fd < 0 || l->waker.fd < 0) {
		r = err_sys(e, "create an event loop");
		loop_fini(l);
		return r;
	}
	r = loop_add(l, &l->waker, LOOP_READ);
	if (r < 0) {
		loop_fini(l);
		return err_set(e, r, "cannot watch the event loop's waker");
	}
	return 0;
}

void loop_fini(struct loop *l)
{
	if (l->waker.fd >= 0)
		close(l->waker.fd);
	if (l->poll_fd >= 0)
		close(l->poll_fd);
	l->poll_fd = l->waker.fd = -1;
}

static int control(struct loop *l, int op, struct loop_watch *w, unsigned events)
{
	struct epoll_event ev = {.events = to_epoll(events), .data.ptr = w};

	return epoll_ctl(l->poll_fd, op, w->fd, &ev) < 0 ? -errno : 0;
}

int loop_add(struct loop *l, struct loop_watch *w, unsigned events)
{
	return control(l, EPOLL_CTL_ADD, w, events);
}

int loop_change(struct loop *l, struct loop_watch *w, unsigned events)
{
	return control(l, EPOLL_CTL_MOD, w, events);
}

void loop_remove(struct loop *l, struct loop_watch *w)
{
	struct epoll_event *pending = l->pending;

	(void)control(l, EPOLL_CTL_DEL, w, 0);
	for (unsigned i = 0; i < l->n_pending; i++)
		if (pending[i].data.ptr == w)
			pending[i].data.ptr = NULL;
}

int loop_turn(struct loop *l, int timeout_ms)
{
	struct epoll_event events[EVENTS_A_TURN];
	int n = epoll_wait(l->poll_fd, events, EVENTS_A_TURN, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	l->pending = events;
	l->n_pending = (unsigned)n;
	for (int i = 0; i < n; i++) {
		struct loop_watch *w = events[i].data.ptr;

		if (w)
			w->ready(w, from_epoll(events[i].events));
	}
	l->pending = NULL;
	l->n_pending = 0;
	return n;
}

int loop_run(struct loop *l)
{
	while (!l->is_stopping) {
		int r = loop_turn(l, -1);

		if (r < 0)
			return r;
	}
	return 0;
}

void loop_stop(struct loop *l)
{
	uint64_t one = 1;

	(void)!write(l->waker.fd, &one, sizeof(one));
}
