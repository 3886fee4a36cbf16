// SPDX-License-Identifier: Apache-2.0
#include "api/link.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/console.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/le.h"
#include "proto/agent.h"
#include "proto/frame.h"

enum {
	SEND_TIMEOUT_MS = 10000,
	REASON_TIMEOUT_MS = 2000, /* between a broken stream and the word why */
	LINGER_MS = 3000,	  /* between its last word and the end of the process */
	EVENT_CEILING = 4096,
};

static int init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int r = pthread_condattr_init(&attr);

	if (r)
		return -r;
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	r = pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
	return -r;
}

int link_open(struct link *l, const char *program, const char *label, int console_fd, struct err *e)
{
	int pair[2], r;

	*l = (struct link){.sock = -1, .event_fd = -1, .console_fd = console_fd};
	r = init_cond(&l->changed);
	if (r < 0)
		return err_set(e, r, "cannot create a condition variable");
	(void)pthread_mutex_init(&l->lock, NULL);
	(void)pthread_mutex_init(&l->asking, NULL);
	l->is_event_awaited = true;
	buf_init(&l->event_in, EVENT_CEILING);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		r = err_sys(e, "create a socket pair");
		goto fail;
	}
	l->sock = pair[0];
	r = child_start(program, label, pair[1], &l->child, e);
	close(pair[1]);
	if (r < 0)
		goto fail;
	r = fd_set_nonblocking(l->sock, true);
	if (r == 0)
		return 0;
	err_set(e, r, "cannot make a socket non-blocking");
fail:
	link_close(l);
	return r;
}

void link_close(struct link *l)
{
	if (l->sock >= 0)
		close(l->sock);
	child_fini(&l->child);
	if (l->event_fd >= 0)
		close(l->event_fd);
	buf_fini(&l->event_in);
	(void)pthread_cond_destroy(&l->changed);
	(void)pthread_mutex_destroy(&l->lock);
	(void)pthread_mutex_destroy(&l->asking);
	l->sock = l->event_fd = -1;
}

int link_send(struct link *l, void *message, size_t bytes, uint16_t type, const int *fds,
	unsigned n_fds, struct err *e)
{
	struct ctl_header head = {.version = CTL_VERSION, .type = type, .bytes = (uint32_t)bytes};
	struct pollfd p = {.fd = l->sock, .events = POLLOUT};
	uint64_t deadline = clock_deadline_ns(SEND_TIMEOUT_MS);
	int r;

	memcpy(message, &head, sizeof(head));
	for (;;) {
		r = fd_send_message(l->sock, message, bytes, fds, n_fds);
		if (r == 0)
			return 0;
		if (r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN)
			return err_set(e, -ESHUTDOWN, "the VM is gone");
		if (r != -EAGAIN)
			return err_set(e, r, "cannot send to the VMM: %s", strerror(-r));
		if (poll(&p, 1, clock_left_ms(deadline)) == 0)
			return err_set(e, -ETIMEDOUT, "the VMM does not take messages");
	}
}

/* ---- what arrives; all with the lock held -------------------------------------------------- */

static void end_with(struct link *l, int reason)
{
	if (l->facts & LINK_ENDED)
		return;
	l->end_reason = reason;
	l->facts |= LINK_ENDED;
}

/* The process is gone, or should be, without having said why: its exit status must do. */
static void end_of_file(struct link *l)
{
	if (l->facts & LINK_ENDED)
		return;
	if (child_reap(&l->child, LINGER_MS) < 0) {
		child_kill(&l->child);
		(void)child_reap(&l->child, -1);
	}
	end_with(l, l->kill_cause ? LINK_END_KILLED : LINK_END_DIED);
}

static void impossible(struct link *l)
{
	child_kill(&l->child);
	end_with(l, LINK_END_PROTOCOL);
}

static void close_event(struct link *l)
{
	close(l->event_fd);
	l->event_fd = -1;
	buf_consume(&l->event_in, l->event_in.bytes);
	/* An agent that is not up yet may try again. */
	if (!(l->facts & LINK_READY))
		l->is_event_awaited = true;
}

static void take_incoming(struct link *l, const struct ctl_port *m, int fd)
{
	struct {
		struct agent_frame head;
		struct agent_hello hello;
	} hello = {.hello.version = AGENT_VERSION};

	frame_head(&hello.head, AGENT_HELLO, sizeof(hello.hello));
	if (m->port != AGENT_EVENT_PORT || !l->is_event_awaited ||
		send(fd, &hello, sizeof(hello), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(hello)) {
		close(fd);
		return;
	}
	if (l->event_fd >= 0)
		close_event(l);
	l->event_fd = fd;
	l->is_event_awaited = false;
}

static void take_end(struct link *l, const struct ctl_end *m)
{
	l->end = *m;
	l->end.object[sizeof(l->end.object) - 1] = '\0';
	l->end.cause[sizeof(l->end.cause) - 1] = '\0';
	l->end.remedy[sizeof(l->end.remedy) - 1] = '\0';
	end_with(l, m->reason <= CTL_END_PANIC ? (int)m->reason : CTL_END_ERROR);
}

/* An answer that nobody asked for is a fault of the VMM. */
static bool take_answer(struct link *l, const struct ctl_answer *m)
{
	if (!l->asked || m->to != l->asked)
		return false;
	l->answer = *m;
	l->answer.object[sizeof(m->object) - 1] = '\0';
	l->answer.cause[sizeof(m->cause) - 1] = '\0';
	l->answer.remedy[sizeof(m->remedy) - 1] = '\0';
	l->asked = 0;
	l->facts |= LINK_ANSWERED;
	return true;
}

static void take_message(struct link *l, const void *data, size_t bytes, const int *fds, unsigned n)
{
	struct ctl_header head;

	if (bytes < sizeof(head))
		goto wrong;
	memcpy(&head, data, sizeof(head));
	if (head.version != CTL_VERSION || head.bytes != bytes)
		goto wrong;
	if (head.type == CTL_INCOMING && bytes == sizeof(struct ctl_port) && n == 1) {
		take_incoming(l, data, fds[0]);
		return;
	}
	if (n)
		goto wrong;
	if (head.type == CTL_RUNNING && bytes == sizeof(l->running)) {
		memcpy(&l->running, data, sizeof(l->running));
		l->running_ns = clock_now_ns();
		l->facts |= LINK_RUNNING;
		return;
	}
	if ((head.type == CTL_END || head.type == CTL_PROBED) && bytes == sizeof(struct ctl_end)) {
		take_end(l, data);
		return;
	}
	if (head.type == CTL_ANSWER && bytes == sizeof(struct ctl_answer) && take_answer(l, data))
		return;
wrong:
	while (n)
		close(fds[--n]);
	impossible(l);
}

static void read_control(struct link *l)
{
	while (!(l->facts & LINK_ENDED)) {
		_Alignas(8) char data[CTL_MESSAGE_MAX / 16];
		int fds[4];
		unsigned n = ARRAY_LEN(fds);
		ssize_t got = fd_receive_message(l->sock, data, sizeof(data), fds, &n);

		if (got == -EAGAIN)
			return;
		if (got == -EMSGSIZE)
			impossible(l);
		else if (got <= 0)
			end_of_file(l);
		else
			take_message(l, data, (size_t)got, fds, n);
	}
}

static void set_ready(struct link *l)
{
	if (!(l->facts & LINK_READY))
		l->ready_ns = clock_now_ns();
	l->facts |= LINK_READY;
}

static bool take_listener(struct link *l, const uint8_t *payload, size_t bytes)
{
	struct agent_listener m;

	if (bytes != sizeof(m))
		return false;
	memcpy(&m, payload, sizeof(m));
	for (unsigned i = 0; i < l->n_listeners; i++)
		if (!memcmp(&l->listeners[i], &m, sizeof(m)))
			return true;
	/* More than a snapshot tells of are not worth an error. */
	if (l->n_listeners < LINK_LISTENERS_MAX)
		l->listeners[l->n_listeners++] = m;
	return true;
}

/* One frame of the event connection. Returns false when it makes no sense. */
static bool take_event(struct link *l, const struct agent_frame *f, const uint8_t *payload)
{
	if (f->type == AGENT_HELLO)
		return f->bytes == sizeof(struct agent_hello) &&
		       le32_load(payload) == AGENT_VERSION;
	if (f->type == AGENT_LISTENING)
		return take_listener(l, payload, f->bytes);
	if (f->type != AGENT_READY)
		return false;
	if (!l->is_restored)
		set_ready(l);
	return true;
}

static void read_events(struct link *l)
{
	for (;;) {
		void *at = buf_reserve(&l->event_in, 512);
		ssize_t n = at ? recv(l->event_fd, at, 512, MSG_DONTWAIT) : 0;
		struct agent_frame f;
		const uint8_t *payload;
		int64_t took;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			close_event(l);
			return;
		}
		buf_grew(&l->event_in, (size_t)n);
		while ((took = frame_decode(l->event_in.data, l->event_in.bytes, &f, &payload)) >
			0) {
			if (!take_event(l, &f, payload))
				took = -EPROTO;
			if (took < 0)
				break;
			buf_consume(&l->event_in, (size_t)took);
		}
		if (took < 0) {
			l->is_stray_agent = true;
			close_event(l);
			return;
		}
	}
}

/* One turn of the reader: called and returns with the lock, sleeps without it. */
static void read_turn(struct link *l, int timeout_ms)
{
	struct pollfd p[3] = {
		{.fd = l->sock, .events = POLLIN},
		{.fd = l->event_fd, .events = POLLIN},
		{.fd = l->child.pidfd, .events = POLLIN},
	};
	int n;

	l->has_reader = true;
	pthread_mutex_unlock(&l->lock);
	n = poll(p, ARRAY_LEN(p), timeout_ms);
	pthread_mutex_lock(&l->lock);
	l->has_reader = false;
	if (n > 0) {
		/* Events first: an agent that was ready before the end was ready. */
		if (p[1].revents && l->event_fd >= 0)
			read_events(l);
		if (p[0].revents || p[2].revents)
			read_control(l);
		/* Somebody may hold a copy of its socket: the end of the process is the end. */
		if (p[2].revents)
			end_of_file(l);
	}
	pthread_cond_broadcast(&l->changed);
}

static void sleep_until(struct link *l, uint64_t deadline_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
		.tv_nsec = (long)(deadline_ns % 1000000000u)};

	if (deadline_ns == UINT64_MAX)
		pthread_cond_wait(&l->changed, &l->lock);
	else
		pthread_cond_timedwait(&l->changed, &l->lock, &ts);
}

unsigned link_wait(struct link *l, unsigned wanted, uint64_t deadline_ns)
{
	bool is_last = false;
	unsigned facts;

	pthread_mutex_lock(&l->lock);
	while (!(l->facts & (wanted | LINK_ENDED)) && !is_last) {
		int left = clock_left_ms(deadline_ns);

		/* What has arrived already counts even when the time is over. */
		is_last = left == 0;
		if (!l->has_reader)
			read_turn(l, left);
		else if (!is_last)
			sleep_until(l, deadline_ns);
	}
	facts = l->facts;
	pthread_mutex_unlock(&l->lock);
	return facts;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void set_asked(struct link *l, uint16_t type)
{
	pthread_mutex_lock(&l->lock);
	l->asked = type;
	l->facts &= ~(unsigned)LINK_ANSWERED;
	pthread_mutex_unlock(&l->lock);
}

static int answer_error(const struct ctl_answer *a, struct err *e)
{
	int code = a->code < 0 && a->code > -4096 ? a->code : -EIO;

	err_set(e, code, "%s", a->cause);
	if (a->object[0])
		err_object(e, "%s", a->object);
	if (a->remedy[0])
		err_remedy(e, "%s", a->remedy);
	return code;
}

int link_ask(struct link *l, void *message, size_t bytes, uint16_t type, const int *fds,
	unsigned n_fds, uint64_t deadline_ns, struct ctl_answer *ret, struct err *e)
{
	unsigned facts, epoch = link_epoch(l);
	int r;

	pthread_mutex_lock(&l->asking);
	set_asked(l, type);
	r = link_send(l, message, bytes, type, fds, n_fds, e);
	if (r < 0) {
		set_asked(l, 0);
		pthread_mutex_unlock(&l->asking);
		return r == -ESHUTDOWN ? link_gone_error(l, epoch, e) : r;
	}
	facts = link_wait(l, LINK_ANSWERED, deadline_ns);
	if (facts & LINK_ANSWERED) {
		*ret = l->answer;
		r = ret->code ? answer_error(ret, e) : 0;
	} else {
		/* Its answer would be taken for that of the next request. */
		if (!(facts & LINK_ENDED))
			link_kill(l, "it was killed because the VMM did not answer a request");
		r = link_gone_error(l, epoch, e);
	}
	pthread_mutex_unlock(&l->asking);
	return r;
}

void link_expect_event(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	l->is_event_awaited = true;
	pthread_mutex_unlock(&l->lock);
}

void link_set_ready(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	set_ready(l);
	pthread_mutex_unlock(&l->lock);
}

void link_cut(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	l->epoch++;
	pthread_mutex_unlock(&l->lock);
}

unsigned link_epoch(struct link *l)
{
	unsigned epoch;

	pthread_mutex_lock(&l->lock);
	epoch = l->epoch;
	pthread_mutex_unlock(&l->lock);
	return epoch;
}

unsigned link_listeners(struct link *l, struct agent_listener ret[LINK_LISTENERS_MAX])
{
	unsigned n;

	/* What has arrived is looked at first. */
	(void)link_wait(l, 0, 0);
	pthread_mutex_lock(&l->lock);
	n = l->n_listeners;
	memcpy(ret, l->listeners, n * sizeof(*ret));
	pthread_mutex_unlock(&l->lock);
	return n;
}

void link_kill(struct link *l, const char *cause)
{
	pthread_mutex_lock(&l->lock);
	if (!l->kill_cause)
		l->kill_cause = cause;
	child_kill(&l->child);
	pthread_mutex_unlock(&l->lock);
}

void link_reap(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	if (child_reap(&l->child, LINGER_MS) < 0) {
		child_kill(&l->child);
		(void)child_reap(&l->child, -1);
	}
	pthread_mutex_unlock(&l->lock);
}

/* ---- why it ended --------------------------------------------------------------------------- */

static int died_error(const struct child *c, struct err *e)
{
	if (!c->is_status_known)
		err_set(e, -ESHUTDOWN, "supermachine-vmm ended without saying why");
	else if (c->code == CLD_EXITED)
		err_set(e, -ESHUTDOWN, "supermachine-vmm ended with status %d and no word",
			c->status);
	else
		err_set(e, -ESHUTDOWN, "supermachine-vmm was killed by signal %d (%s)", c->status,
			sigdescr_np(c->status) ? sigdescr_np(c->status) : "unknown");
	if (c->is_status_known && c->code != CLD_EXITED && c->status == SIGKILL)
		return err_remedy(e, "if nobody killed it, see `dmesg` for an out-of-memory kill");
	return err_remedy(e, "this is a fault of supermachine: report it, with `dmesg` if it says "
			     "more");
}

static int console_error(const struct link *l, struct err *e, const char *what)
{
	char tail[208];

	console_summary(l->console_fd, tail, sizeof(tail));
	return err_set(
		e, -EPROTO, "%s%s%s%s", what, tail[0] ? ": \"" : "", tail, tail[0] ? "\"" : "");
}

static int told_error(const struct ctl_end *end, struct err *e)
{
	int code = end->code < 0 && end->code > -4096 ? end->code : -EIO;

	/* "No kernel" is not "no command"; and what KVM refuses is KVM's, whatever the errno. */
	if (code == -ENOEXEC)
		code = -EINVAL;
	if (!strncmp(end->object, "/dev/kvm", 8) || !strncmp(end->object, "KVM", 3))
		code = code == -ENOMEM ? code : -ENODEV;
	err_set(e, code, "%s", end->cause);
	if (end->object[0])
		err_object(e, "%s", end->object);
	if (end->remedy[0])
		err_remedy(e, "%s", end->remedy);
	return code;
}

int link_end_error(struct link *l, struct err *e)
{
	int r;

	pthread_mutex_lock(&l->lock);
	switch (l->end_reason) {
	case CTL_END_POWEROFF:
		r = err_set(e, -ESHUTDOWN, "it powered off");
		break;
	case CTL_END_RESET:
		r = console_error(l, e, "the guest reset itself");
		break;
	case CTL_END_PANIC:
		r = console_error(l, e, "the guest's kernel panicked");
		break;
	case LINK_END_KILLED:
		r = err_set(e, -ESHUTDOWN, "%s", l->kill_cause);
		break;
	case LINK_END_DIED:
		r = died_error(&l->child, e);
		break;
	case LINK_END_PROTOCOL:
		r = err_set(e, -ESHUTDOWN, "supermachine-vmm said something impossible");
		(void)err_remedy(e, "library and supermachine-vmm are of different builds: install "
				    "them together");
		break;
	default:
		r = told_error(&l->end, e);
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}

int link_gone_error(struct link *l, unsigned epoch, struct err *e)
{
	struct err why = {0};

	if (link_epoch(l) != epoch) {
		err_set(e, -ESHUTDOWN, "the VM was reset to its snapshot");
		return err_remedy(e, "start it again in the VM as it is now");
	}
	if (!(link_wait(l, LINK_ENDED, clock_deadline_ns(REASON_TIMEOUT_MS)) & LINK_ENDED)) {
		err_set(e, -EPROTO, "the guest closed the connection to its agent");
		return err_remedy(e, "see the console log");
	}
	link_end_error(l, &why);
	err_set(e, -ESHUTDOWN, "the VM is gone: %s", why.cause);
	if (why.remedy[0])
		err_remedy(e, "%s", why.remedy);
	return -ESHUTDOWN;
}
