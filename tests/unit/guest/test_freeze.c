// SPDX-License-Identifier: Apache-2.0
/* Rest: what the agent does and leaves undone while the workload is frozen, and who may end it. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "peer.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define COUNTER	  "i=0; while :; do echo $((i += 1)); sleep 0.01; done"

static void expect(int fd, uint16_t type)
{
	struct peer_frame *f = malloc(sizeof(*f));

	assert_non_null(f);
	peer_expect(fd, type, f);
	free(f);
}

static int freeze(const struct peer *p)
{
	int fd = peer_greet(p);

	peer_send(fd, AGENT_FREEZE, NULL, 0);
	expect(fd, AGENT_DONE);
	return fd;
}

static void thaw(int fd)
{
	peer_send(fd, AGENT_THAW, NULL, 0);
	expect(fd, AGENT_DONE);
	peer_expect_end(fd);
	close(fd);
}

static int start_counter(const struct peer *p)
{
	int fd = peer_start(
		p, &(struct peer_command){.argv = ARGV("sh", "-c", COUNTER), .flags = PEER_OUTPUT});

	expect(fd, AGENT_STDOUT);
	return fd;
}

/* Whether anything comes that was not there before. */
static bool is_moving(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char data[65536];

	while (recv(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	return poll(&p, 1, ms) > 0 && recv(fd, data, sizeof(data), 0) > 0;
}

static void is_refused(const struct peer *p, uint16_t type, int code, int stage, const char *cause)
{
	int fd = peer_greet(p);

	peer_send(fd, type, NULL, 0);
	peer_expect_failed(fd, code, stage, cause);
}

static void nothing_moves_in_between(void **state)
{
	struct peer *p = *state;
	int counter = start_counter(p), fd = freeze(p);

	assert_false(is_moving(counter, 150));
	thaw(fd);
	assert_true(is_moving(counter, 2000));
	close(counter);
	peer_expect_world(p, "freeze\nthaw\n");
}

static void nothing_starts_meanwhile(void **state)
{
	struct peer *p = *state;
	int fd = freeze(p), exec = peer_greet(p);

	peer_request(exec, &(struct peer_command){.argv = ARGV("true")});
	peer_expect_failed(exec, -EBUSY, AGENT_STAGE_SPAWN, "the workload is frozen");
	is_refused(p, AGENT_FREEZE, -EBUSY, AGENT_STAGE_FREEZE, "being frozen already");
	thaw(fd);
	peer_expect_shell(p, "echo again", 0, "again\n");
	thaw(freeze(p));
}

static void refusals_of_the_kernel_are_told(void **state)
{
	struct peer *p = *state;

	peer_switch(p, "fail-freeze", true);
	is_refused(p, AGENT_FREEZE, -EIO, AGENT_STAGE_FREEZE,
		"the kernel does not freeze the workload: Input/output error");
	peer_switch(p, "fail-freeze", false);
	peer_expect_shell(p, "echo hi", 0, "hi\n");
}

static void restless_workload_is_thawed(void **state)
{
	struct peer *p = *state;
	int counter = start_counter(p);
	uint64_t before = clock_now_ns();

	peer_switch(p, "restless", true);
	is_refused(p, AGENT_FREEZE, -ETIMEDOUT, AGENT_STAGE_FREEZE, "does not come to rest");
	assert_true(clock_now_ns() - before >= PEER_FREEZE_MS * (uint64_t)1000000);
	assert_true(is_moving(counter, 2000));
	close(counter);
	peer_expect_world(p, "freeze\nthaw\n");
	peer_switch(p, "restless", false);
	thaw(freeze(p));
}

static void untaken_output_ends_the_attempt(void **state)
{
	struct peer *p = *state;
	int flood = peer_start(
		p, &(struct peer_command){.argv = ARGV("cat", "/dev/zero"), .flags = PEER_OUTPUT});

	usleep(100000); /* until every buffer on the way is full */
	is_refused(p, AGENT_FREEZE, -ETIMEDOUT, AGENT_STAGE_FREEZE, "does not take the output");
	close(flood);
	thaw(freeze(p));
}

static void lost_host_thaws_the_original(void **state)
{
	struct peer *p = *state;
	int counter = start_counter(p), fd = freeze(p);

	close(fd);
	assert_true(is_moving(counter, 2000));
	close(counter);
	peer_expect_world(p, "freeze\nthaw\n");
}

static void lost_host_thaws_before_rest_is_reached(void **state)
{
	struct peer *p = *state;
	int counter = start_counter(p), fd = peer_greet(p);

	peer_switch(p, "restless", true);
	peer_send(fd, AGENT_FREEZE, NULL, 0);
	close(fd);
	assert_true(is_moving(counter, 2000));
	close(counter);
}

/* All connections are gone, as they are for a clone: nothing may run, in whatever order they went.
 */
static void clone_stays_frozen(void **state)
{
	for (int is_event_first = 0; is_event_first < 2; is_event_first++) {
		struct peer *p = *state;
		int fd;

		if (is_event_first)
			assert_int_equal(peer_tear_down(state) + peer_set_up(state), 0);
		p = *state;
		fd = freeze(p);
		if (is_event_first) {
			close(p->event_fd);
			usleep(20000);
			close(fd);
		} else {
			close(fd);
			usleep(20000); /* less than the time of doubt */
			close(p->event_fd);
		}
		p->event_fd = -1;
		usleep(200000);
		peer_expect_world(p, "freeze\n");
		is_refused(p, AGENT_FREEZE, -EBUSY, AGENT_STAGE_FREEZE, "frozen already");
	}
}

static void lost_command_ends_with_the_thaw(void **state)
{
	struct peer *p = *state;
	struct peer_frame *f = malloc(sizeof(*f));
	int exec = peer_greet(p), fd;
	char script[128];
	uint32_t pid;

	assert_non_null(f);
	peer_request(exec, &(struct peer_command){.argv = ARGV("sleep", "1000")});
	peer_expect(exec, AGENT_STARTED, f);
	memcpy(&pid, f->data, sizeof(pid));
	free(f);
	fd = freeze(p);
	close(exec);
	usleep(100000);
	peer_expect_world(p, "freeze\n");
	thaw(fd);
	/* There is nobody to continue: it was killed, as always when its host goes. */
	fd = peer_greet(p);
	peer_send_u32(fd, AGENT_ATTACH, 0);
	peer_expect_failed(fd, -ENOENT, AGENT_STAGE_REQUEST, "no such detached command");
	snprintf(script, sizeof(script),
		"while kill -0 %u 2> /dev/null; do sleep 0.02; done; echo gone", pid);
	peer_expect_shell(p, script, 0, "gone\n");
}

static void nonsense_on_the_connection_thaws(void **state)
{
	struct peer *p = *state;
	int counter = start_counter(p), fd = freeze(p);

	peer_send(fd, AGENT_SYNC, NULL, 0);
	peer_expect_failed(fd, -EPROTO, AGENT_STAGE_REQUEST, "no place while");
	assert_true(is_moving(counter, 2000));
	close(counter);
}

static void shutdown_runs_no_frozen_code(void **state)
{
	struct agent_shutdown s = {.grace_ms = 5000};
	struct peer *p = *state;
	uint64_t before = clock_now_ns();
	int fd;

	if (!p->is_first) {
		print_message("skipped: a signal to everybody must not reach the machine\n");
		skip();
	}
	close(start_counter(p));
	fd = freeze(p);
	close(peer_connect(p));
	close(fd);
	fd = peer_greet(p);
	peer_send(fd, AGENT_SHUTDOWN, &s, sizeof(s));
	expect(fd, AGENT_DONE);
	close(fd);
	assert_int_equal(peer_wait(p), PEER_POWERED_OFF);
	assert_true(clock_now_ns() - before < 4 * (uint64_t)1000000000);
}

static void need_group(const struct peer *p)
{
	if (p->has_group)
		return;
	print_message("skipped: no control group (version 2) may be made here\n");
	skip();
}

/* The counter writes to a file, so that it is its own running that is seen, not the agent's. */
static void group_really_freezes(void **state)
{
	struct peer *p = *state;
	char script[640], path[128], before[64] = "", after[64] = "";
	int counter, fd;
	FILE *f;

	need_group(p);
	snprintf(path, sizeof(path), "%s/count", p->dir);
	snprintf(script, sizeof(script),
		"echo up; i=0; (while :; do i=$((i+1)); echo $i > %s.new; mv %s.new %s; done) & "
		"setsid sleep 1000 & wait",
		path, path, path);
	counter = peer_start(
		p, &(struct peer_command){.argv = ARGV("sh", "-c", script), .flags = PEER_OUTPUT});
	expect(counter, AGENT_STDOUT);
	fd = freeze(p);
	for (int i = 0; i < 2; i++) {
		f = fopen(path, "re");
		if (f && !fgets(i ? after : before, sizeof(before), f))
			fail_msg("the counter's file is empty");
		if (f)
			fclose(f);
		usleep(i ? 0 : 200000);
	}
	assert_string_equal(before, after);
	thaw(fd);
	usleep(200000);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(after, sizeof(after), f));
	fclose(f);
	assert_string_not_equal(before, after);
	close(counter);
}

static void commands_are_born_in_the_group(void **state)
{
	struct peer *p = *state;
	char want[160];

	need_group(p);
	snprintf(want, sizeof(want), "%s/workload\n", strrchr(p->group, '/'));
	peer_expect_shell(p, "grep ^0 /proc/self/cgroup | cut -d: -f3", 0, want);
}

/* A program that hands controllers out below the group makes it unfit for processes. */
static void busy_group_gets_a_leaf(void **state)
{
	struct peer *p = *state;
	char path[192], has[256] = "", want[160];
	FILE *f;

	need_group(p);
	snprintf(path, sizeof(path), "%s/cgroup.controllers", p->group);
	f = fopen(path, "re");
	if (!f || !fgets(has, sizeof(has), f) || !strstr(has, "pids")) {
		if (f)
			fclose(f);
		print_message("skipped: the controller pids is not free for version 2 here\n");
		skip();
	}
	fclose(f);
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", p->group);
	f = fopen(path, "we");
	assert_true(f && fputs("+pids", f) >= 0 && !fclose(f));
	snprintf(path, sizeof(path), "%s/workload/cgroup.subtree_control", p->group);
	f = fopen(path, "we");
	assert_true(f && fputs("+pids", f) >= 0 && !fclose(f));
	snprintf(want, sizeof(want), "%s/workload/commands\n", strrchr(p->group, '/'));
	for (int i = 0; i < 2; i++)
		peer_expect_shell(p, "grep ^0 /proc/self/cgroup | cut -d: -f3", 0, want);
}

#define TEST(f)	      cmocka_unit_test_setup_teardown(f, peer_set_up, peer_tear_down)
#define GROUP_TEST(f) cmocka_unit_test_setup_teardown(f, peer_set_up_group, peer_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_moves_in_between),
		TEST(nothing_starts_meanwhile),
		TEST(refusals_of_the_kernel_are_told),
		TEST(restless_workload_is_thawed),
		TEST(untaken_output_ends_the_attempt),
		TEST(lost_host_thaws_the_original),
		TEST(lost_host_thaws_before_rest_is_reached),
		TEST(clone_stays_frozen),
		TEST(lost_command_ends_with_the_thaw),
		TEST(nonsense_on_the_connection_thaws),
		TEST(shutdown_runs_no_frozen_code),
		GROUP_TEST(group_really_freezes),
		GROUP_TEST(commands_are_born_in_the_group),
		GROUP_TEST(busy_group_gets_a_leaf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
