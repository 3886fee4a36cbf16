// SPDX-License-Identifier: Apache-2.0
/*
 * Stands where the VMM process stands: speaks proto/control.h to the library under test, and joins
 * its connections to the real agent, which runs as a process beside it instead of in a guest. A
 * word "double=…" on the kernel command line makes it misbehave.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "double_machine.h"
#include "guest/agent.h"
#include "proto/console_log.h"
#include "proto/control.h"
#include "proto/frame.h"

enum { AGENT_OFF = 40, AGENT_RESET = 41, EXIT_BROKEN = 9 };

static char *const mode = machine.mode;
static pthread_mutex_t sending = PTHREAD_MUTEX_INITIALIZER;
static atomic_int agent_pid;
static struct sockaddr_un agent_address = {.sun_family = AF_UNIX};
static socklen_t agent_address_bytes;
static int console_fd = -1;

static void need(int ok)
{
	if (!ok)
		_exit(EXIT_BROKEN);
}

static struct ctl_header head(uint16_t type, size_t bytes)
{
	return (struct ctl_header){CTL_VERSION, type, (uint32_t)bytes};
}

/* ---- the agent ------------------------------------------------------------------------------ */

static void signal_all(int number, void *context)
{
	(void)context;
	if (getpid() == 1)
		kill(-1, number);
}

static void power_off(bool is_reset, void *context)
{
	*(int *)context = is_reset ? AGENT_RESET : AGENT_OFF;
}

static void run_agent(int listener, int event_fd)
{
	static const struct agent_ops ops = {signal_all, power_off};
	int status = EXIT_BROKEN;
	struct agent_config c = {listener, event_fd, &ops, &status};
	struct agent *a;
	struct err e = {0};

	close(CTL_SOCKET_FD);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	need(agent_new(&c, &a, &e) == 0 && agent_run(a, &e) == 0);
	agent_free(a);
	_exit(status);
}

static pid_t start_agent(int *ret_event_fd)
{
	static bool is_second;
	bool is_first = !is_second;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), pair[2];
	pid_t pid;

	/* The kernel chooses a name: unix(7), autobind. */
	agent_address_bytes = sizeof(agent_address);
	need(bind(listener, (struct sockaddr *)&agent_address, sizeof(sa_family_t)) == 0);
	need(getsockname(listener, (struct sockaddr *)&agent_address, &agent_address_bytes) == 0);
	need(listen(listener, 600) == 0);
	need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	need(fd_set_nonblocking(pair[1], true) == 0);
	/* First of a PID namespace where that is allowed: what it started ends with it. The second
	 * one is made when threads run, where only fork leaves the child a heap it can use. */
	pid = is_first ? (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_NEWPID, NULL, NULL, NULL, NULL)
		       : -1;
	if (pid < 0)
		pid = fork();
	need(pid >= 0);
	if (pid == 0)
		run_agent(listener, pair[1]);
	close(listener);
	close(pair[1]);
	*ret_event_fd = pair[0];
	is_second = true;
	atomic_store(&agent_pid, pid);
	return pid;
}

/* ---- joining two descriptors ---------------------------------------------------------------- */

struct join {
	int from, to;
};

static void *copy(void *context)
{
	struct join j = *(struct join *)context;
	char data[65536];
	ssize_t n;

	free(context);
	while ((n = read(j.from, data, sizeof(data))) > 0)
		if (fd_write_full(j.to, data, (size_t)n) < 0)
			break;
	/* Whichever end is over, is over for both: as when a vsock connection is reset. */
	shutdown(j.from, SHUT_RDWR);
	shutdown(j.to, SHUT_RDWR);
	return NULL;
}

static void join(int a, int b)
{
	for (int i = 0; i < 2; i++) {
		struct join *j = malloc(sizeof(*j));
		pthread_t thread;

		need(j != NULL);
		*j = i ? (struct join){b, a} : (struct join){a, b};
		need(pthread_create(&thread, NULL, copy, j) == 0);
		pthread_detach(thread);
	}
}

/* To the real agent, unless it is a request that needs a real guest. */
static void *run_connection(void *context)
{
	static const size_t room = AGENT_FRAME_MAX + 64;
	int fd = (int)(intptr_t)context, agent;
	char *data = malloc(room);
	size_t bytes;

	need(data != NULL);
	if (!machine_serve(fd, data, room, &bytes)) {
		agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		need(connect(agent, (struct sockaddr *)&agent_address, agent_address_bytes) == 0);
		need(fd_write_full(agent, data, bytes) == 0);
		join(fd, agent);
	}
	free(data);
	return NULL;
}

static void serve_connection(int fd)
{
	pthread_t thread;

	need(pthread_create(&thread, NULL, run_connection, (void *)(intptr_t)fd) == 0);
	pthread_detach(thread);
}

static void take_connect(int fd)
{
	static const char junk[] = "\xff\xff\xff\xff\xff\xff\xff\xff";

	need(fd_set_nonblocking(fd, false) == 0);
	if (!strcmp(mode, "refuse") || !strcmp(mode, "garble")) {
		if (mode[0] == 'g')
			need(write(fd, junk, 8) == 8);
		close(fd);
		return;
	}
	if (!strcmp(mode, "deaf")) /* kept open, never answered */
		return;
	serve_connection(fd);
}

/* ---- last words ----------------------------------------------------------------------------- */

static void say_on_console(const char *text)
{
	struct console_log log;

	pthread_mutex_lock(&sending);
	need(fd_pread_full(console_fd, &log, sizeof(log), 0) == 0);
	need(fd_pwrite_full(
		     console_fd, text, strlen(text), CONSOLE_LOG_HEADER + (off_t)log.written) == 0);
	log.written += strlen(text);
	need(fd_pwrite_full(console_fd, &log, sizeof(log), 0) == 0);
	pthread_mutex_unlock(&sending);
}

static void send_event(int event_fd)
{
	struct ctl_port m = {head(CTL_INCOMING, sizeof(m)), AGENT_EVENT_PORT, 0};

	need(fd_send_message(CTL_SOCKET_FD, &m, sizeof(m), &event_fd, 1) == 0);
}

/* As the agent of a resumed guest does. */
static void connect_event(void)
{
	struct {
		struct agent_frame head;
		struct agent_hello hello;
		struct agent_frame ready;
	} m = {.hello.version = AGENT_VERSION};
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	frame_head(&m.head, AGENT_HELLO, sizeof(m.hello));
	frame_head(&m.ready, AGENT_READY, 0);
	need(write(pair[0], &m, sizeof(m)) == sizeof(m));
	send_event(pair[1]);
	close(pair[1]);
}

/* What ran in the guest is as it was in the snapshot, and no connection has survived. */
static void cut(void)
{
	pid_t old = atomic_load(&agent_pid);
	int event_fd;

	start_agent(&event_fd);
	close(event_fd);
	kill(old, SIGKILL);
}

static void end(enum ctl_end_reason reason, int code, const char *object, const char *cause)
{
	struct ctl_end m = {head(CTL_END, sizeof(m)), reason, code, "", "", ""};

	strncpy(m.object, object, sizeof(m.object) - 1);
	strncpy(m.cause, cause, sizeof(m.cause) - 1);
	strncpy(m.remedy, code ? "do it better" : "", sizeof(m.remedy) - 1);
	need(fd_send_message(CTL_SOCKET_FD, &m, sizeof(m), NULL, 0) == 0);
	_exit(0);
}

static void misbehave(void)
{
	struct ctl_running nonsense = {head(CTL_RUNNING, 12345), {0}};

	if (!strcmp(mode, "error"))
		end(CTL_END_ERROR, -ENOEXEC, "kernel", "it is no kernel at all");
	if (!strcmp(mode, "kvm-error"))
		end(CTL_END_ERROR, -EINVAL, "KVM_RUN", "KVM refused");
	if (!strcmp(mode, "panic")) {
		say_on_console("booting\r\nKernel panic - not syncing: \033[1mtest\033[0m\nend\n");
		end(CTL_END_PANIC, 0, "", "");
	}
	if (!strcmp(mode, "nonsense"))
		need(fd_send_message(CTL_SOCKET_FD, &nonsense, sizeof(nonsense), NULL, 0) == 0);
	if (!strcmp(mode, "crash"))
		raise(SIGSEGV);
	if (!strcmp(mode, "exit"))
		_exit(3);
}

/* ---- the conversation ----------------------------------------------------------------------- */

static void find_mode(const char *text)
{
	const char *word = strstr(text, "double=");

	if (word)
		sscanf(word, "double=%63s", mode);
}

static void read_modes(const char *packet, const struct ctl_config *c, int kernel_fd)
{
	char text[4096] = "";

	need(c->cmdline_bytes < sizeof(text));
	memcpy(text, packet + sizeof(*c), c->cmdline_bytes);
	find_mode(text);
	memset(text, 0, sizeof(text));
	need(pread(kernel_fd, text, sizeof(text) - 1, 0) >= 0);
	find_mode(text);
}

static void answer_probe(void)
{
	struct ctl_end m = {.header = head(CTL_PROBED, sizeof(m))};

	need(fd_send_message(CTL_SOCKET_FD, &m, sizeof(m), NULL, 0) == 0);
	_exit(0);
}

static void take_config(void)
{
	static _Alignas(8) char packet[CTL_MESSAGE_MAX];
	int fds[FD_PASS_MAX];
	unsigned n = FD_PASS_MAX;
	ssize_t bytes = fd_receive_message(CTL_SOCKET_FD, packet, sizeof(packet), fds, &n);
	struct ctl_config c;

	if (bytes == 0)
		_exit(0);
	need(bytes >= (ssize_t)sizeof(struct ctl_header));
	if (((struct ctl_header *)(void *)packet)->type == CTL_PROBE)
		answer_probe();
	need(bytes >= (ssize_t)sizeof(c));
	memcpy(&c, packet, sizeof(c));
	need(c.header.version == CTL_VERSION && c.header.type == CTL_CONFIG &&
		c.header.bytes == bytes &&
		sizeof(c) + c.cmdline_bytes + c.boot_archive_bytes == (size_t)bytes);
	console_fd = fds[1];
	machine.say = say_on_console;
	machine.connect_event = connect_event;
	machine.cut = cut;
	machine_take_config(&c, fds, n);
	if (!machine.is_restored)
		read_modes(packet, &c, fds[2]);
}

static void announce(int event_fd)
{
	struct {
		struct agent_frame head;
		struct agent_hello hello;
	} old = {.hello.version = 99};
	int pair[2];

	if (!strcmp(mode, "silent"))
		return;
	if (!strcmp(mode, "old-agent")) {
		need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		frame_head(&old.head, AGENT_HELLO, sizeof(old.hello));
		need(write(pair[0], &old, sizeof(old)) == sizeof(old));
		event_fd = pair[1];
	}
	send_event(event_fd);
}

/* Powered off, unless it has been replaced. */
static void reap(pid_t *agent, int *pidfd)
{
	int status;

	need(waitpid(*agent, &status, 0) == *agent);
	if (*agent == atomic_load(&agent_pid)) {
		need(WIFEXITED(status));
		end(WEXITSTATUS(status) == AGENT_OFF ? CTL_END_POWEROFF : CTL_END_RESET, 0, "", "");
	}
	*agent = atomic_load(&agent_pid);
	close(*pidfd);
	*pidfd = (int)syscall(SYS_pidfd_open, *agent, 0);
}

static void take_packet(void)
{
	_Alignas(8) char packet[256];
	struct ctl_snapshot *m = (void *)packet;
	int fds[8];
	unsigned n = 8;
	ssize_t bytes = fd_receive_message(CTL_SOCKET_FD, packet, sizeof(packet), fds, &n);

	if (bytes <= 0) {
		kill(atomic_load(&agent_pid), SIGKILL);
		_exit(0);
	}
	switch (m->header.type) {
	case CTL_CONNECT:
		take_connect(fds[0]);
		break;
	case CTL_BALLOON:
		say_on_console("balloon\n");
		break;
	case CTL_SNAPSHOT:
	case CTL_ROLLBACK:
	case CTL_PAGES:
		machine_request(m->header.type, m->flags, fds, n);
		break;
	default:
		_exit(EXIT_BROKEN);
	}
}

static void serve(pid_t agent)
{
	int pidfd = (int)syscall(SYS_pidfd_open, agent, 0);

	for (;;) {
		struct pollfd p[2] = {{CTL_SOCKET_FD, POLLIN, 0}, {pidfd, POLLIN, 0}};

		need(poll(p, 2, -1) > 0);
		if (p[1].revents)
			reap(&agent, &pidfd);
		else if (p[0].revents)
			take_packet();
	}
}

int main(void)
{
	struct ctl_running running = {head(CTL_RUNNING, sizeof(running)),
		{1, 2, 3, 4, 5, 6, 21, 8, 9, 10, 11, 12, 13, 14}};
	struct stat st;
	pid_t agent;
	int event_fd;

	/* As promised to the VMM: nothing but the socket and /dev/null, no environment. */
	need(fstat(0, &st) == 0 && S_ISCHR(st.st_mode) && fstat(4, &st) < 0 && !environ[0]);
	signal(SIGPIPE, SIG_IGN);
	take_config();
	need(fd_send_message(CTL_SOCKET_FD, &running, sizeof(running), NULL, 0) == 0);
	if (!machine.is_restored)
		misbehave();
	agent = start_agent(&event_fd);
	if (!machine.is_restored)
		announce(event_fd);
	serve(agent);
}
