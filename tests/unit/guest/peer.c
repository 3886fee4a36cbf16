// SPDX-License-Identifier: Apache-2.0
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "guest/agent.h"
#include "guest/identity.h"
#include "machine.h"
#include "proto/frame.h"

enum { OUTPUT_MAX = 64 << 20 };

/* ---- the agent's process ------------------------------------------------------------------ */

static NORETURN void run_agent(const struct peer *p, int listen_fd, int event_fd)
{
	struct machine m;
	struct agent_config config = {
		.listen_fd = listen_fd,
		.event_fd = event_fd,
		.freeze_timeout_ms = PEER_FREEZE_MS,
		.etc = p->dir,
		.clone_dir = p->dir,
	};
	struct rlimit files;
	struct agent *a;
	struct err e = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	machine_open(&m, p, &config);
	(void)!identity_loopback_up(NULL); /* of the network namespace */
	if (agent_new(&config, &a, &e) < 0 || agent_run(a, &e) < 0) {
		fprintf(stderr, "agent: %s\n", e.cause);
		exit(2);
	}
	agent_free(a);
	machine_close(&m);
	exit(m.status);
}

static int listen_unix(const struct peer *p, bool is_events)
{
	struct sockaddr_un addr;
	int fd = machine_socket(p, is_events, &addr);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 600), 0);
	return fd;
}

static void map_self(pid_t pid, const char *file, unsigned id)
{
	char path[64], text[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	snprintf(text, sizeof(text), "%u %u 1", id, id);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	if (!strcmp(file, "setgroups"))
		snprintf(text, sizeof(text), "deny");
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* fork, into a PID namespace if possible. The child of a user namespace waits until it is mapped.
 */
static pid_t fork_first(bool *is_first)
{
	int gate[2];
	char byte;
	pid_t pid;

	fflush(NULL);
	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	pid = (pid_t)syscall(SYS_clone,
		SIGCHLD | CLONE_NEWPID | CLONE_NEWNET | (geteuid() ? CLONE_NEWUSER : 0), NULL, NULL,
		NULL, NULL);
	*is_first = pid >= 0;
	if (pid < 0) {
		pid = fork();
		if (pid == 0)
			prctl(PR_SET_CHILD_SUBREAPER, 1);
	} else if (pid > 0 && geteuid()) {
		map_self(pid, "uid_map", geteuid());
		map_self(pid, "setgroups", 0);
		map_self(pid, "gid_map", getegid());
	}
	if (pid == 0) {
		close(gate[1]);
		if (read(gate[0], &byte, 1) != 0)
			_exit(4);
	}
	close(gate[0]);
	close(gate[1]);
	return pid;
}

/* No test waits for ever. */
static void be_patient(int fd)
{
	struct timeval patience = {.tv_sec = PEER_TIMEOUT_S};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

static int start(struct peer *p)
{
	static int count;
	struct peer_frame *f = malloc(sizeof(*f));
	int events[2], listen_fd;

	assert_non_null(f);
	snprintf(p->address, sizeof(p->address), "agent-test-%d-%d", getpid(), count++);
	snprintf(p->dir, sizeof(p->dir), "/tmp/agent-test-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	assert_int_equal(chmod(p->dir, 0777), 0);
	listen_fd = listen_unix(p, false);
	p->event_listen_fd = listen_unix(p, true);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, events), 0);
	assert_int_equal(fd_set_nonblocking(events[1], true), 0);
	p->pid = fork_first(&p->is_first);
	assert_true(p->pid >= 0);
	if (p->pid == 0) {
		close(events[0]);
		close(p->event_listen_fd);
		free(f);
		run_agent(p, listen_fd, events[1]);
	}
	close(listen_fd);
	close(events[1]);
	p->event_fd = events[0];
	be_patient(p->event_fd);
	peer_expect(p->event_fd, AGENT_HELLO, f);
	peer_expect(p->event_fd, AGENT_READY, f);
	free(f);
	return 0;
}

int peer_set_up(void **state)
{
	struct peer *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	*state = p;
	return start(p);
}

int peer_set_up_group(void **state)
{
	/* where cgroup2 is mounted alone, and where beside version 1 */
	static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	struct peer *p = calloc(1, sizeof(*p));
	struct statfs fs;

	assert_non_null(p);
	for (size_t i = 0; i < ARRAY_LEN(mounts) && !p->has_group; i++) {
		snprintf(p->group, sizeof(p->group), "%s/agent-test-%d", mounts[i], getpid());
		p->has_group = !statfs(mounts[i], &fs) && fs.f_type == CGROUP2_SUPER_MAGIC &&
			       (!mkdir(p->group, 0755) || errno == EEXIST);
	}
	*state = p;
	return start(p);
}

static void remove_group(const struct peer *p)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/workload/commands", p->group);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/workload", p->group);
	/* What was killed may still be on its way. */
	for (int i = 0; i < 200 && rmdir(path) < 0 && errno == EBUSY; i++)
		usleep(10000);
	assert_int_equal(rmdir(p->group), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

int peer_wait(struct peer *p)
{
	int status;

	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	p->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int peer_tear_down(void **state)
{
	struct peer *p = *state;

	if (p->event_fd >= 0)
		close(p->event_fd);
	if (p->pid > 0) {
		/* It must have survived whatever the test did. */
		struct agent_shutdown s = {0};
		int fd = peer_greet(p);

		peer_send(fd, AGENT_SHUTDOWN, &s, sizeof(s));
		assert_int_equal(peer_wait(p), PEER_POWERED_OFF);
		close(fd);
	}
	close(p->event_listen_fd);
	if (p->has_group)
		remove_group(p);
	nftw(p->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

void peer_expect_events(struct peer *p)
{
	struct peer_frame *f = malloc(sizeof(*f));
	struct pollfd ready = {.fd = p->event_listen_fd, .events = POLLIN};

	assert_non_null(f);
	assert_int_equal(poll(&ready, 1, PEER_TIMEOUT_S * 1000), 1);
	if (p->event_fd >= 0)
		close(p->event_fd);
	p->event_fd = accept4(p->event_listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(p->event_fd >= 0);
	be_patient(p->event_fd);
	peer_expect(p->event_fd, AGENT_HELLO, f);
	peer_expect(p->event_fd, AGENT_READY, f);
	free(f);
}

void peer_switch(const struct peer *p, const char *name, bool want_on)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	if (!want_on) {
		assert_int_equal(unlink(path), 0);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
}

void peer_expect_world(const struct peer *p, const char *text)
{
	char path[160];
	autobuf struct buf b;
	autoclose int fd = -1;

	snprintf(path, sizeof(path), "%s/world", p->dir);
	buf_init(&b, 65536);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		assert_int_equal(buf_read_fd(&b, fd), 0);
	assert_non_null(buf_cstr(&b));
	assert_string_equal((char *)b.data, text);
	(void)unlink(path);
}

/* ---- frames ------------------------------------------------------------------------------- */

int peer_connect(const struct peer *p)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "%s", p->address);
	be_patient(fd);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

int peer_greet(const struct peer *p)
{
	struct agent_hello hello = {.version = AGENT_VERSION};
	struct peer_frame *f = malloc(sizeof(*f));
	int fd = peer_connect(p);

	assert_non_null(f);
	peer_send(fd, AGENT_HELLO, &hello, sizeof(hello));
	peer_expect(fd, AGENT_HELLO, f);
	assert_int_equal(f->bytes, sizeof(hello));
	memcpy(&hello, f->data, sizeof(hello));
	assert_int_equal(hello.version, AGENT_VERSION);
	free(f);
	return fd;
}

void peer_send_raw(int fd, const void *data, size_t bytes)
{
	const uint8_t *at = data;

	while (bytes) {
		ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fail_msg("send to the agent: %s", strerror(errno));
		at += n;
		bytes -= (size_t)n;
	}
}

void peer_send(int fd, uint16_t type, const void *payload, size_t bytes)
{
	struct agent_frame head;

	frame_head(&head, type, (uint32_t)bytes);
	peer_send_raw(fd, &head, sizeof(head));
	peer_send_raw(fd, payload, bytes);
}

void peer_send_u32(int fd, uint16_t type, uint32_t value)
{
	struct agent_u32 v = {value};

	peer_send(fd, type, &v, sizeof(v));
}

bool peer_receive(int fd, struct peer_frame *f)
{
	struct agent_frame head;
	int r = fd_read_full(fd, &head, sizeof(head));

	if (r == -ENODATA || r == -ECONNRESET)
		return false;
	if (r < 0)
		fail_msg("no frame from the agent: %s", strerror(-r));
	assert_true(frame_limit(head.type) >= (int64_t)head.bytes);
	assert_true(head.bytes <= sizeof(f->data));
	f->type = head.type;
	f->bytes = head.bytes;
	assert_int_equal(fd_read_full(fd, f->data, head.bytes), 0);
	return true;
}

void peer_expect(int fd, uint16_t type, struct peer_frame *f)
{
	if (!peer_receive(fd, f))
		fail_msg("end of stream instead of frame %d", type);
	if (f->type == AGENT_FAILED && type != AGENT_FAILED)
		fail_msg("refused: %s", ((struct agent_failed *)f->data)->cause);
	assert_int_equal(f->type, type);
}

void peer_expect_end(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

void peer_expect_failed(int fd, int code, int stage, const char *cause_part)
{
	struct peer_frame *f = malloc(sizeof(*f));
	struct agent_failed failed;

	assert_non_null(f);
	do
		assert_true(peer_receive(fd, f));
	while (f->type != AGENT_FAILED);
	assert_int_equal(f->bytes, sizeof(failed));
	memcpy(&failed, f->data, sizeof(failed));
	assert_non_null(memchr(failed.cause, '\0', sizeof(failed.cause)));
	if (failed.code != code || failed.stage != (uint32_t)stage ||
		!strstr(failed.cause, cause_part))
		fail_msg("wanted code %d stage %d \"%s\", got code %d stage %u \"%s\"", code, stage,
			cause_part, failed.code, failed.stage, failed.cause);
	peer_expect_end(fd);
	close(fd);
	free(f);
}

/* ---- commands ----------------------------------------------------------------------------- */

void peer_put_field(struct buf *b, uint16_t tag, const void *data, size_t bytes)
{
	struct agent_field f = {.bytes = (uint32_t)bytes, .tag = tag};

	assert_int_equal(buf_append(b, &f, sizeof(f)), 0);
	assert_int_equal(buf_append(b, data, bytes), 0);
}

static void put_text(struct buf *b, uint16_t tag, const char *s)
{
	peer_put_field(b, tag, s, strlen(s));
}

void peer_put_command(struct buf *b, const struct peer_command *c)
{
	static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
	const char *const *vars = c->env ? c->env : env;
	char self[32];

	snprintf(self, sizeof(self), "%u:%u", geteuid(), getegid());
	for (size_t i = 0; c->argv[i]; i++)
		put_text(b, AGENT_ARG, c->argv[i]);
	for (size_t i = 0; vars[i]; i++)
		put_text(b, AGENT_ENV, vars[i]);
	if (c->cwd)
		put_text(b, AGENT_CWD, c->cwd);
	put_text(b, AGENT_USER, c->user ? c->user : self);
	peer_put_field(b, AGENT_FLAGS, &c->flags, sizeof(c->flags));
}

void peer_request(int fd, const struct peer_command *c)
{
	autobuf struct buf b;

	buf_init(&b, AGENT_REQUEST_MAX);
	peer_put_command(&b, c);
	peer_send(fd, AGENT_EXEC, b.data, b.bytes);
}

int peer_start(const struct peer *p, const struct peer_command *c)
{
	struct peer_frame *f = malloc(sizeof(*f));
	int fd = peer_greet(p);

	assert_non_null(f);
	peer_request(fd, c);
	peer_expect(fd, AGENT_STARTED, f);
	free(f);
	return fd;
}

void peer_collect(int fd, struct peer_result *r)
{
	struct peer_frame *f = malloc(sizeof(*f));
	bool is_over = false;

	assert_non_null(f);
	*r = (struct peer_result){0};
	buf_init(&r->out, OUTPUT_MAX);
	buf_init(&r->err, OUTPUT_MAX);
	while (peer_receive(fd, f)) {
		assert_false(is_over);
		switch (f->type) {
		case AGENT_STARTED:
			memcpy(&r->pid, f->data, sizeof(r->pid));
			break;
		case AGENT_STDOUT:
			assert_int_equal(buf_append(&r->out, f->data, f->bytes), 0);
			break;
		case AGENT_STDERR:
			assert_int_equal(buf_append(&r->err, f->data, f->bytes), 0);
			break;
		case AGENT_STDIN_TAKEN:
			break;
		case AGENT_FAILED:
			memcpy(&r->failed, f->data, sizeof(r->failed));
			r->is_failed = is_over = true;
			break;
		default:
			assert_int_equal(f->type, AGENT_EXIT);
			memcpy(&r->exit, f->data, sizeof(r->exit));
			is_over = true;
		}
	}
	assert_true(is_over);
	assert_non_null(buf_cstr(&r->out));
	assert_non_null(buf_cstr(&r->err));
	close(fd);
	free(f);
}

void peer_run(const struct peer *p, const struct peer_command *c, struct peer_result *r)
{
	int fd = peer_greet(p);

	peer_request(fd, c);
	peer_collect(fd, r);
}

void peer_result_fini(struct peer_result *r)
{
	buf_fini(&r->out);
	buf_fini(&r->err);
}

void peer_expect_shell(const struct peer *p, const char *script, int status, const char *out)
{
	struct peer_command c = {
		.argv = (const char *const[]){"sh", "-c", script, NULL}, .flags = PEER_OUTPUT};
	struct peer_result r;

	peer_run(p, &c, &r);
	if (r.is_failed)
		fail_msg("refused: %s", r.failed.cause);
	assert_string_equal((char *)r.out.data, out);
	assert_int_equal(r.exit.status, status);
	peer_result_fini(&r);
}
