// SPDX-License-Identifier: Apache-2.0
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void signal_all(int signal, void *context)
{
	(void)context;
	if (getpid() == 1)
		kill(-1, signal);
}

static void power_off(bool is_reset, void *context)
{
	((struct machine *)context)->status = is_reset ? PEER_RESET : PEER_POWERED_OFF;
}

static bool is_on(const struct machine *m, const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", m->peer->dir, name);
	return !access(path, F_OK);
}

/* Notes what is asked for. Returns 0, or -EIO where the test wants that. */
static int note(const struct machine *m, const char *name, const char *fmt, ...)
{
	char path[160], knob[64];
	va_list ap;
	FILE *f;

	snprintf(path, sizeof(path), "%s/world", m->peer->dir);
	f = fopen(path, "ae");
	if (!f)
		return -errno;
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
	snprintf(knob, sizeof(knob), "fail-%s", name);
	return is_on(m, knob) ? -EIO : 0;
}

static int freeze(bool is_wanted, void *context)
{
	struct machine *m = context;
	const char *name = is_wanted ? "freeze" : "thaw";
	int r = note(m, name, "%s\n", name);

	return r < 0 || m->workload.group_fd < 0 ? r : workload_freeze(&m->workload, is_wanted);
}

static int is_frozen(void *context)
{
	const struct machine *m = context;

	if (is_on(m, "restless"))
		return 0;
	return m->workload.group_fd < 0 ? 1 : workload_is_frozen(&m->workload);
}

static int reseed(const void *entropy, size_t bytes, void *context)
{
	return note(context, "reseed", "reseed %zu %02x\n", bytes, *(const uint8_t *)entropy);
}

static int set_clock(const struct timespec *now, void *context)
{
	return note(context, "clock", "clock %lld\n", (long long)now->tv_sec);
}

static int set_hostname(const char *name, void *context)
{
	return note(context, "hostname", "hostname %s\n", name);
}

int machine_socket(const struct peer *p, bool is_events, struct sockaddr_un *addr)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (is_events)
		snprintf(addr->sun_path, sizeof(addr->sun_path), "%s/events", p->dir);
	else
		snprintf(addr->sun_path + 1, sizeof(addr->sun_path) - 1, "%s", p->address);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static int connect_events(struct err *e, void *context)
{
	struct machine *m = context;
	struct sockaddr_un addr;
	int fd;

	if (note(m, "events", "events\n") < 0)
		return err_set(e, -ECONNREFUSED, "cannot reach the host");
	fd = machine_socket(m->peer, true, &addr);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_sys(e, "cannot reach the test");
	return fd;
}

static const struct agent_ops machine_ops = {
	.signal_all = signal_all,
	.power_off = power_off,
	.freeze = freeze,
	.is_frozen = is_frozen,
	.reseed = reseed,
	.set_clock = set_clock,
	.set_hostname = set_hostname,
	.connect_events = connect_events,
};

void machine_open(struct machine *m, const struct peer *p, struct agent_config *config)
{
	struct err e = {0};
	int fds[2];

	*m = (struct machine){.peer = p, .status = 3};
	workload_init(&m->workload);
	if (p->has_group && workload_open(&m->workload, p->group, &e) < 0) {
		fprintf(stderr, "agent: %s: %s\n", e.object, e.cause);
		exit(2);
	}
	config->ops = &machine_ops;
	config->context = m;
	config->workload = &m->workload;
	config->frozen_fd = m->workload.events_fd;
	if (config->frozen_fd >= 0)
		return;
	/* Always hung up: the agent looks whenever it waits for rest. */
	if (pipe2(fds, O_CLOEXEC) < 0)
		exit(2);
	close(fds[1]);
	config->frozen_fd = m->hung_up_fd = fds[0];
}

void machine_close(struct machine *m)
{
	if (m->workload.events_fd < 0)
		close(m->hung_up_fd);
	workload_close(&m->workload);
}
