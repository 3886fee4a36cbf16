// SPDX-License-Identifier: Apache-2.0
/*
 * supermachine-vmm: one process, one virtual machine.
 *
 * It is told what to be by one packet on the control socket and opens nothing itself. It ends when
 * its machine ends, or at once when the other end of the socket is gone.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
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
	r = control_receive(s.sock, &s.packet, &e);
	if (r == 0)
		return 0;
	if (r < 0)
		return control_send_end(s.sock, CTL_END, CTL_END_ERROR, &e) ? 2 : 1;
	return control_type(&s.packet) == CTL_PROBE ? probe(&s) : run_machine(&s);
}
