// SPDX-License-Identifier: Apache-2.0
/*
 * supermachine-vmm: one process, one virtual machine.
 *
 * It is told what to be by one packet on the control socket and opens nothing itself. It ends when
 * its machine ends, or at once when the other end of the socket is gone.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "backend/vsock_mux.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/loop.h"
#include "hv/hv.h"
#include "virtio/balloon.h"
#include "vmm/control.h"
#include "vmm/vm.h"

/* The one VM of this process and its way to the library; main thread, but for `sock`. */
struct session {
	int sock;
	uint64_t started_ns;
	struct control_packet packet; /* the configuration, then whatever comes next */
	struct vm_config config;
	struct loop loop;
	struct loop_watch watch;
	struct vm vm;
};

static int incoming(void *context, uint32_t port, int fd)
{
	struct session *s = context;
	int r = control_send_incoming(s->sock, port, fd);

	if (r >= 0)
		close(fd);
	return r;
}

static void connect_guest(struct session *s)
{
	struct ctl_port m;

	if (s->packet.bytes != sizeof(m) || s->packet.n_fds != 1)
		return;
	memcpy(&m, s->packet.data, sizeof(m));
	s->packet.n_fds = 0;
	(void)!mux_connect(s->vm.mux, m.port, s->packet.fds[0]);
}

static void set_balloon(struct session *s)
{
	struct ctl_balloon m;

	if (s->packet.bytes != sizeof(m))
		return;
	memcpy(&m, s->packet.data, sizeof(m));
	balloon_set_target(s->vm.devices[VM_DEVICE_BALLOON], m.target_bytes);
}

/* Sends what came of a request. */
static void answer(struct session *s, enum ctl_type to, int r, struct err *e,
	const uint64_t value[CTL_ANSWER_VALUES])
{
	(void)!control_send_answer(s->sock, to, r < 0 ? e : NULL, value);
}

static uint64_t wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int save(struct session *s, const struct snapshot_files *files,
	uint64_t value[CTL_ANSWER_VALUES], struct err *e)
{
	struct err broken = {0};
	uint64_t began = clock_now_ns();
	int r;

	vm_rest(&s->vm);
	value[CTL_V_SNAPSHOT_WALL_NS] = wall_ns();
	r = snapshot_save(&s->vm, files, value, e);
	if (vm_go(&s->vm, &broken) < 0)
		vm_finish(&s->vm, CTL_END_ERROR, &broken);
	value[CTL_V_SNAPSHOT_PAUSE_US] = (clock_now_ns() - began) / 1000;
	return r;
}

static void take_snapshot(struct session *s)
{
	uint64_t value[CTL_ANSWER_VALUES] = {0};
	const struct control_packet *p = &s->packet;
	struct err e = {0};
	struct ctl_snapshot m;
	int r = -EPROTO;

	if (p->bytes == sizeof(m) && p->n_fds == 3u + !!s->vm.disk) {
		struct snapshot_files files = {.state_fd = p->fds[0],
			.memory_fd = p->fds[1],
			.pagemap_fd = p->fds[2],
			.disk_fd = s->vm.disk ? p->fds[3] : -1};

		memcpy(&m, p->data, sizeof(m));
		files.is_diff = m.flags & CTL_S_DIFF;
		r = save(s, &files, value, &e);
	} else {
		err_set(&e, r, "a snapshot was asked for with %u descriptors", p->n_fds);
	}
	answer(s, CTL_SNAPSHOT, r, &e, value);
}

static void roll_back(struct session *s)
{
	uint64_t value[CTL_ANSWER_VALUES] = {0};
	uint64_t began = clock_now_ns();
	struct err e = {0};
	int r = vm_rollback(&s->vm, s->packet.n_fds ? s->packet.fds[0] : -1, &e);

	value[CTL_V_ROLLBACK_US] = (clock_now_ns() - began) / 1000;
	answer(s, CTL_ROLLBACK, r, &e, value);
	if (r < 0 && r != -EINVAL)
		vm_finish(&s->vm, CTL_END_ERROR, &e);
}

static int write_runs(int fd, const struct memfile_runs *runs, uint64_t *ret_pages, struct err *e)
{
	int r = fd_write_full(fd, runs->items, runs->n * sizeof(runs->items[0]));

	*ret_pages = 0;
	for (uint32_t i = 0; i < runs->n; i++)
		*ret_pages += runs->items[i].bytes / MEMFILE_PAGE_BYTES;
	return r < 0 ? err_set(e, r, "cannot write the page set: %s", strerror(-r)) : 0;
}

/* While the guest runs: what it touches meanwhile may be in or out. */
static void tell_pages(struct session *s)
{
	uint64_t value[CTL_ANSWER_VALUES] = {0};
	const struct control_packet *p = &s->packet;
	struct memfile_runs written = {0}, read = {0};
	struct err e = {0};
	int r = -EPROTO;

	if (p->n_fds == 3)
		r = memfile_touched(&s->vm.memory, p->fds[0], &written, &read, &e);
	else
		err_set(&e, r, "page sets were asked for with %u descriptors", p->n_fds);
	if (r == 0)
		r = write_runs(p->fds[1], &written, &value[CTL_V_PAGES_WRITTEN], &e);
	if (r == 0)
		r = write_runs(p->fds[2], &read, &value[CTL_V_PAGES_READ], &e);
	memfile_runs_fini(&written);
	memfile_runs_fini(&read);
	answer(s, CTL_PAGES, r, &e, value);
}

static void told(struct loop_watch *w, unsigned events)
{
	struct session *s = container_of(w, struct session, watch);
	struct err e = {0};
	int r = control_receive(s->sock, &s->packet, &e);

	(void)events;
	if (r == -EAGAIN)
		return;
	if (r == 0)
		_exit(0); /* nobody is left to run for */
	if (r < 0) {
		vm_finish(&s->vm, CTL_END_ERROR, &e);
		return;
	}
	switch (control_type(&s->packet)) {
	case CTL_CONNECT:
		connect_guest(s);
		break;
	case CTL_BALLOON:
		set_balloon(s);
		break;
	case CTL_SNAPSHOT:
		take_snapshot(s);
		break;
	case CTL_ROLLBACK:
		roll_back(s);
		break;
	case CTL_PAGES:
		tell_pages(s);
		break;
	default:
		break;
	}
	control_packet_close(&s->packet);
}

/* A guest may hold a thousand connections; what the caller's shell allows itself is no measure. */
static void allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int prepare(struct session *s, struct err *e)
{
	int r = config_parse(
		s->packet.data, s->packet.bytes, s->packet.fds, s->packet.n_fds, &s->config, e);

	if (r < 0)
		return r;
	s->packet.n_fds = 0;
	allow_descriptors();
	r = loop_init(&s->loop, e);
	if (r < 0)
		return r;
	s->watch = (struct loop_watch){.fd = s->sock, .ready = told};
	r = fd_set_nonblocking(s->sock, true);
	if (r >= 0)
		r = loop_add(&s->loop, &s->watch, LOOP_READ);
	return r < 0 ? err_set(e, r, "watch the control socket") : 0;
}

static int build_and_start(struct session *s, struct err *e)
{
	uint64_t config_us = (clock_now_ns() - s->started_ns) / 1000;
	int r = vm_build(&s->vm, &s->config, &s->loop, incoming, s, e);

	if (r < 0)
		return r;
	config_close(&s->config);
	s->vm.timing_us[CTL_T_CONFIG] = config_us;
	s->vm.timing_us[CTL_T_TOTAL] = (clock_now_ns() - s->started_ns) / 1000;
	r = vm_start(&s->vm, e);
	if (r < 0)
		return r;
	r = control_send_running(s->sock, s->vm.timing_us);
	return r < 0 ? err_set(e, r, "tell the library that the machine runs") : 0;
}

static int run_machine(struct session *s)
{
	enum ctl_end_reason reason = CTL_END_ERROR;
	struct err e = {0};
	int r = prepare(s, &e);

	if (r < 0)
		return control_send_end(s->sock, CTL_END, CTL_END_ERROR, &e) ? 2 : 1;
	r = build_and_start(s, &e);
	if (r >= 0)
		r = loop_run(&s->loop);
	if (r >= 0)
		reason = vm_end_reason(&s->vm, &e);
	(void)!control_send_end(s->sock, CTL_END, reason, &e);
	vm_stop(&s->vm);
	vm_fini(&s->vm);
	config_close(&s->config);
	loop_fini(&s->loop);
	return r < 0;
}

static int probe(struct session *s)
{
	struct err e = {0};
	int r = -EPROTO;

	if (s->packet.n_fds == 1)
		r = hv_probe(s->packet.fds[0], &e);
	return control_send_end(s->sock, CTL_PROBED, 0, r < 0 ? &e : NULL) < 0;
}

int main(void)
{
	static struct session s;
	struct err e = {0};
	int r;

	s.started_ns = clock_now_ns();
	s.sock = CTL_SOCKET_FD;
	/* A limit on file sizes is an error of the write that meets it, not our death. */
	(void)signal(SIGXFSZ, SIG_IGN);
	r = control_receive(s.sock, &s.packet, &e);
	if (r == 0)
		return 0;
	if (r < 0)
		return control_send_end(s.sock, CTL_END, CTL_END_ERROR, &e) ? 2 : 1;
	return control_type(&s.packet) == CTL_PROBE ? probe(&s) : run_machine(&s);
}
