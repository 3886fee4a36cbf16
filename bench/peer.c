// SPDX-License-Identifier: Apache-2.0
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "proto/console_log.h"

enum {
	FIRST_FREE_FD = 32, /* ours are above those that a child gets by number */
	PATIENCE_MS = 120000,
};

void die(const char *what, ...)
{
	va_list args;

	va_start(args, what);
	fprintf(stderr, "bench: ");
	vfprintf(stderr, what, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

int must(int fd_or_error, const char *what)
{
	if (fd_or_error < 0)
		die("%s: %s", what, strerror(-fd_or_error));
	return fd_or_error;
}

int peer_fd(int fd, const char *what)
{
	int moved = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);

	if (moved < 0)
		die("%s: %s", what, strerror(errno));
	close(fd);
	return moved;
}

int peer_open(const char *path, int flags)
{
	return peer_fd(open(path, flags | O_CLOEXEC), path);
}

int peer_temporary(const char *directory)
{
	return peer_fd(open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), directory);
}

int peer_console(void)
{
	int fd = peer_fd(memfd_create("console", MFD_CLOEXEC), "console");

	if (ftruncate(fd, CONSOLE_LOG_HEADER + CONSOLE_LOG_RING) < 0)
		die("console: %s", strerror(errno));
	return fd;
}

void peer_start(struct peer *p, const char *const *argv, const int *fds, unsigned n_fds)
{
	char *no_environment[] = {NULL};
	posix_spawn_file_actions_t actions;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair: %s", strerror(errno));
	pair[0] = peer_fd(pair[0], "socket");
	pair[1] = peer_fd(pair[1], "socket");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pair[1], PEER_SOCKET_FD);
	for (unsigned i = 0; i < n_fds; i++)
		posix_spawn_file_actions_adddup2(&actions, fds[i], PEER_SOCKET_FD + 1 + (int)i);
	*p = (struct peer){.sock = pair[0], .started_ns = clock_now_ns()};
	r = posix_spawn(
		&p->pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, no_environment);
	if (r)
		die("start %s: %s", argv[0], strerror(r));
	close(pair[1]);
	posix_spawn_file_actions_destroy(&actions);
}

double peer_age_us(const struct peer *p)
{
	return (double)(clock_now_ns() - p->started_ns) / 1000;
}

int peer_wait(struct peer *p)
{
	int status;

	while (waitpid(p->pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %s", strerror(errno));
	close(p->sock);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void peer_kill(struct peer *p)
{
	kill(p->pid, SIGKILL);
	(void)peer_wait(p);
}

void peer_configure(struct peer *p, const struct peer_vm *vm)
{
	size_t words = strlen(vm->cmdline);
	int fds[4 + 2 * PEER_PARTS_MAX] = {vm->kvm_fd, vm->console_fd};
	unsigned n_fds = 2;
	struct {
		struct ctl_config config;
		char rest[CTL_MESSAGE_MAX - sizeof(struct ctl_config)];
	} m = {.config = {
		       .header = {CTL_VERSION, CTL_CONFIG,
			       (uint32_t)(sizeof(struct ctl_config) + words)},
		       .memory_bytes = vm->memory_bytes,
		       .vcpus = vm->vcpus,
		       .n_initramfs = vm->n_initramfs,
		       .n_layers = vm->n_layers,
		       .cmdline_bytes = (uint32_t)words,
		       .host_port_first = vm->host_port,
		       .host_port_count = vm->host_port != 0,
		       .flags = vm->is_restore ? CTL_F_RESTORE | CTL_F_SAME_HOST : 0,
	       }};

	if (words > sizeof(m.rest))
		die("the command line is too long");
	memcpy(m.rest, vm->cmdline, words);
	fds[n_fds++] = vm->is_restore ? vm->state_fd : vm->kernel_fd;
	if (vm->is_restore)
		fds[n_fds++] = vm->memory_fd;
	for (unsigned i = 0; i < vm->n_initramfs; i++)
		fds[n_fds++] = vm->initramfs_fds[i];
	for (unsigned i = 0; i < vm->n_layers; i++)
		fds[n_fds++] = vm->layer_fds[i];
	must(fd_send_message(p->sock, &m, m.config.header.bytes, fds, n_fds), "configure the VMM");
}

static void check_end(const struct ctl_end *end)
{
	if (end->reason == CTL_END_ERROR)
		die("the VMM gave up: %s: %s; %s", end->object, end->cause, end->remedy);
}

static void check_answer(const struct ctl_answer *a)
{
	if (a->code)
		die("the VMM refuses request %u: %s: %s; %s", a->to, a->object, a->cause,
			a->remedy);
}

int peer_await(struct peer *p, unsigned type)
{
	union {
		struct ctl_header head;
		struct ctl_end end;
		struct ctl_running running;
		struct ctl_answer answer;
		char bytes[4096];
	} m;

	for (;;) {
		struct pollfd ready = {.fd = p->sock, .events = POLLIN};
		int fd = -1;
		unsigned n_fds = 1;
		ssize_t n;

		if (poll(&ready, 1, PATIENCE_MS) != 1)
			die("the VMM says nothing for %d s", PATIENCE_MS / 1000);
		n = fd_receive_message(p->sock, &m, sizeof(m), &fd, &n_fds);
		if (n <= 0)
			die("the VMM ended without a word (it waits for message %u)", type);
		if (m.head.type == CTL_END)
			check_end(&m.end);
		if (m.head.type == CTL_RUNNING)
			memcpy(p->timing_us, m.running.timing_us, sizeof(p->timing_us));
		if (m.head.type == CTL_ANSWER) {
			check_answer(&m.answer);
			memcpy(p->value, m.answer.value, sizeof(p->value));
		}
		if (m.head.type == type)
			return n_fds ? fd : -1;
		if (n_fds)
			close(fd);
		if (m.head.type == CTL_END)
			die("the VM ended early (reason %u)", m.end.reason);
	}
}

/* ---- requests to a running VMM */

static int open_pagemap(const struct peer *p)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)p->pid);
	return peer_open(path, O_RDONLY);
}

void peer_snapshot(struct peer *p, int state_fd, int memory_fd)
{
	struct ctl_snapshot m = {.header = {CTL_VERSION, CTL_SNAPSHOT, sizeof(m)}};
	int fds[] = {state_fd, memory_fd, open_pagemap(p)};

	must(fd_send_message(p->sock, &m, sizeof(m), fds, ARRAY_LEN(fds)), "ask for a snapshot");
	(void)peer_await(p, CTL_ANSWER);
	close(fds[2]);
}

uint64_t peer_pages_written(struct peer *p)
{
	struct ctl_pages m = {.header = {CTL_VERSION, CTL_PAGES, sizeof(m)}};
	int fds[] = {open_pagemap(p), peer_fd(memfd_create("written", MFD_CLOEXEC), "page set"),
		peer_fd(memfd_create("read", MFD_CLOEXEC), "page set")};

	must(fd_send_message(p->sock, &m, sizeof(m), fds, ARRAY_LEN(fds)), "ask for the pages");
	(void)peer_await(p, CTL_ANSWER);
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	return p->value[CTL_V_PAGES_WRITTEN];
}

void peer_roll_back(struct peer *p)
{
	struct ctl_header m = {CTL_VERSION, CTL_ROLLBACK, sizeof(m)};

	int pagemap = open_pagemap(p);

	must(fd_send_message(p->sock, &m, sizeof(m), &pagemap, 1), "ask for a rollback");
	(void)peer_await(p, CTL_ANSWER);
	close(pagemap);
}
