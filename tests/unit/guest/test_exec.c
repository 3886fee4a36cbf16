// SPDX-License-Identifier: Apache-2.0
/* Commands: how they start, as whom, where, with what, and how their end is told. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
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

static void make_file(const struct peer *p, const char *name, const char *text, mode_t mode,
	char *ret_path, size_t room)
{
	FILE *f;

	snprintf(ret_path, room, "%s/%s", p->dir, name);
	f = fopen(ret_path, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(ret_path, mode), 0);
}

static void expect_refused(
	const struct peer *p, const struct peer_command *c, int code, int stage, const char *cause)
{
	int fd = peer_greet(p);

	peer_request(fd, c);
	peer_expect_failed(fd, code, stage, cause);
}

static void echo_comes_back(void **state)
{
	struct peer_result r;

	peer_run(*state,
		&(struct peer_command){.argv = ARGV("echo", "hi", ""), .flags = PEER_OUTPUT}, &r);
	assert_false(r.is_failed);
	assert_string_equal((char *)r.out.data, "hi \n");
	assert_int_equal(r.err.bytes, 0);
	assert_int_equal(r.exit.status, 0);
	assert_int_equal(r.exit.signal, 0);
	assert_true(r.pid > 1);
	assert_true(r.exit.peak_rss_bytes > 100000);
	peer_result_fini(&r);
}

static void status_comes_back(void **state)
{
	peer_expect_shell(*state, "exit 7", 7, "");
	peer_expect_shell(*state, "exit 255", 255, "");
}

static void streams_stay_apart(void **state)
{
	struct peer_result r;

	peer_run(*state,
		&(struct peer_command){
			.argv = ARGV("sh", "-c", "echo out; echo err >&2"), .flags = PEER_OUTPUT},
		&r);
	assert_string_equal((char *)r.out.data, "out\n");
	assert_string_equal((char *)r.err.data, "err\n");
	peer_result_fini(&r);
	peer_run(*state,
		&(struct peer_command){.argv = ARGV("sh", "-c", "cat; echo out; echo err >&2"),
			.flags = AGENT_EXEC_STDERR},
		&r);
	assert_int_equal(r.out.bytes, 0);
	assert_string_equal((char *)r.err.data, "err\n");
	assert_int_equal(r.exit.status, 0);
	peer_result_fini(&r);
}

static void time_is_accounted(void **state)
{
	struct peer_result r;

	peer_run(*state,
		&(struct peer_command){.argv = ARGV("sh", "-c",
					       "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done")},
		&r);
	assert_true(r.exit.user_us > 1000);
	assert_true(r.exit.user_us < 60000000);
	peer_result_fini(&r);
}

static void unknown_commands_are_named(void **state)
{
	struct peer *p = *state;
	char path[128];

	expect_refused(p, &(struct peer_command){.argv = ARGV("no-such-command")}, -ENOENT,
		AGENT_STAGE_EXEC, "\"no-such-command\": no such command in PATH=/usr/local/bin:");
	expect_refused(p, &(struct peer_command){.argv = ARGV("/no/such")}, -ENOENT,
		AGENT_STAGE_EXEC, "\"/no/such\": No such file");
	expect_refused(p, &(struct peer_command){.argv = ARGV("/etc/passwd/x")}, -ENOTDIR,
		AGENT_STAGE_EXEC, "\"/etc/passwd/x\"");
	expect_refused(
		p, &(struct peer_command){.argv = ARGV("")}, -ENOENT, AGENT_STAGE_EXEC, "\"\"");
	/* A directory of that name in PATH is no command. */
	snprintf(path, sizeof(path), "%s/tool", p->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "PATH=%s", p->dir);
	expect_refused(p, &(struct peer_command){.argv = ARGV("tool"), .env = ARGV(path)}, -ENOENT,
		AGENT_STAGE_EXEC, "no such command");
}

static void files_that_are_no_programs_are_named(void **state)
{
	struct peer *p = *state;
	char path[128], env[160];

	make_file(p, "plain", "#!/bin/sh\n", 0644, path, sizeof(path));
	expect_refused(p, &(struct peer_command){.argv = ARGV(path)}, -EACCES, AGENT_STAGE_EXEC,
		"is not an executable file (mode 644)");
	snprintf(env, sizeof(env), "PATH=/nowhere:%s:/usr/bin", p->dir);
	expect_refused(p, &(struct peer_command){.argv = ARGV("plain"), .env = ARGV(env)}, -EACCES,
		AGENT_STAGE_EXEC, "is not an executable file (mode 644)");
	expect_refused(p, &(struct peer_command){.argv = ARGV("/etc")}, -EACCES, AGENT_STAGE_EXEC,
		"\"/etc\" is a directory");
	make_file(p, "noise", "noise\n", 0755, path, sizeof(path));
	expect_refused(p, &(struct peer_command){.argv = ARGV(path)}, -ENOEXEC, AGENT_STAGE_EXEC,
		"is neither a program for this machine nor a script");
	make_file(p, "script", "#! /no/interp -x\n", 0755, path, sizeof(path));
	expect_refused(p, &(struct peer_command){.argv = ARGV(path)}, -ENOENT, AGENT_STAGE_EXEC,
		"needs the interpreter /no/interp, not found");
	expect_refused(p, &(struct peer_command){.argv = ARGV("./script"), .cwd = p->dir}, -ENOENT,
		AGENT_STAGE_EXEC, "needs the interpreter /no/interp, not found");
}

static void path_of_the_request_is_searched(void **state)
{
	struct peer *p = *state;
	char path[128], env[200];
	struct peer_result r;

	make_file(p, "greet", "#!/bin/sh\necho \"$0 $1\"\n", 0755, path, sizeof(path));
	snprintf(env, sizeof(env), "PATH=/etc::%s", p->dir);
	peer_run(p,
		&(struct peer_command){
			.argv = ARGV("greet", "you"), .env = ARGV(env), .flags = PEER_OUTPUT},
		&r);
	snprintf(env, sizeof(env), "%s you\n", path);
	assert_string_equal((char *)r.out.data, env);
	peer_result_fini(&r);
	/* No PATH at all: the usual directories. */
	peer_run(p,
		&(struct peer_command){
			.argv = ARGV("echo", "x"), .env = ARGV("A=b"), .flags = PEER_OUTPUT},
		&r);
	assert_string_equal((char *)r.out.data, "x\n");
	peer_result_fini(&r);
}

static void environment_is_what_was_asked(void **state)
{
	struct peer_result r;

	peer_run(*state,
		&(struct peer_command){.argv = ARGV("/usr/bin/env"),
			.env = ARGV("B=2=3", "HOME=/x", "A="),
			.flags = PEER_OUTPUT},
		&r);
	assert_string_equal((char *)r.out.data, "B=2=3\nHOME=/x\nA=\n");
	peer_result_fini(&r);
	peer_run(*state,
		&(struct peer_command){
			.argv = ARGV("/usr/bin/env"), .env = ARGV("A=1"), .flags = PEER_OUTPUT},
		&r);
	assert_non_null(strstr((char *)r.out.data, "A=1\nHOME=/"));
	peer_result_fini(&r);
}

static void directory_is_made(void **state)
{
	struct peer *p = *state;
	struct peer_result r;
	char dir[128], want[160];

	snprintf(dir, sizeof(dir), "%s/a/b/c", p->dir);
	snprintf(want, sizeof(want), "%s\n", dir);
	peer_run(p, &(struct peer_command){.argv = ARGV("pwd"), .cwd = dir, .flags = PEER_OUTPUT},
		&r);
	assert_string_equal((char *)r.out.data, want);
	peer_result_fini(&r);
	expect_refused(p, &(struct peer_command){.argv = ARGV("pwd"), .cwd = "/etc/passwd/x"},
		-ENOTDIR, AGENT_STAGE_CWD, "\"/etc/passwd/x\" cannot be made");
	peer_expect_shell(p, "pwd", 0, "/\n");
}

static void user_is_taken(void **state)
{
	struct peer *p = *state;
	struct peer_result r;

	expect_refused(p, &(struct peer_command){.argv = ARGV("id"), .user = "no-such-user"},
		-ENOENT, AGENT_STAGE_USER, "user \"no-such-user\" is not in");
	expect_refused(p, &(struct peer_command){.argv = ARGV("id"), .user = "0:no-such"}, -ENOENT,
		AGENT_STAGE_USER, "group \"no-such\" is not in");
	if (geteuid()) {
		print_message("other users: skipped, this test does not run as root\n");
		expect_refused(p, &(struct peer_command){.argv = ARGV("id"), .user = "0"}, -EPERM,
			AGENT_STAGE_USER, "cannot become user 0");
		return;
	}
	peer_run(p,
		&(struct peer_command){.argv = ARGV("sh", "-c", "id -u; id -g; id -G; echo $HOME"),
			.user = "1234:77",
			.flags = PEER_OUTPUT},
		&r);
	assert_string_equal((char *)r.out.data, "1234\n77\n77\n/\n");
	peer_result_fini(&r);
	peer_run(p,
		&(struct peer_command){.argv = ARGV("sh", "-c", "id -un; echo $HOME"),
			.user = "nobody",
			.flags = PEER_OUTPUT},
		&r);
	assert_string_equal((char *)r.out.data, "nobody\n/nonexistent\n");
	peer_result_fini(&r);
	peer_run(p,
		&(struct peer_command){.argv = ARGV("sh", "-c", "id -u; echo $HOME"),
			.user = "",
			.flags = PEER_OUTPUT},
		&r);
	assert_string_equal((char *)r.out.data, "0\n/root\n");
	peer_result_fini(&r);
}

static void rights_are_the_users(void **state)
{
	struct peer *p = *state;
	char path[128], env[160];

	if (geteuid()) {
		print_message("skipped: this test does not run as root\n");
		skip();
	}
	make_file(p, "mine", "#!/bin/sh\n", 0700, path, sizeof(path));
	expect_refused(p, &(struct peer_command){.argv = ARGV(path), .user = "nobody"}, -EACCES,
		AGENT_STAGE_EXEC, "Permission denied");
	/* A directory that the user cannot look into is passed over. */
	snprintf(env, sizeof(env), "PATH=%s/closed:/usr/bin", p->dir);
	snprintf(path, sizeof(path), "%s/closed", p->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	expect_refused(p,
		&(struct peer_command){.argv = ARGV("nothing"), .env = ARGV(env), .user = "nobody"},
		-ENOENT, AGENT_STAGE_EXEC, "no such command");
	/* It may be put to work where it could not go. */
	snprintf(path, sizeof(path), "%s/closed", p->dir);
	expect_refused(p,
		&(struct peer_command){.argv = ARGV("./nothing"), .cwd = path, .user = "nobody"},
		-EACCES, AGENT_STAGE_EXEC, "./nothing");
}

static void process_begins_clean(void **state)
{
	peer_expect_shell(*state, "grep -E '^Sig(Blk|Ign)' /proc/self/status | cut -f2 | sort -u",
		0, "0000000000000000\n");
	/* 3 is the directory that ls reads. */
	peer_expect_shell(*state, "exec ls /proc/self/fd", 0, "0\n1\n2\n3\n");
	/* A session and a group of its own: the fields pid, pgrp and session are equal. */
	peer_expect_shell(*state,
		"read p c s pp g n r </proc/self/stat; [ $p = $g ] && [ $g = $n ] && echo own", 0,
		"own\n");
}

static void signals_arrive(void **state)
{
	struct peer_command c = {.argv = ARGV("sleep", "1000"), .flags = PEER_OUTPUT};
	struct peer_result r;
	int fd = peer_start(*state, &c);

	peer_send_u32(fd, AGENT_SIGNAL, SIGTERM);
	peer_collect(fd, &r);
	assert_int_equal(r.exit.status, -1);
	assert_int_equal(r.exit.signal, SIGTERM);
	peer_result_fini(&r);
}

static void whole_group_gets_signals(void **state)
{
	const struct peer *p = *state;
	char fifo[128], script[256];
	char byte;
	struct peer_result r;
	int fd, hold;

	snprintf(fifo, sizeof(fifo), "%s/fifo", p->dir);
	assert_int_equal(mkfifo(fifo, 0666), 0);
	snprintf(script, sizeof(script), "sleep 1000 >%s & wait", fifo);
	fd = peer_start(p, &(struct peer_command){.argv = ARGV("sh", "-c", script)});
	hold = open(fifo, O_RDONLY | O_CLOEXEC);
	assert_true(hold >= 0);
	peer_send_u32(fd, AGENT_SIGNAL, SIGKILL);
	peer_collect(fd, &r);
	assert_int_equal(r.exit.signal, SIGKILL);
	peer_result_fini(&r);
	assert_int_equal(read(hold, &byte, 1), 0); /* would wait for ever if sleep lived */
	close(hold);
}

static void broken_connection_kills(void **state)
{
	const struct peer *p = *state;
	char fifo[128], script[256];
	char byte;
	int fd, hold;

	snprintf(fifo, sizeof(fifo), "%s/fifo", p->dir);
	assert_int_equal(mkfifo(fifo, 0666), 0);
	snprintf(script, sizeof(script), "exec >%s; trap '' TERM HUP; sleep 1000 & sleep 1000",
		fifo);
	fd = peer_start(p, &(struct peer_command){.argv = ARGV("sh", "-c", script)});
	hold = open(fifo, O_RDONLY | O_CLOEXEC);
	assert_true(hold >= 0);
	close(fd);
	assert_int_equal(read(hold, &byte, 1), 0);
	close(hold);
}

static void inherited_output_does_not_delay_the_end(void **state)
{
	uint64_t before = clock_now_ns();

	peer_expect_shell(*state, "sleep 1000 & echo done", 0, "done\n");
	assert_true(clock_now_ns() - before < 5000000000u);
}

/* The heir fills the pipe faster than the host reads: what came after the command's end is not its
 * output, so the end is told after one pipe full, however long the heir goes on. */
static void endless_heir_does_not_delay_the_end(void **state)
{
	const struct peer *p = *state;
	struct peer_frame *f = malloc(sizeof(*f));
	struct agent_exit exit;
	char fifo[128], script[256], byte;
	size_t bytes = 0;
	int fd, hold;

	assert_non_null(f);
	snprintf(fifo, sizeof(fifo), "%s/fifo", p->dir);
	assert_int_equal(mkfifo(fifo, 0666), 0);
	snprintf(script, sizeof(script), "exec 3>%s; yes 3>&- & sleep 0.1; exit 3", fifo);
	fd = peer_start(p, &(struct peer_command){
				   .argv = ARGV("sh", "-c", script), .flags = AGENT_EXEC_STDOUT});
	hold = open(fifo, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(hold, &byte, 1), 0); /* the command has ended */
	close(hold);
	for (;;) {
		assert_true(peer_receive(fd, f));
		if (f->type == AGENT_EXIT)
			break;
		assert_int_equal(f->type, AGENT_STDOUT);
		bytes += f->bytes;
		assert_true(bytes < 4 << 20);
		usleep(2000); /* slower than the heir */
	}
	memcpy(&exit, f->data, sizeof(exit));
	assert_int_equal(exit.status, 3);
	peer_expect_end(fd);
	close(fd);
	free(f);
}

static void big_environment_arrives(void **state)
{
	static char entry[100000];
	autobuf struct buf b;
	struct peer_result r;
	int fd = peer_greet(*state);

	buf_init(&b, AGENT_REQUEST_MAX);
	for (char i = 0; i < 10; i++) {
		memset(entry, 'x', sizeof(entry));
		memcpy(entry, "V_=", 3);
		entry[1] = (char)('0' + i);
		peer_put_field(&b, AGENT_ENV, entry, sizeof(entry));
	}
	peer_put_command(
		&b, &(struct peer_command){.argv = ARGV("sh", "-c", "env | grep ^V | wc -c"),
			    .flags = PEER_OUTPUT});
	peer_send(fd, AGENT_EXEC, b.data, b.bytes);
	peer_collect(fd, &r);
	assert_string_equal((char *)r.out.data, "1000010\n");
	peer_result_fini(&r);
	/* One string that the kernel does not take is an error of that command alone. */
	fd = peer_greet(*state);
	buf_consume(&b, b.bytes);
	for (int i = 0; i < 2; i++)
		peer_put_command(&b, &(struct peer_command){.argv = ARGV("true"), .user = "0"});
	peer_send(fd, AGENT_EXEC, b.data, b.bytes);
	peer_expect_failed(fd, -EINVAL, AGENT_STAGE_REQUEST, "comes twice");
}

#define AGENT_TEST(f) cmocka_unit_test_setup_teardown(f, peer_set_up, peer_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		AGENT_TEST(echo_comes_back),
		AGENT_TEST(status_comes_back),
		AGENT_TEST(streams_stay_apart),
		AGENT_TEST(time_is_accounted),
		AGENT_TEST(unknown_commands_are_named),
		AGENT_TEST(files_that_are_no_programs_are_named),
		AGENT_TEST(path_of_the_request_is_searched),
		AGENT_TEST(environment_is_what_was_asked),
		AGENT_TEST(directory_is_made),
		AGENT_TEST(user_is_taken),
		AGENT_TEST(rights_are_the_users),
		AGENT_TEST(process_begins_clean),
		AGENT_TEST(signals_arrive),
		AGENT_TEST(whole_group_gets_signals),
		AGENT_TEST(broken_connection_kills),
		AGENT_TEST(inherited_output_does_not_delay_the_end),
		AGENT_TEST(endless_heir_does_not_delay_the_end),
		AGENT_TEST(big_environment_arrives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
