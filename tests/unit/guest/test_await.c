// SPDX-License-Identifier: Apache-2.0
/* Waiting for listeners and files: told when it happens, not later, and not for ever. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "peer.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define LISTEN                                                                                     \
	"import socket,sys,time\n"                                                                 \
	"def on(a, p, f=socket.AF_INET):\n"                                                        \
	"    s = socket.socket(f); s.bind((a, p)); s.listen(); return s\n"

enum { MS = 1000000 };

static int ask(const struct peer *p, uint16_t tag, const void *data, size_t bytes)
{
	autobuf struct buf b;
	int fd = peer_greet(p);

	buf_init(&b, 8192);
	peer_put_field(&b, tag, data, bytes);
	peer_send(fd, AGENT_AWAIT, b.data, b.bytes);
	return fd;
}

static int ask_port(const struct peer *p, uint32_t port)
{
	return ask(p, AGENT_W_LISTEN, &port, sizeof(port));
}

static int ask_file(const struct peer *p, const char *path)
{
	return ask(p, AGENT_W_FILE, path, strlen(path));
}

static void expect_done(int fd)
{
	struct peer_frame *f = malloc(sizeof(*f));

	assert_non_null(f);
	peer_expect(fd, AGENT_DONE, f);
	peer_expect_end(fd);
	close(fd);
	free(f);
}

static void expect_listener(const struct peer *p, uint16_t port, int family, bool is_loopback)
{
	struct peer_frame *f = malloc(sizeof(*f));
	struct agent_listener m;

	assert_non_null(f);
	peer_expect(p->event_fd, AGENT_LISTENING, f);
	assert_int_equal(f->bytes, sizeof(m));
	memcpy(&m, f->data, sizeof(m));
	assert_int_equal(m.port, port);
	assert_int_equal(m.family, family);
	assert_int_equal(m.is_loopback, is_loopback);
	free(f);
}

static int start_python(const struct peer *p, const char *script)
{
	return peer_start(p, &(struct peer_command){.argv = ARGV("python3", "-c", script)});
}

static void need_network(const struct peer *p)
{
	if (p->is_first)
		return;
	print_message("skipped: no network namespace may be made here, and others may listen\n");
	skip();
}

static void port_is_awaited(void **state)
{
	struct peer *p = *state;
	int fd, exec;

	need_network(p);
	exec = start_python(p, LISTEN "time.sleep(0.1); a = on('', 1081); time.sleep(0.2)\n"
				      "b = on('', 8080); time.sleep(100)\n");
	fd = ask_port(p, 8080);
	expect_done(fd);
	expect_listener(p, 1081, 4, false);
	expect_listener(p, 8080, 4, false);
	/* It listens already. */
	expect_done(ask_port(p, 1081));
	close(exec);
}

/* How many listeners the host was told of by now, which must be these, in this order. */
static unsigned count_listeners(const struct peer *p)
{
	struct pollfd ready = {.fd = p->event_fd, .events = POLLIN};
	unsigned n = 0;

	for (; poll(&ready, 1, 0) == 1; n++)
		expect_listener(p, (uint16_t)(1080 + n), n == 2 ? 6 : 4, n != 0);
	return n;
}

/* When the program began to listen for the n-th time. */
static uint64_t moment_ns(const struct peer *p, unsigned n)
{
	char path[128], line[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/moments", p->dir);
	f = fopen(path, "re");
	assert_non_null(f);
	while (n--)
		assert_non_null(fgets(line, sizeof(line), f));
	fclose(f);
	return strtoull(line, NULL, 10);
}

/* On a busy machine the program may be late with the others: what was told must have been all for
 * a while, however many they are. */
static void any_port_is_awaited_until_all_are_there(void **state)
{
	struct peer *p = *state;
	char script[1024];
	unsigned n;
	int exec;

	need_network(p);
	snprintf(script, sizeof(script),
		LISTEN "f = open('%s/moments', 'w')\n"
		       "def note(): print(time.monotonic_ns(), file=f, flush=True)\n"
		       "note(); a = on('', 1080); time.sleep(0.03)\n"
		       "note(); b = on('127.0.0.1', 1081); time.sleep(0.03)\n"
		       "note(); c = on('::1', 1082, socket.AF_INET6); time.sleep(100)\n",
		p->dir);
	exec = start_python(p, script);
	expect_done(ask_port(p, 0));
	n = count_listeners(p);
	assert_true(n >= 1);
	assert_true(clock_now_ns() - moment_ns(p, n) >= 100 * (uint64_t)MS);
	close(exec);
}

static void end_of_the_command_ends_the_wait(void **state)
{
	struct peer *p = *state;
	char path[128];
	int fd, exec;

	need_network(p);
	fd = ask_port(p, 0);
	peer_expect_failed(fd, -ESRCH, AGENT_STAGE_AWAIT, "the command ended before it listened");
	exec = peer_start(p, &(struct peer_command){.argv = ARGV("sleep", "0.2")});
	fd = ask_port(p, 80);
	peer_expect_failed(fd, -ESRCH, AGENT_STAGE_AWAIT, "the command ended before it listened");
	close(exec);
	exec = peer_start(p, &(struct peer_command){.argv = ARGV("sleep", "0.2")});
	snprintf(path, sizeof(path), "%s/never", p->dir);
	fd = ask_file(p, path);
	peer_expect_failed(fd, -ESRCH, AGENT_STAGE_AWAIT, "ended before the file was there");
	close(exec);
}

/* A daemon goes into the background and listens later. */
static void daemons_are_waited_for(void **state)
{
	struct peer *p = *state;

	need_network(p);
	peer_expect_shell(p,
		"setsid python3 -c \"import socket, time; time.sleep(0.3); s = socket.socket(); "
		"s.bind(('', 1099)); s.listen(); time.sleep(100)\" >/dev/null 2>&1 & echo ok",
		0, "ok\n");
	expect_done(ask_port(p, 1099));
}

static void file_is_awaited(void **state)
{
	struct peer *p = *state;
	char path[128], script[400];
	uint64_t before;
	int exec, fd;

	snprintf(path, sizeof(path), "%s/a/b/c", p->dir);
	snprintf(script, sizeof(script),
		"sleep 0.1; cd %s; mkdir a; rmdir a; mkdir a; mkdir z; mkdir z/b; mv z/b a; "
		"sleep 0.1; mv a old; mkdir -p a/b; sleep 0.1; ln -s nowhere a/b/c; sleep 100",
		p->dir);
	exec = peer_start(p, &(struct peer_command){.argv = ARGV("sh", "-c", script)});
	fd = ask_file(p, path);
	expect_done(fd);
	before = clock_now_ns();
	expect_done(ask_file(p, "/etc/passwd"));
	assert_true(clock_now_ns() - before < 1000 * (uint64_t)MS);
	close(exec);
}

static void waiting_host_may_go(void **state)
{
	struct peer *p = *state;
	int exec = peer_start(p, &(struct peer_command){.argv = ARGV("sleep", "100")});

	close(ask_port(p, 7));
	close(ask_file(p, "/no/such/file"));
	peer_expect_shell(p, "echo fine", 0, "fine\n");
	close(exec);
}

static void nonsense_is_refused(void **state)
{
	struct peer *p = *state;
	uint32_t port = 65536;
	int fd = ask(p, AGENT_W_LISTEN, &port, sizeof(port));

	peer_expect_failed(fd, -EINVAL, AGENT_STAGE_AWAIT, "a port that is none");
	fd = ask_file(p, "relative");
	peer_expect_failed(fd, -EINVAL, AGENT_STAGE_AWAIT, "no absolute path");
	fd = ask(p, 9, &port, sizeof(port));
	peer_expect_failed(fd, -EINVAL, AGENT_STAGE_AWAIT, "event 9 is not known");
	fd = peer_greet(p);
	peer_send(fd, AGENT_FREEZE, NULL, 0);
	{
		struct peer_frame *f = malloc(sizeof(*f));
		int other;

		assert_non_null(f);
		peer_expect(fd, AGENT_DONE, f);
		other = ask_file(p, "/etc/passwd");
		peer_expect_failed(other, -EBUSY, AGENT_STAGE_AWAIT, "the workload is frozen");
		free(f);
	}
	close(fd);
}

/* A freeze in between delays the answer, and loses nothing. */
static void wait_goes_on_after_a_freeze(void **state)
{
	struct peer *p = *state;
	struct peer_frame *f = malloc(sizeof(*f));
	int exec = peer_start(p, &(struct peer_command){.argv = ARGV("sleep", "100")});
	char path[128];
	int fd, frozen = peer_greet(p);

	assert_non_null(f);
	snprintf(path, sizeof(path), "%s/flag", p->dir);
	fd = ask_file(p, path);
	peer_send(frozen, AGENT_FREEZE, NULL, 0);
	peer_expect(frozen, AGENT_DONE, f);
	peer_switch(p, "flag", true);
	peer_send(frozen, AGENT_THAW, NULL, 0);
	peer_expect(frozen, AGENT_DONE, f);
	expect_done(fd);
	close(frozen);
	close(exec);
	free(f);
}

#define TEST(f)	      cmocka_unit_test_setup_teardown(f, peer_set_up, peer_tear_down)
#define GROUP_TEST(f) cmocka_unit_test_setup_teardown(f, peer_set_up_group, peer_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(port_is_awaited),
		TEST(any_port_is_awaited_until_all_are_there),
		TEST(end_of_the_command_ends_the_wait),
		TEST(daemons_are_waited_for),
		TEST(file_is_awaited),
		TEST(waiting_host_may_go),
		TEST(nonsense_is_refused),
		TEST(wait_goes_on_after_a_freeze),
		/* With the kernel's word instead of a look now and then, where it may be had. */
		GROUP_TEST(port_is_awaited),
		GROUP_TEST(any_port_is_awaited_until_all_are_there),
		GROUP_TEST(end_of_the_command_ends_the_wait),
		GROUP_TEST(daemons_are_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
