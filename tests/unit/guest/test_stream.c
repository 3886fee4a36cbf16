// SPDX-License-Identifier: Apache-2.0
/* Streams: windows, back-pressure, bounded memory, many at once. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "peer.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

enum {
	ALL = AGENT_EXEC_STDIN | PEER_OUTPUT,
	BIG_BYTES = 10 << 20,
	MANY = 100,
	EXECS_MAX = 256,
};

/* Byte i of the test stream: not periodic in any power of two, so that a lost or doubled piece
 * shows. */
static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + (i >> 8) * 13 + i / 65521);
}

/* A host that feeds a command with the pattern inside the window and checks what comes back. */
struct feeder {
	int fd;
	size_t sent, taken, received;
	bool is_closed, is_over;
	struct agent_exit exit;
	struct peer_frame frame;
};

static void take_frame(struct feeder *f)
{
	uint32_t n;

	assert_true(peer_receive(f->fd, &f->frame));
	switch (f->frame.type) {
	case AGENT_STDIN_TAKEN:
		memcpy(&n, f->frame.data, sizeof(n));
		f->taken += n;
		assert_true(f->taken <= f->sent);
		break;
	case AGENT_STDOUT:
		for (size_t i = 0; i < f->frame.bytes; i++)
			if (f->frame.data[i] != pattern(f->received + i))
				fail_msg("byte %zu of the output is wrong", f->received + i);
		f->received += f->frame.bytes;
		break;
	default:
		assert_int_equal(f->frame.type, AGENT_EXIT);
		memcpy(&f->exit, f->frame.data, sizeof(f->exit));
		f->is_over = true;
	}
}

static void send_piece(struct feeder *f, size_t limit)
{
	static uint8_t piece[AGENT_FRAME_MAX];
	size_t n = MIN(limit - f->sent, AGENT_STDIN_WINDOW - (f->sent - f->taken));

	/* Odd sizes: nothing lines up with pages or pipes. */
	n = MIN(n, (size_t)(f->sent % 3 ? 65521 : 40009));
	for (size_t i = 0; i < n; i++)
		piece[i] = pattern(f->sent + i);
	if (n)
		peer_send(f->fd, AGENT_STDIN, piece, n);
	f->sent += n;
}

static void feed(struct feeder *f, size_t limit)
{
	while (!f->is_over) {
		struct pollfd p = {.fd = f->fd, .events = POLLIN};

		if (f->sent < limit && f->sent - f->taken < AGENT_STDIN_WINDOW &&
			poll(&p, 1, 0) == 0) {
			send_piece(f, limit);
			continue;
		}
		if (f->sent == limit && !f->is_closed) {
			peer_send(f->fd, AGENT_STDIN_CLOSE, NULL, 0);
			f->is_closed = true;
		}
		take_frame(f);
	}
	peer_expect_end(f->fd);
	close(f->fd);
}

static void everything_comes_back(void **state)
{
	struct feeder *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fd = peer_start(*state, &(struct peer_command){.argv = ARGV("cat"), .flags = ALL});
	feed(f, BIG_BYTES);
	assert_int_equal(f->received, BIG_BYTES);
	assert_int_equal(f->taken, BIG_BYTES);
	assert_int_equal(f->exit.status, 0);
	free(f);
}

static void empty_input_ends(void **state)
{
	struct feeder *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fd = peer_start(*state, &(struct peer_command){.argv = ARGV("cat"), .flags = ALL});
	feed(f, 0);
	assert_int_equal(f->received, 0);
	assert_int_equal(f->exit.status, 0);
	free(f);
}

/* A command that closes its input: the rest is discarded, and acknowledged all the same. */
static void unread_input_is_acknowledged(void **state)
{
	struct feeder *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fd = peer_start(*state,
		&(struct peer_command){
			.argv = ARGV("sh", "-c", "trap 'exit 5' TERM; exec <&-; sleep 1000 & wait"),
			.flags = ALL});
	while (f->taken < 1 << 20) {
		if (f->sent < 1 << 20 && f->sent - f->taken < AGENT_STDIN_WINDOW)
			send_piece(f, 1 << 20);
		else
			take_frame(f);
	}
	peer_send_u32(f->fd, AGENT_SIGNAL, SIGTERM);
	feed(f, 1 << 20);
	assert_int_equal(f->exit.status, 5);
	free(f);
}

static void signal_overtakes_input_that_nobody_reads(void **state)
{
	struct feeder *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fd = peer_start(
		*state, &(struct peer_command){.argv = ARGV("sleep", "1000"), .flags = ALL});
	while (f->sent < AGENT_STDIN_WINDOW)
		send_piece(f, AGENT_STDIN_WINDOW);
	peer_send_u32(f->fd, AGENT_SIGNAL, SIGINT);
	while (!f->is_over)
		take_frame(f);
	assert_int_equal(f->exit.signal, SIGINT);
	close(f->fd);
	free(f);
}

static long resident_bytes(const struct peer *p)
{
	char path[64], line[256];
	long pages = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", p->pid);
	f = fopen(path, "re");
	assert_non_null(f);
	if (fgets(line, sizeof(line), f))
		assert_int_equal(sscanf(line, "%*d %ld", &pages), 1);
	fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}

/* Ten writers without end whose reader sleeps: the agent holds what one frame and one window are.
 */
static void slow_reader_costs_bounded_memory(void **state)
{
	enum { N = 10, TOTAL = 4 << 20 };
	const struct peer *p = *state;
	long before = resident_bytes(p);
	int fds[N];

	for (int i = 0; i < N; i++)
		fds[i] = peer_start(p,
			&(struct peer_command){
				.argv = ARGV("head", "-c", "4194304", "/dev/zero"), .flags = ALL});
	/* While these wait, another is served: when it is through, they have filled what there is.
	 */
	for (int i = 0; i < 20; i++)
		peer_expect_shell(p, "echo x", 0, "x\n");
	assert_true(resident_bytes(p) - before < N * (AGENT_FRAME_MAX * 4) + (4 << 20));
	for (int i = 0; i < N; i++) {
		struct peer_result r;

		peer_collect(fds[i], &r);
		assert_int_equal(r.out.bytes, TOTAL);
		assert_int_equal(r.exit.status, 0);
		peer_result_fini(&r);
	}
}

static void many_run_at_once(void **state)
{
	static int fds[MANY];
	char want[32];

	for (int i = 0; i < MANY; i++) {
		char text[32];

		snprintf(text, sizeof(text), "%d", i);
		fds[i] = peer_start(*state,
			&(struct peer_command){.argv = ARGV("sh", "-c", "read x; echo $x $0", text),
				.flags = ALL});
	}
	for (int i = 0; i < MANY; i++)
		peer_send(fds[i], AGENT_STDIN, "go\n", 3);
	for (int i = 0; i < MANY; i++) {
		struct peer_result r;

		peer_collect(fds[i], &r);
		snprintf(want, sizeof(want), "go %d\n", i);
		assert_string_equal((char *)r.out.data, want);
		assert_int_equal(r.exit.status, 0);
		peer_result_fini(&r);
	}
}

static void one_too_many_is_refused(void **state)
{
	static int fds[EXECS_MAX];
	struct peer_command c = {.argv = ARGV("sleep", "1000")};
	int fd;

	for (int i = 0; i < EXECS_MAX; i++)
		fds[i] = peer_start(*state, &c);
	fd = peer_greet(*state);
	peer_request(fd, &c);
	peer_expect_failed(fd, -EAGAIN, AGENT_STAGE_SPAWN, "as many commands as it can");
	/* One less, and there is room again. */
	peer_send_u32(fds[0], AGENT_SIGNAL, SIGKILL);
	while (recv(fds[0], (char[64]){0}, 64, 0) > 0)
		;
	close(fds[0]);
	peer_expect_shell(*state, "echo again", 0, "again\n");
	for (int i = 1; i < EXECS_MAX; i++)
		close(fds[i]);
}

#define AGENT_TEST(f) cmocka_unit_test_setup_teardown(f, peer_set_up, peer_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		AGENT_TEST(everything_comes_back),
		AGENT_TEST(empty_input_ends),
		AGENT_TEST(unread_input_is_acknowledged),
		AGENT_TEST(signal_overtakes_input_that_nobody_reads),
		AGENT_TEST(slow_reader_costs_bounded_memory),
		AGENT_TEST(many_run_at_once),
		AGENT_TEST(one_too_many_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
