// SPDX-License-Identifier: Apache-2.0
/* The guest's end: nobody is waited for in vain, nobody is left, the host hears of it. */
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

enum { NS_PER_MS = 1000000 };

static int ask(const struct peer *p, bool is_reset, uint32_t grace_ms)
{
	struct agent_shutdown s = {.is_reset = is_reset, .grace_ms = grace_ms};
	int fd = peer_greet(p);

	peer_send(fd, AGENT_SHUTDOWN, &s, sizeof(s));
	return fd;
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

static void need_namespace(const struct peer *p)
{
	if (p->is_first)
		return;
	print_message("skipped: no PID namespace may be made here, and a signal to everybody must "
		      "not reach the machine\n");
	skip();
}

static void idle_guest_ends_at_once(void **state)
{
	struct peer *p = *state;
	uint64_t before = clock_now_ns();

	expect_done(ask(p, false, 10000));
	assert_int_equal(peer_wait(p), PEER_POWERED_OFF);
	assert_true(clock_now_ns() - before < 1000 * (uint64_t)NS_PER_MS);
}

static void reset_is_told_from_power_off(void **state)
{
	struct peer *p = *state;

	expect_done(ask(p, true, 0));
	assert_int_equal(peer_wait(p), PEER_RESET);
}

static void obedient_command_gets_time(void **state)
{
	struct peer *p = *state;
	struct peer_result r;
	uint64_t before = clock_now_ns();
	int exec, fd;

	need_namespace(p);
	exec = peer_start(p, &(struct peer_command){.argv = ARGV("sh", "-c",
							    "trap 'sleep 0.2; echo bye; exit 4' "
							    "TERM; echo up; while :; do sleep "
							    "0.05; done"),
				     .flags = PEER_OUTPUT});
	{
		struct peer_frame *f = malloc(sizeof(*f));

		assert_non_null(f);
		peer_expect(exec, AGENT_STDOUT, f); /* the trap is set */
		free(f);
	}
	fd = ask(p, false, 15000);
	peer_collect(exec, &r);
	assert_string_equal((char *)r.out.data, "bye\n");
	assert_int_equal(r.exit.status, 4);
	peer_result_fini(&r);
	expect_done(fd);
	assert_int_equal(peer_wait(p), PEER_POWERED_OFF);
	assert_true(clock_now_ns() - before < 10000 * (uint64_t)NS_PER_MS);
}

/* Starts what ignores SIGTERM, and a stray process of its own session that does too; both hold the
 * FIFO open. Returns the exec's connection; *ret_hold reads end of file when all are gone. */
static int start_stubborn(const struct peer *p, int *ret_hold)
{
	char fifo[128], script[300];
	int exec;

	snprintf(fifo, sizeof(fifo), "%s/fifo", p->dir);
	assert_int_equal(mkfifo(fifo, 0666), 0);
	snprintf(script, sizeof(script),
		"trap '' TERM; exec >%s; setsid sleep 1000 & echo x; sleep 1000; echo late", fifo);
	exec = peer_start(
		p, &(struct peer_command){.argv = ARGV("sh", "-c", script), .flags = PEER_OUTPUT});
	*ret_hold = open(fifo, O_RDONLY | O_CLOEXEC);
	assert_true(*ret_hold >= 0);
	assert_int_equal(read(*ret_hold, script, 2), 2);
	return exec;
}

static void expect_stubborn_killed(struct peer *p, int exec, int hold)
{
	struct peer_result r;
	char byte;

	peer_collect(exec, &r);
	assert_int_equal(r.exit.status, -1);
	assert_int_equal(r.exit.signal, SIGKILL);
	peer_result_fini(&r);
	assert_int_equal(peer_wait(p), PEER_POWERED_OFF);
	assert_int_equal(read(hold, &byte, 1), 0);
	close(hold);
}

static void stubborn_command_is_killed_after_the_grace(void **state)
{
	struct peer *p = *state;
	uint64_t before, took;
	int exec, fd, hold;

	need_namespace(p);
	exec = start_stubborn(p, &hold);
	before = clock_now_ns();
	fd = ask(p, false, 300);
	expect_done(fd);
	took = clock_now_ns() - before;
	expect_stubborn_killed(p, exec, hold);
	assert_true(took >= 300 * (uint64_t)NS_PER_MS);
	assert_true(took < 5000 * (uint64_t)NS_PER_MS);
}

static void second_request_can_only_hurry(void **state)
{
	struct peer *p = *state;
	struct peer_command c = {.argv = ARGV("true")};
	int exec, patient, hurried, refused, hold;

	need_namespace(p);
	exec = start_stubborn(p, &hold);
	patient = ask(p, false, 60000);
	/* Answered on the loop's next turn: then the shutdown is surely under way. */
	refused = peer_greet(p);
	peer_request(refused, &c);
	peer_expect_failed(refused, -ESHUTDOWN, AGENT_STAGE_SPAWN, "shutting down");
	hurried = ask(p, false, 0);
	expect_done(hurried);
	expect_done(patient);
	expect_stubborn_killed(p, exec, hold);
}

/* A host that asks and goes away is obeyed all the same. */
static void host_need_not_wait(void **state)
{
	struct peer *p = *state;

	close(ask(p, false, 0));
	assert_int_equal(peer_wait(p), PEER_POWERED_OFF);
}

/* Output that nobody fetches does not keep the guest alive. */
static void host_that_does_not_read_is_not_waited_for(void **state)
{
	struct peer *p = *state;
	uint64_t before;
	int exec;

	need_namespace(p);
	exec = peer_start(
		p, &(struct peer_command){.argv = ARGV("yes"), .flags = AGENT_EXEC_STDOUT});
	before = clock_now_ns();
	expect_done(ask(p, false, 5000));
	assert_int_equal(peer_wait(p), PEER_POWERED_OFF);
	assert_true(clock_now_ns() - before < 4000 * (uint64_t)NS_PER_MS);
	close(exec);
}

#define AGENT_TEST(f) cmocka_unit_test_setup_teardown(f, peer_set_up, peer_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		AGENT_TEST(idle_guest_ends_at_once),
		AGENT_TEST(reset_is_told_from_power_off),
		AGENT_TEST(obedient_command_gets_time),
		AGENT_TEST(stubborn_command_is_killed_after_the_grace),
		AGENT_TEST(second_request_can_only_hurry),
		AGENT_TEST(host_need_not_wait),
		AGENT_TEST(host_that_does_not_read_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
