// SPDX-License-Identifier: Apache-2.0
/* The step after a restore: everything in its order, nothing thawed when a part of it fails, and
 * commands that go on under a new connection. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "peer.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define ID	  "0123456789abcdef0123456789abcdef"

static void put_text(struct buf *b, uint16_t tag, const char *s)
{
	peer_put_field(b, tag, s, strlen(s));
}

static void put_required(struct buf *b)
{
	static const uint8_t entropy[64] = {0xab};
	static const struct agent_clock clock = {.seconds = 2000000000};

	buf_init(b, AGENT_FRAME_MAX);
	peer_put_field(b, AGENT_R_ENTROPY, entropy, sizeof(entropy));
	peer_put_field(b, AGENT_R_CLOCK, &clock, sizeof(clock));
}

static int freeze(const struct peer *p)
{
	struct peer_frame *f = malloc(sizeof(*f));
	int fd = peer_greet(p);

	assert_non_null(f);
	peer_send(fd, AGENT_FREEZE, NULL, 0);
	peer_expect(fd, AGENT_DONE, f);
	free(f);
	return fd;
}

/* What a restore does to connections. */
static void lose_all(struct peer *p, int freeze_fd)
{
	close(freeze_fd);
	close(p->event_fd);
	p->event_fd = -1;
}

/* Sends what is in b, which is used up. Returns the connection. */
static int ask(const struct peer *p, struct buf *b)
{
	int fd = peer_greet(p);

	peer_send(fd, AGENT_RESUME, b->data, b->bytes);
	buf_fini(b);
	return fd;
}

static void expect_resumed(struct peer *p, int fd, uint32_t n_execs)
{
	struct peer_frame *f = malloc(sizeof(*f));
	struct agent_resumed m;

	assert_non_null(f);
	peer_expect(fd, AGENT_RESUMED, f);
	assert_int_equal(f->bytes, sizeof(m));
	memcpy(&m, f->data, sizeof(m));
	assert_int_equal(m.did, AGENT_DID_ALL);
	assert_int_equal(m.n_execs, n_execs);
	assert_true(m.took_us < 5000000);
	peer_expect_end(fd);
	close(fd);
	free(f);
	peer_expect_events(p);
}

static void resume(struct peer *p, uint32_t n_execs)
{
	struct buf b;

	put_required(&b);
	expect_resumed(p, ask(p, &b), n_execs);
}

static void write_file(const struct peer *p, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	f = fopen(path, "we");
	assert_true(f && fputs(text, f) >= 0 && !fclose(f));
}

static void expect_file(const struct peer *p, const char *name, const char *text)
{
	char path[128], got[4096] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	f = fopen(path, "re");
	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
	fclose(f);
	assert_string_equal(got, text);
}

static bool has_file(const struct peer *p, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	return !access(path, F_OK);
}

static void steps_come_in_their_order(void **state)
{
	struct agent_clone clone = {.index = 2, .count = 3};
	struct peer *p = *state;
	struct utsname was;
	char hosts[256];
	struct buf b;

	uname(&was);
	snprintf(hosts, sizeof(hosts), "1.2.3.4\tdb\n127.0.1.1\t%s\n5.6.7.8\tweb\n", was.nodename);
	write_file(p, "hosts", hosts);
	write_file(p, "machine-id", "ffffffffffffffffffffffffffffffff\n");
	lose_all(p, freeze(p));
	put_required(&b);
	put_text(&b, AGENT_R_HOSTNAME, "clone-3");
	put_text(&b, AGENT_R_MACHINE_ID, ID);
	peer_put_field(&b, AGENT_R_CLONE, &clone, sizeof(clone));
	put_text(&b, AGENT_R_ENV, "COLOUR=red");
	put_text(&b, AGENT_R_ENV, "SHAPE=round");
	expect_resumed(p, ask(p, &b), 0);
	peer_expect_world(
		p, "freeze\nevents\nreseed 64 ab\nclock 2000000000\nhostname clone-3\nthaw\n");
	expect_file(p, "hostname", "clone-3\n");
	expect_file(p, "hosts", "1.2.3.4\tdb\n127.0.1.1\tclone-3\n5.6.7.8\tweb\n");
	expect_file(p, "machine-id", ID "\n");
	expect_file(p, "clone", "index 2\ncount 3\nid " ID "\n");
	expect_file(p, "env", "COLOUR=red\nSHAPE=round\n");
	peer_expect_shell(p, "echo $SUPERMACHINE_CLONE_INDEX $SUPERMACHINE_CLONE_COUNT $COLOUR", 0,
		"2 3 red\n");
}

static void nothing_is_done_that_is_not_asked_for(void **state)
{
	struct peer *p = *state;
	struct utsname was;
	char text[64], id[2][128];
	struct buf b;

	uname(&was);
	write_file(p, "machine-id", "");
	for (int i = 0; i < 2; i++) {
		char path[128];
		FILE *f;

		lose_all(p, freeze(p));
		put_required(&b);
		put_text(&b, AGENT_R_HOSTNAME, was.nodename);
		put_text(&b, AGENT_R_MACHINE_ID, ID);
		if (i) { /* without it the identity is random */
			buf_fini(&b);
			put_required(&b);
		}
		expect_resumed(p, ask(p, &b), 0);
		peer_expect_world(p, "freeze\nevents\nreseed 64 ab\nclock 2000000000\nthaw\n");
		assert_false(has_file(p, "hostname"));
		assert_false(has_file(p, "env"));
		expect_file(p, "machine-id", "");
		snprintf(path, sizeof(path), "%s/clone", p->dir);
		f = fopen(path, "re");
		assert_non_null(f);
		assert_non_null(fgets(text, sizeof(text), f));
		assert_string_equal(text, "index 0\n");
		assert_non_null(fgets(text, sizeof(text), f));
		assert_string_equal(text, "count 1\n");
		assert_non_null(fgets(id[i], sizeof(id[i]), f));
		assert_int_equal(strlen(id[i]), 3 + 32 + 1);
		fclose(f);
	}
	assert_string_not_equal(id[0], id[1]);
	peer_expect_shell(p, "echo \"<$SUPERMACHINE_CLONE_INDEX>\"", 0, "<>\n");
}

/* A file that another restore wrote must not outlive it. */
static void old_variables_are_forgotten(void **state)
{
	struct peer *p = *state;
	struct buf b;

	lose_all(p, freeze(p));
	put_required(&b);
	put_text(&b, AGENT_R_ENV, "COLOUR=red");
	expect_resumed(p, ask(p, &b), 0);
	expect_file(p, "env", "COLOUR=red\n");
	lose_all(p, freeze(p));
	resume(p, 0);
	expect_file(p, "env", "");
	peer_expect_shell(p, "echo \"<$COLOUR>\"", 0, "<>\n");
}

static void failures_leave_it_frozen(void **state)
{
	static const struct {
		const char *knob;
		const char *cause;
		const char *world;
	} cases[] = {
		{"fail-events", "cannot reach the host", "events\n"},
		{"fail-reseed", "new beginning for its random numbers: Input/output error",
			"events\nreseed 64 ab\n"},
		{"fail-clock", "wall clock cannot be set: Input/output",
			"events\nreseed 64 ab\nclock 2000000000\n"},
		{"fail-hostname", "cannot become the host name: Input/output",
			"events\nreseed 64 ab\nclock 2000000000\nhostname x\n"},
		{"fail-thaw", "does not thaw the workload: Input/output",
			"events\nreseed 64 ab\nclock 2000000000\nhostname x\nthaw\n"},
	};
	struct peer *p = *state;
	struct buf b;

	lose_all(p, freeze(p));
	peer_expect_world(p, "freeze\n");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int code = i ? -EIO : -ECONNREFUSED, fd;

		peer_switch(p, cases[i].knob, true);
		put_required(&b);
		put_text(&b, AGENT_R_HOSTNAME, "x");
		fd = ask(p, &b);
		peer_expect_failed(fd, code, AGENT_STAGE_RESUME, cases[i].cause);
		peer_expect_world(p, cases[i].world);
		peer_switch(p, cases[i].knob, false);
		fd = peer_greet(p);
		peer_request(fd, &(struct peer_command){.argv = ARGV("true")});
		peer_expect_failed(fd, -EBUSY, AGENT_STAGE_SPAWN, "the workload is frozen");
	}
	/* The connections of attempts that came so far are ended; the next one goes through. */
	while (accept4(p->event_listen_fd, NULL, NULL, SOCK_CLOEXEC) >= 0)
		;
	resume(p, 0);
	peer_expect_shell(p, "echo up", 0, "up\n");
}

static void files_that_cannot_be_written_are_failures(void **state)
{
	struct peer *p = *state;
	char path[128];
	struct buf b;
	int fd;

	snprintf(path, sizeof(path), "%s/.clone", p->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	lose_all(p, freeze(p));
	put_required(&b);
	fd = ask(p, &b);
	peer_expect_failed(fd, -EISDIR, AGENT_STAGE_RESUME, "/clone: cannot be written: Is a dir");
	assert_int_equal(rmdir(path), 0);
	while (accept4(p->event_listen_fd, NULL, NULL, SOCK_CLOEXEC) >= 0)
		;
	resume(p, 0);
}

static void resume_needs_a_frozen_machine_and_sense(void **state)
{
	struct peer *p = *state;
	struct buf b;
	int fd, frozen;

	put_required(&b);
	fd = ask(p, &b);
	peer_expect_failed(fd, -EINVAL, AGENT_STAGE_RESUME, "the workload is not frozen");
	frozen = freeze(p);
	put_required(&b);
	put_text(&b, AGENT_R_MACHINE_ID, "short");
	fd = ask(p, &b);
	peer_expect_failed(fd, -EINVAL, AGENT_STAGE_RESUME, "machine-id that is not 32");
	peer_expect_world(p, "freeze\n");
	lose_all(p, frozen);
	resume(p, 0);
}

/* ---- commands that go on ------------------------------------------------------------------ */

static int start_shell(const struct peer *p, const char *script, uint32_t flags)
{
	return peer_start(p, &(struct peer_command){.argv = ARGV("sh", "-c", script),
				     .flags = PEER_OUTPUT | flags});
}

static uint32_t attach(const struct peer *p, uint32_t pid, int *ret_fd)
{
	struct peer_frame *f = malloc(sizeof(*f));
	uint32_t got;

	assert_non_null(f);
	*ret_fd = peer_greet(p);
	peer_send_u32(*ret_fd, AGENT_ATTACH, pid);
	peer_expect(*ret_fd, AGENT_STARTED, f);
	memcpy(&got, f->data, sizeof(got));
	free(f);
	return got;
}

static void expect_output(int fd, const char *text)
{
	struct peer_frame *f = malloc(sizeof(*f));

	assert_non_null(f);
	do
		assert_true(peer_receive(fd, f));
	while (f->type == AGENT_STDIN_TAKEN);
	assert_int_equal(f->type, AGENT_STDOUT);
	assert_int_equal(f->bytes, strlen(text));
	assert_memory_equal(f->data, text, f->bytes);
	free(f);
}

static void refuse_attach(const struct peer *p, uint32_t pid, int code, const char *cause)
{
	int fd = peer_greet(p);

	peer_send_u32(fd, AGENT_ATTACH, pid);
	peer_expect_failed(fd, code, AGENT_STAGE_REQUEST, cause);
}

static void input_and_output_go_on(void **state)
{
	struct peer *p = *state;
	int fd = start_shell(
		p, "while read x; do echo \"got $x\"; done; echo end; exit 5", AGENT_EXEC_STDIN);
	struct peer_result r;
	int frozen;

	peer_send(fd, AGENT_STDIN, "one\n", 4);
	expect_output(fd, "got one\n");
	frozen = freeze(p);
	close(fd);
	lose_all(p, frozen);
	resume(p, 1);
	assert_true(attach(p, 0, &fd) > 1);
	refuse_attach(p, 0, -ENOENT, "no such detached command");
	peer_send(fd, AGENT_STDIN, "two\n", 4);
	expect_output(fd, "got two\n");
	peer_send(fd, AGENT_STDIN_CLOSE, NULL, 0);
	peer_collect(fd, &r);
	assert_string_equal((char *)r.out.data, "end\n");
	assert_int_equal(r.exit.status, 5);
	peer_result_fini(&r);
}

/* Input that the process has not taken is its own, and nobody's acknowledgement; the new host has
 * a whole window. */
static void untaken_input_is_kept(void **state)
{
	static char data[AGENT_STDIN_WINDOW];
	struct peer *p = *state;
	char gate[160];
	struct peer_result r;
	int fd, frozen;

	memset(data, 'x', sizeof(data));
	snprintf(gate, sizeof(gate), "while ! [ -e %s/gate ]; do sleep 0.02; done; wc -c", p->dir);
	fd = start_shell(p, gate, AGENT_EXEC_STDIN);
	for (size_t at = 0; at < sizeof(data); at += 32768)
		peer_send(fd, AGENT_STDIN, data + at, 32768);
	usleep(100000);
	frozen = freeze(p);
	close(fd);
	lose_all(p, frozen);
	resume(p, 1);
	attach(p, 0, &fd);
	for (size_t at = 0; at < sizeof(data); at += 32768)
		peer_send(fd, AGENT_STDIN, data + at, 32768);
	peer_send(fd, AGENT_STDIN_CLOSE, NULL, 0);
	peer_switch(p, "gate", true);
	peer_collect(fd, &r);
	assert_false(r.is_failed);
	assert_int_equal(strtoul((char *)r.out.data, NULL, 10), 2 * sizeof(data));
	peer_result_fini(&r);
}

static void end_while_detached_is_kept(void **state)
{
	struct peer *p = *state;
	int fd = start_shell(p, "read x; echo late; exit 9", AGENT_EXEC_STDIN), frozen;
	struct peer_result r;

	frozen = freeze(p);
	peer_send(fd, AGENT_STDIN, "go\n", 3); /* kept until the thaw, read by nobody before */
	peer_expect_world(p, "freeze\n");
	close(fd);
	lose_all(p, frozen);
	resume(p, 1);
	usleep(200000);
	attach(p, 0, &fd);
	peer_collect(fd, &r);
	assert_string_equal((char *)r.out.data, "late\n");
	assert_int_equal(r.exit.status, 9);
	peer_result_fini(&r);
	refuse_attach(p, 0, -ENOENT, "no such detached command");
}

static void several_are_told_apart(void **state)
{
	struct peer *p = *state;
	struct peer_frame *f = malloc(sizeof(*f));
	uint32_t pids[2];
	int fds[2], frozen, fd;

	assert_non_null(f);
	for (int i = 0; i < 2; i++) {
		fds[i] = peer_greet(p);
		peer_request(fds[i], &(struct peer_command){
					     .argv = ARGV("sleep", "1000"), .flags = PEER_OUTPUT});
		peer_expect(fds[i], AGENT_STARTED, f);
		memcpy(&pids[i], f->data, sizeof(pids[i]));
	}
	free(f);
	frozen = freeze(p);
	close(fds[0]);
	lose_all(p, frozen); /* fds[1] is ended by the agent */
	resume(p, 2);
	peer_expect_end(fds[1]);
	close(fds[1]);
	refuse_attach(p, 0, -EINVAL, "more than one command");
	refuse_attach(p, 1, -ENOENT, "no such detached command");
	refuse_attach(p, UINT32_MAX, -ENOENT, "no such detached command");
	assert_int_equal(attach(p, pids[1], &fd), pids[1]);
	close(fd);
	assert_int_equal(attach(p, 0, &fd), pids[0]);
	/* Without input: what an unknowing host sends is swallowed. */
	peer_send(fd, AGENT_STDIN, "x", 1);
	peer_send(fd, AGENT_STDIN_CLOSE, NULL, 0);
	peer_send_u32(fd, AGENT_SIGNAL, SIGTERM);
	{
		struct peer_result r;

		peer_collect(fd, &r);
		assert_false(r.is_failed);
		assert_int_equal(r.exit.signal, SIGTERM);
		peer_result_fini(&r);
	}
}

static void commands_survive_many_restores(void **state)
{
	struct peer *p = *state;
	int fd = start_shell(p, "while read x; do echo $x; done", AGENT_EXEC_STDIN);

	for (int i = 0; i < 20; i++) {
		int frozen = freeze(p);

		close(fd);
		lose_all(p, frozen);
		resume(p, 1);
		attach(p, 0, &fd);
		peer_send(fd, AGENT_STDIN, "echo\n", 5);
		expect_output(fd, "echo\n");
	}
	close(fd);
}

#define TEST(f)	      cmocka_unit_test_setup_teardown(f, peer_set_up, peer_tear_down)
#define GROUP_TEST(f) cmocka_unit_test_setup_teardown(f, peer_set_up_group, peer_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(steps_come_in_their_order),
		TEST(nothing_is_done_that_is_not_asked_for),
		TEST(old_variables_are_forgotten),
		TEST(failures_leave_it_frozen),
		TEST(files_that_cannot_be_written_are_failures),
		TEST(resume_needs_a_frozen_machine_and_sense),
		TEST(input_and_output_go_on),
		TEST(untaken_input_is_kept),
		TEST(end_while_detached_is_kept),
		TEST(several_are_told_apart),
		TEST(commands_survive_many_restores),
		GROUP_TEST(input_and_output_go_on),
		GROUP_TEST(end_while_detached_is_kept),
		GROUP_TEST(commands_survive_many_restores),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
