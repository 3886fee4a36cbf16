// SPDX-License-Identifier: Apache-2.0
#include "guest/world.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "guest/clonefiles.h"
#include "guest/console.h"
#include "guest/power.h"
#include "guest/root.h"
#include "guest/snapreq.h"
#include "guest/vsock.h"
#include "proto/agent.h"

static void signal_all(int signal, void *context)
{
	(void)context;
	kill(-1, signal); /* spares the first process itself */
}

static void end(bool is_reset, void *context)
{
	(void)context;
	power_off(is_reset);
}

static void trim(void *context)
{
	const struct world *w = context;

	/* A snapshot is larger without it, and no worse. */
	if (w->writable_fd >= 0)
		(void)!root_trim(w->writable_fd);
}

static int freeze(bool is_wanted, void *context)
{
	const struct world *w = context;

	return workload_freeze(&w->workload, is_wanted);
}

static int is_frozen(void *context)
{
	const struct world *w = context;

	return workload_is_frozen(&w->workload);
}

/* RNDADDENTROPY mixes the bytes in and counts them; the running generators go on from their old
 * keys until RNDRESEEDCRNG gives them new ones (random(4)). */
static int reseed(const void *entropy, size_t bytes, void *context)
{
	const struct world *w = context;
	/* struct rand_pool_info and its bytes */
	int pool[2 + SNAPREQ_ENTROPY_MAX / sizeof(int)] = {(int)bytes * 8, (int)bytes};
	int r = 0;

	if (bytes > SNAPREQ_ENTROPY_MAX)
		return -E2BIG;
	memcpy(&pool[2], entropy, bytes);
	if (ioctl(w->random_fd, RNDADDENTROPY, pool) < 0 || ioctl(w->random_fd, RNDRESEEDCRNG) < 0)
		r = -errno;
	explicit_bzero(pool, sizeof(pool));
	return r;
}

static int set_clock(const struct timespec *now, void *context)
{
	(void)context;
	return clock_settime(CLOCK_REALTIME, now) < 0 ? -errno : 0;
}

static int set_hostname(const char *name, void *context)
{
	(void)context;
	return sethostname(name, strlen(name)) < 0 ? -errno : 0;
}

static int connect_events(struct err *e, void *context)
{
	(void)context;
	return vsock_begin_connect_host(AGENT_EVENT_PORT, e);
}

/* A group that commands could leave, or cannot be born in, is none: what is not frozen for certain
 * must not be taken for frozen. */
static void open_group(struct workload *w)
{
	struct err e = {0};
	int r;

	workload_init(w);
	r = workload_open(w, WORKLOAD_ROOT, &e);
	if (r == 0)
		r = workload_seclude(w, &e);
	if (r < 0) {
		workload_close(w);
		console_warn(&e);
	}
}

void world_open(struct world *w, int writable_fd)
{
	struct err e = {0};

	w->writable_fd = writable_fd;
	open_group(&w->workload);
	if (clonefiles_prepare(&e) < 0)
		console_warn(&e);
	w->random_fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (w->random_fd < 0) {
		err_sys(&e, "cannot be opened");
		err_object(&e, "/dev/urandom");
		console_warn(&e);
	}
}

void world_describe(struct world *w, struct agent_config *config)
{
	static const struct agent_ops ops = {
		.signal_all = signal_all,
		.power_off = end,
		.trim = trim,
		.freeze = freeze,
		.is_frozen = is_frozen,
		.reseed = reseed,
		.set_clock = set_clock,
		.set_hostname = set_hostname,
		.connect_events = connect_events,
	};

	config->ops = &ops;
	config->context = w;
	config->workload = &w->workload;
	config->frozen_fd = w->workload.events_fd;
}
