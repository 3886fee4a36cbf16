// SPDX-License-Identifier: Apache-2.0
/* The muxer as a whole: its life, its thread, and what other threads ask of it. */
#include "backend/vsock_mux.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/mux_int.h"
#include "base/clock.h"

static void woken(struct loop_watch *w, unsigned events)
{
	struct mux *m = container_of(w, struct mux, wake);
	uint64_t count;

	(void)events;
	if (read(w->fd, &count, sizeof(count)) < 0)
		return;
	mux_settle(m);
}

static int set_up_loop(struct mux *m, struct err *e)
{
	int r = loop_init(&m->loop, e);

	if (r < 0)
		return r;
	m->wake = (struct loop_watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = woken};
	if (m->wake.fd < 0) {
		r = err_sys(e, "create its waker");
		loop_fini(&m->loop);
		return r;
	}
	r = loop_add(&m->loop, &m->wake, LOOP_READ);
	if (r < 0) {
		err_set(e, r, "cannot watch its waker");
		close(m->wake.fd);
		loop_fini(&m->loop);
	}
	return r;
}

int mux_new(const struct mux_config *config, struct mux **ret_mux, struct err *e)
{
	struct mux *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return err_set(e, -ENOMEM, "no memory for the vsock muxer");
	m->config = *config;
	m->next_port = FIRST_PORT;
	m->next_deadline_ns = UINT64_MAX;
	m->last = &m->first;
	link_init(&m->all);
	link_init(&m->ready);
	r = set_up_loop(m, e);
	if (r < 0) {
		free(m);
		return err_object(e, "vsock muxer");
	}
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->reset_done, NULL);
	*ret_mux = m;
	return 0;
}

struct loop *mux_loop(struct mux *m)
{
	return &m->loop;
}

void mux_set_kick(struct mux *m, void (*kick)(void *ctx), void *ctx)
{
	m->kick = kick;
	m->kick_ctx = ctx;
}

unsigned mux_connections(const struct mux *m)
{
	return atomic_load(&m->n_conns);
}

static void wake(struct mux *m)
{
	uint64_t one = 1;

	/* Fails only when the counter is full: then it is awake already. */
	(void)!write(m->wake.fd, &one, sizeof(one));
}

void mux_drop_all(struct mux *m)
{
	while (m->all.next != &m->all)
		conn_free(container_of(m->all.next, struct conn, all));
	m->n_refusals = 0;
	free(m->stale);
	m->stale = NULL;
	m->n_stale = 0;
	m->next_deadline_ns = UINT64_MAX;
}

/* A port of the host that has no connection to this port of the guest. */
static uint32_t choose_port(struct mux *m, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = m->next_port;
		m->next_port = port == LAST_PORT ? FIRST_PORT : port + 1;
	} while (conn_find(m, port, guest_port));
	return port;
}

static void connect_now(struct mux *m, const struct request *request)
{
	uint32_t port = choose_port(m, request->guest_port);
	struct conn *c = conn_new(m, port, request->guest_port, request->fd, CONN_CONNECTING);

	if (!c) {
		close(request->fd); /* table full, or no socket: the asker reads end of file */
		return;
	}
	c->tell |= TELL_REQUEST;
	conn_settle(c);
}

/* Takes the list of requests out of the mutex. */
static struct request *take_requests(struct mux *m)
{
	struct request *first = m->first;

	m->first = NULL;
	m->last = &m->first;
	return first;
}

static void free_requests(struct request *at)
{
	while (at) {
		struct request *next = at->next;

		close(at->fd);
		free(at);
		at = next;
	}
}

void mux_settle(struct mux *m)
{
	struct request *at;
	bool want_reset;
	uint64_t asked;

	pthread_mutex_lock(&m->lock);
	at = take_requests(m);
	want_reset = m->want_reset;
	asked = m->resets_asked;
	m->want_reset = false;
	pthread_mutex_unlock(&m->lock);

	if (want_reset) {
		mux_drop_all(m);
		pthread_mutex_lock(&m->lock);
		m->resets_made = asked;
		pthread_cond_broadcast(&m->reset_done);
		pthread_mutex_unlock(&m->lock);
	}
	while (at) {
		struct request *next = at->next;

		connect_now(m, at);
		free(at);
		at = next;
	}
}

int mux_connect(struct mux *m, uint32_t guest_port, int fd)
{
	struct request *request = malloc(sizeof(*request));

	if (!request) {
		close(fd);
		return -ENOMEM;
	}
	*request = (struct request){.guest_port = guest_port, .fd = fd};
	pthread_mutex_lock(&m->lock);
	*m->last = request;
	m->last = &request->next;
	pthread_mutex_unlock(&m->lock);
	wake(m);
	return 0;
}

/* With the lock. What was asked before the reset is dropped with the rest. */
static uint64_t ask_reset(struct mux *m)
{
	free_requests(take_requests(m));
	m->want_reset = true;
	return ++m->resets_asked;
}

void mux_post_reset(struct mux *m)
{
	pthread_mutex_lock(&m->lock);
	ask_reset(m);
	pthread_mutex_unlock(&m->lock);
	wake(m);
}

void mux_reset(struct mux *m)
{
	uint64_t asked;
	bool is_running;

	pthread_mutex_lock(&m->lock);
	asked = ask_reset(m);
	is_running = m->is_running;
	wake(m);
	while (m->is_running && m->resets_made < asked)
		pthread_cond_wait(&m->reset_done, &m->lock);
	pthread_mutex_unlock(&m->lock);
	if (!is_running)
		mux_settle(m);
}

/* A turn: what the sockets and the guest did, then once for all of it the guest's share. */
static void *run(void *ctx)
{
	struct mux *m = ctx;

	while (!m->loop.is_stopping) {
		if (loop_turn(&m->loop, clock_left_ms(m->next_deadline_ns)) < 0)
			break;
		conn_expire(m);
		if (m->kick && mux_has_next(m))
			m->kick(m->kick_ctx);
	}
	return NULL;
}

/* A thread that takes no signals: those are for the threads that wait for them. */
static int start_thread(struct mux *m)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int r;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, MUX_STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&m->thread, &attr, run, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

/* The guest stood still while the thread did not run, so that nobody was late. */
static void skip_pause(struct mux *m)
{
	uint64_t pause_ns = m->stopped_ns ? clock_now_ns() - m->stopped_ns : 0;

	for (struct link *at = m->all.next; at != &m->all; at = at->next) {
		struct conn *c = container_of(at, struct conn, all);

		if (c->deadline_ns)
			c->deadline_ns += pause_ns;
	}
	if (m->next_deadline_ns != UINT64_MAX)
		m->next_deadline_ns += pause_ns;
	m->stopped_ns = 0;
}

int mux_start(struct mux *m, struct err *e)
{
	int r;

	m->loop.is_stopping = false;
	skip_pause(m);
	pthread_mutex_lock(&m->lock);
	r = start_thread(m);
	m->is_running = r == 0;
	pthread_mutex_unlock(&m->lock);
	if (r == 0)
		return 0;
	errno = -r;
	r = err_sys(e, "start its thread");
	err_object(e, "vsock muxer");
	err_remedy(e, "allow this user more processes (ulimit -u) or free memory");
	return r;
}

void mux_stop(struct mux *m)
{
	bool was_running;

	pthread_mutex_lock(&m->lock);
	was_running = m->is_running;
	m->is_running = false;
	pthread_cond_broadcast(&m->reset_done);
	pthread_mutex_unlock(&m->lock);
	if (!was_running)
		return;
	loop_stop(&m->loop);
	pthread_join(m->thread, NULL);
	m->stopped_ns = clock_now_ns();
}

void mux_free(struct mux *m)
{
	if (!m)
		return;
	mux_stop(m);
	mux_drop_all(m);
	free_requests(take_requests(m));
	loop_remove(&m->loop, &m->wake);
	close(m->wake.fd);
	loop_fini(&m->loop);
	pthread_cond_destroy(&m->reset_done);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
