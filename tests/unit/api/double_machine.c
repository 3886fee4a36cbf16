// SPDX-License-Identifier: Apache-2.0
#include "double_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/snapfile.h"
#include "base/sparse.h"
#include "proto/frame.h"

enum { EXIT_BROKEN = 9, PAGE_BYTES = 4096 };

struct machine_double machine;
static atomic_bool is_frozen;

static void need(int ok)
{
	if (!ok)
		_exit(EXIT_BROKEN);
}

static bool is_mode(const char *mode)
{
	return !strcmp(machine.mode, mode);
}

/* ---- state files ---------------------------------------------------------------------------- */

static void walk(struct snapio *io)
{
	snapio_bytes(io, "mode", machine.mode, sizeof(machine.mode));
	snapio_u64(io, "memory", &machine.memory_bytes);
}

static void read_state(int fd)
{
	static struct snapfile f;
	static uint8_t data[65536];
	struct snapio io;
	struct err e = {0};
	uint64_t memory_bytes = machine.memory_bytes;
	ssize_t n = pread(fd, data, sizeof(data), 0);

	need(n > 0 && snapfile_open(data, (size_t)n, &f, &e) == 0);
	need(snapfile_load(&f, "double", 1, &io, &e) == 0);
	walk(&io);
	need(snapio_end(&io, &e) == 0 && machine.memory_bytes == memory_bytes);
}

static void write_state(int fd)
{
	static struct snapfile_writer w;
	struct err e = {0};
	uint64_t bytes;

	snapfile_writer_init(&w);
	walk(snapfile_begin(&w, "double", 1));
	need(snapfile_end(&w, &e) == 0 && snapfile_write(&w, fd, &bytes, &e) == 0);
	snapfile_writer_fini(&w);
}

static void check_size(int fd, uint64_t bytes)
{
	struct stat st;

	need(fstat(fd, &st) == 0 && (uint64_t)st.st_size == bytes);
}

/* The order of proto/control.h, in reverse: what is at the end is found from there. */
void machine_take_config(const struct ctl_config *c, const int *fds, unsigned n)
{
	bool is_restore = c->flags & CTL_F_RESTORE, chain = c->flags & CTL_F_CHAIN;
	unsigned disk = c->flags & CTL_F_DISK ? 2 + chain : 0;
	unsigned first = 1 + c->n_initramfs;
	struct stat st;

	if (is_restore)
		first = 2u + chain + !!(c->flags & CTL_F_POPULATE);
	need(n == 2 + first + c->n_layers + c->n_volumes + disk);
	machine.memory_bytes = c->memory_bytes;
	machine.is_restored = is_restore;
	machine.has_disk = disk;
	if (disk) {
		unsigned at = 2 + first + c->n_layers + c->n_volumes;

		need(fstat(fds[at], &st) == 0 && st.st_size > 0);
		need((fcntl(fds[at], F_GETFL) & O_ACCMODE) == O_RDONLY);
		machine.disk_bytes = (uint64_t)st.st_size;
		need((fcntl(fds[at + 1], F_GETFL) & O_ACCMODE) == O_RDWR);
		check_size(fds[at + 1], 0);
	}
	if (!is_restore)
		return;
	need(c->n_initramfs == 0 && c->cmdline_bytes == 0 && c->boot_archive_bytes == 0);
	check_size(fds[3], c->memory_bytes);
	read_state(fds[2]);
	if (chain)
		check_size(fds[4], PAGE_BYTES);
	atomic_store(&is_frozen, true);
	machine.say(c->flags & CTL_F_POPULATE ? "populated\n" : chain ? "chained\n" : "restored\n");
}

/* ---- requests of the library ---------------------------------------------------------------- */

static void answer(struct ctl_answer *a, uint16_t to)
{
	a->header = (struct ctl_header){CTL_VERSION, CTL_ANSWER, sizeof(*a)};
	a->to = to;
	need(fd_send_message(3, a, sizeof(*a), NULL, 0) == 0);
}

static void write_sparse(
	int fd, uint64_t bytes, bool is_diff, uint64_t *ret_bytes, uint64_t *ret_checksum)
{
	struct sparse_writer w;
	char page[PAGE_BYTES];

	memset(page, 'x', sizeof(page));
	sparse_begin(&w, fd);
	need(sparse_write(&w, 0, page, sizeof(page)) == 0);
	if (!is_diff) {
		page[5]++;
		need(sparse_write(&w, bytes / 2, page, sizeof(page)) == 0);
	}
	need(sparse_end(&w, is_diff ? sizeof(page) : bytes) == 0);
	*ret_bytes = w.data_bytes;
	*ret_checksum = w.checksum;
}

static void save(uint32_t flags, const int *fds, unsigned n)
{
	struct ctl_answer a = {.code = 0};
	bool is_diff = flags & CTL_S_DIFF;
	char probe[8];

	need(n == 3u + machine.has_disk && atomic_load(&is_frozen));
	need(pread(fds[2], probe, sizeof(probe), 0) == sizeof(probe)); /* our own page map */
	write_state(fds[0]);
	if (is_mode("die-saving"))
		raise(SIGKILL);
	write_sparse(fds[1], machine.memory_bytes, is_diff, &a.value[CTL_V_SNAPSHOT_MEMORY_BYTES],
		&a.value[CTL_V_SNAPSHOT_MEMORY_CHECKSUM]);
	if (machine.has_disk)
		write_sparse(fds[3], machine.disk_bytes, is_diff,
			&a.value[CTL_V_SNAPSHOT_DISK_BYTES],
			&a.value[CTL_V_SNAPSHOT_DISK_CHECKSUM]);
	a.value[CTL_V_SNAPSHOT_PAUSE_US] = 1234;
	a.value[CTL_V_SNAPSHOT_WALL_NS] = 1700000000000000000u;
	if (is_mode("full")) {
		a.code = -ENOSPC;
		strcpy(a.object, "memory");
		strcpy(a.cause, "cannot write it: No space left on device");
	}
	if (is_mode("impossible-answer"))
		answer(&a, CTL_ROLLBACK);
	answer(&a, CTL_SNAPSHOT);
}

static void roll_back(void)
{
	struct ctl_answer a = {.code = 0, .value = {77}};

	need(machine.is_restored);
	machine.cut();
	atomic_store(&is_frozen, true);
	answer(&a, CTL_ROLLBACK);
}

static void list_pages(const int *fds, unsigned n)
{
	const uint64_t run[2] = {0, PAGE_BYTES};
	struct ctl_answer a = {.value = {1, 1}};

	need(n == 3 && machine.is_restored);
	need(write(fds[1], run, sizeof(run)) == sizeof(run));
	need(write(fds[2], run, sizeof(run)) == sizeof(run));
	answer(&a, CTL_PAGES);
}

void machine_request(uint16_t type, uint32_t flags, const int *fds, unsigned n)
{
	if (type == CTL_SNAPSHOT)
		save(flags, fds, n);
	else if (type == CTL_ROLLBACK)
		roll_back();
	else
		list_pages(fds, n);
	while (n)
		close(fds[--n]);
}

/* ---- requests to the agent ------------------------------------------------------------------ */

static void put(int fd, uint16_t type, const void *payload, size_t bytes)
{
	struct agent_frame f;

	frame_head(&f, type, (uint32_t)bytes);
	(void)!send(fd, &f, sizeof(f), MSG_NOSIGNAL);
	if (bytes)
		(void)!send(fd, payload, bytes, MSG_NOSIGNAL);
}

static void put_hello(int fd)
{
	const struct agent_hello hello = {.version = AGENT_VERSION};

	put(fd, AGENT_HELLO, &hello, sizeof(hello));
}

static void refuse(int fd, int code, uint32_t stage, const char *cause)
{
	struct agent_failed m = {.code = code, .stage = stage};

	snprintf(m.cause, sizeof(m.cause), "%s", cause);
	put(fd, AGENT_FAILED, &m, sizeof(m));
}

static void freeze(int fd)
{
	struct agent_frame f;

	if (is_mode("no-freezer")) {
		refuse(fd, -ENOTSUP, AGENT_STAGE_FREEZE, "no cgroup freezer");
		return;
	}
	atomic_store(&is_frozen, true);
	put(fd, AGENT_DONE, NULL, 0);
	if (fd_read_full(fd, &f, sizeof(f)) == 0 && f.type == AGENT_THAW) {
		atomic_store(&is_frozen, false);
		machine.say("thawed\n");
		put(fd, AGENT_DONE, NULL, 0);
		return;
	}
	atomic_store(&is_frozen, false);
}

/* Tells on the console what was asked for, and checks what must be there. */
static void note_resume(const uint8_t *at, size_t bytes)
{
	const uint8_t *end = at + bytes, *data;
	char line[512] = "resumed", *p = line + strlen(line);
	struct agent_clone clone;
	struct agent_field f;
	unsigned seen = 0;

	while (frame_next_field(&at, end, &f, &data) > 0) {
		seen |= 1u << f.tag;
		need(f.tag != AGENT_R_ENTROPY || f.bytes >= 32);
		need(f.tag != AGENT_R_MACHINE_ID || f.bytes == 32);
		need(f.tag != AGENT_R_CLOCK || f.bytes == sizeof(struct agent_clock));
		if (f.tag == AGENT_R_HOSTNAME || f.tag == AGENT_R_ENV)
			p += sprintf(p, " %.*s", (int)f.bytes, (const char *)data);
		if (f.tag == AGENT_R_CLONE) {
			memcpy(&clone, data, sizeof(clone));
			p += sprintf(p, " %u/%u", clone.index, clone.count);
		}
	}
	need((seen & 0x1e) == 0x1e);
	sprintf(p, "\n");
	machine.say(line);
}

static void resume(int fd, const uint8_t *payload, size_t bytes)
{
	struct agent_resumed m = {.did = AGENT_DID_ALL, .n_execs = 1, .took_us = 42};

	if (!atomic_load(&is_frozen)) {
		refuse(fd, -EINVAL, AGENT_STAGE_RESUME, "not frozen");
		return;
	}
	note_resume(payload, bytes);
	if (is_mode("resume-dies"))
		raise(SIGKILL);
	if (is_mode("resume-silent"))
		pause();
	if (is_mode("resume-fails")) {
		refuse(fd, -EIO, AGENT_STAGE_RESUME, "reseeding: it said no");
		return;
	}
	if (is_mode("no-reseed"))
		m.did &= ~(uint32_t)AGENT_DID_RESEED;
	if (is_mode("no-clock"))
		m.did &= ~(uint32_t)AGENT_DID_CLOCK;
	machine.connect_event();
	atomic_store(&is_frozen, false);
	put(fd, AGENT_RESUMED, &m, sizeof(m));
}

static void await(int fd, const uint8_t *payload, size_t bytes)
{
	const uint8_t *at = payload, *data;
	struct agent_field f;
	char path[256] = "";

	need(frame_next_field(&at, payload + bytes, &f, &data) > 0);
	if (f.tag == AGENT_W_FILE) {
		need(f.bytes < sizeof(path));
		memcpy(path, data, f.bytes);
		while (access(path, F_OK) < 0)
			usleep(10000);
	}
	if (is_mode("never-listens"))
		pause();
	put(fd, AGENT_DONE, NULL, 0);
}

static void attach(int fd)
{
	const struct agent_u32 pid = {.value = 77};
	const struct agent_exit end = {.status = 3};

	if (!machine.is_restored && !is_mode("full")) {
		refuse(fd, -ENOENT, AGENT_STAGE_REQUEST, "no detached command");
		return;
	}
	put(fd, AGENT_STARTED, &pid, sizeof(pid));
	put(fd, AGENT_STDOUT, "attached\n", 9);
	put(fd, AGENT_EXIT, &end, sizeof(end));
}

static void serve_one(int fd, uint16_t type, const uint8_t *payload, size_t bytes)
{
	char drain;

	put_hello(fd);
	if (type == AGENT_FREEZE)
		freeze(fd);
	else if (type == AGENT_RESUME)
		resume(fd, payload, bytes);
	else if (type == AGENT_AWAIT)
		await(fd, payload, bytes);
	else
		attach(fd);
	/* Until the other side has read it. */
	shutdown(fd, SHUT_WR);
	(void)!read(fd, &drain, 1);
	close(fd);
}

bool machine_serve(int fd, char *data, size_t room, size_t *ret_bytes)
{
	const size_t hello = sizeof(struct agent_frame) + sizeof(struct agent_hello);
	struct agent_frame f;

	*ret_bytes = 0;
	if (fd_read_full(fd, data, hello + sizeof(f)) < 0)
		return false;
	memcpy(&f, data + hello, sizeof(f));
	*ret_bytes = hello + sizeof(f);
	if (f.type != AGENT_FREEZE && f.type != AGENT_RESUME && f.type != AGENT_AWAIT &&
		f.type != AGENT_ATTACH)
		return false;
	need(*ret_bytes + f.bytes <= room);
	need(fd_read_full(fd, data + *ret_bytes, f.bytes) == 0);
	serve_one(fd, f.type, (uint8_t *)data + *ret_bytes, f.bytes);
	return true;
}
