// SPDX-License-Identifier: Apache-2.0
#include "qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

enum {
	PATIENCE_MS = 60000,
};

/* QEMU's machine protocol: JSON objects, one a line; docs/interop/qmp-spec.txt. */
#define GREETING "{\"execute\":\"qmp_capabilities\"}\n"
#define IGNORE_SHARED                                                                              \
	"{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":["              \
	"{\"capability\":\"x-ignore-shared\",\"state\":true},"                                     \
	"{\"capability\":\"events\",\"state\":true}]}}\n"
#define TAKE_FD	  "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"state\"}}\n"
#define STATE_URI "\"arguments\":{\"uri\":\"fd:state\"}}\n"

_Static_assert(QEMU_RAM_FD == 5 && QEMU_MONITOR_FD == 4, "as in the options");

void qemu_template_init(struct qemu_template *t, const char *directory)
{
	t->ram_fd = peer_temporary(directory);
	t->state_fd = peer_temporary(directory);
	if (ftruncate(t->ram_fd, (off_t)t->ram_mib << 20) < 0)
		die("QEMU's RAM file: %s", strerror(errno));
}

static void say(const struct qemu *q, const char *words)
{
	must(fd_write_full(q->monitor, words, strlen(words)), "speak to QEMU");
}

/* Hands QEMU the state's file. It is read from its beginning: a descriptor of its own, or all would
 * share an offset. */
static void give_state(const struct qemu *q, int fd)
{
	char path[32];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = peer_open(path, O_RDWR);
	must(fd_send_message(q->monitor, TAKE_FD, strlen(TAKE_FD), &again, 1), "speak to QEMU");
	close(again);
}

/* Takes the next line out of what QEMU says. */
static void hear(struct qemu *q, char line[sizeof(q->heard)])
{
	struct pollfd ready = {.fd = q->monitor, .events = POLLIN};
	char *end;
	ssize_t n;

	while (!(end = memchr(q->heard, '\n', q->n_heard))) {
		if (q->n_heard == sizeof(q->heard) || poll(&ready, 1, PATIENCE_MS) != 1)
			die("QEMU's monitor falls silent");
		n = read(q->monitor, q->heard + q->n_heard, sizeof(q->heard) - q->n_heard);
		if (n <= 0)
			die("QEMU has ended");
		q->n_heard += (size_t)n;
	}
	*end++ = '\0';
	memcpy(line, q->heard, (size_t)(end - q->heard));
	q->n_heard -= (size_t)(end - q->heard);
	memmove(q->heard, end, q->n_heard);
}

/* Waits until a migration, out or in, is over. */
static void await_migration(struct qemu *q)
{
	char line[sizeof(q->heard)];

	do {
		hear(q, line);
		if (strstr(line, "\"error\"") || strstr(line, "\"failed\""))
			die("QEMU refuses: %s", line);
	} while (!strstr(line, "\"completed\""));
}

static unsigned add_options(const char **argv, unsigned n, const char *const *options)
{
	for (unsigned i = 0; options[i]; i++) {
		if (n == QEMU_OPTIONS_MAX - 1)
			die("too many options for QEMU");
		argv[n++] = options[i];
	}
	argv[n] = NULL;
	return n;
}

void qemu_start(struct qemu *q, const struct qemu_template *t, bool is_restored,
	const char *const *options, const int *fds, unsigned n_fds)
{
	char machine[512], ram[128], size[16];
	const char *own[] = {t->qemu, "-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", "-M", machine, "-cpu", "host,-arch-capabilities", "-m", size,
		"-object", ram, "-chardev", "socket,id=monitor,fd=4", "-mon",
		"chardev=monitor,mode=control", is_restored ? "-incoming" : NULL, "defer", NULL};
	const char *argv[QEMU_OPTIONS_MAX];
	int all[QEMU_FDS_MAX], pair[2];

	snprintf(machine, sizeof(machine), "%s,memory-backend=ram", t->machine);
	snprintf(size, sizeof(size), "%uM", t->ram_mib);
	snprintf(ram, sizeof(ram),
		"memory-backend-file,id=ram,size=%uM,mem-path=/dev/fd/5,share=%s", t->ram_mib,
		is_restored ? "off" : "on");
	add_options(argv, add_options(argv, 0, own), options);
	if (n_fds > QEMU_FDS_MAX - 2 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("QEMU's monitor: %s", strerror(errno));
	*q = (struct qemu){.monitor = peer_fd(pair[0], "monitor")};
	all[0] = peer_fd(pair[1], "monitor");
	all[1] = t->ram_fd;
	for (unsigned i = 0; i < n_fds; i++)
		all[2 + i] = fds[i];
	/* All it must be told lies ready before it asks, so that it waits for nobody. */
	say(q, GREETING IGNORE_SHARED);
	give_state(q, t->state_fd);
	if (is_restored)
		say(q, "{\"execute\":\"migrate-incoming\"," STATE_URI);
	peer_start(&q->peer, argv, all, 2 + n_fds);
	close(all[0]);
}

void qemu_save(struct qemu *q)
{
	say(q, "{\"execute\":\"migrate\"," STATE_URI);
	await_migration(q);
	qemu_kill(q);
}

void qemu_await_restored(struct qemu *q)
{
	await_migration(q);
}

void qemu_kill(struct qemu *q)
{
	peer_kill(&q->peer);
	close(q->monitor);
}
