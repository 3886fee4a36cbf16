// SPDX-License-Identifier: Apache-2.0
/* Malformed frames of all sorts: each ends its own connection with a reason, and no other. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer.h"
#include "proto/frame.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

enum { REQUEST = AGENT_STAGE_REQUEST };

static void first_frame_must_greet(void **state)
{
	struct agent_hello hello = {.version = 77};
	int fd = peer_connect(*state);

	peer_send(fd, AGENT_SYNC, NULL, 0);
	peer_expect_failed(fd, -EPROTO, REQUEST, "no greeting");
	fd = peer_connect(*state);
	peer_send(fd, AGENT_HELLO, &hello, 4);
	peer_expect_failed(fd, -EPROTO, REQUEST, "no greeting");
	fd = peer_connect(*state);
	peer_send(fd, AGENT_HELLO, &hello, sizeof(hello));
	peer_expect_failed(fd, -EPROTONOSUPPORT, REQUEST,
		"the host speaks version 77 of the agent protocol, the guest version 2");
}

static void impossible_heads_are_refused(void **state)
{
	static const struct agent_frame heads[] = {
		{.bytes = 0, .type = 0},
		{.bytes = 0, .type = 999},
		{.bytes = AGENT_REQUEST_MAX + 1, .type = AGENT_EXEC},
		{.bytes = UINT32_MAX, .type = AGENT_EXEC},
		{.bytes = 1, .type = AGENT_SYNC},
		{.bytes = 9, .type = AGENT_HELLO},
	};

	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		int fd = peer_greet(*state);

		peer_send_raw(fd, &heads[i], sizeof(heads[i]));
		peer_expect_failed(fd, -EPROTO, REQUEST, "unknown type or impossible size");
		fd = peer_connect(*state);
		peer_send_raw(fd, &heads[i], sizeof(heads[i]));
		peer_expect_failed(fd, -EPROTO, REQUEST, i == 5 ? "impossible" : "");
	}
}

static void frames_out_of_place_are_refused(void **state)
{
	static const uint16_t types[] = {AGENT_HELLO, AGENT_STDIN, AGENT_STDIN_CLOSE, AGENT_SIGNAL,
		AGENT_STARTED, AGENT_STDOUT, AGENT_EXIT, AGENT_DONE, AGENT_READY, AGENT_FAILED};
	const struct peer_command cat = {.argv = ARGV("cat"), .flags = AGENT_EXEC_STDIN};
	uint8_t payload[256] = {0};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		size_t n = (size_t)MIN(frame_limit(types[i]), (int64_t)sizeof(payload));
		int fd = peer_greet(*state);

		peer_send(fd, types[i], payload, n);
		peer_expect_failed(fd, -EPROTO, REQUEST, "no request");
		if (types[i] >= AGENT_STDIN && types[i] <= AGENT_SIGNAL)
			continue;
		fd = peer_start(*state, &cat);
		peer_send(fd, types[i], payload, n);
		peer_expect_failed(fd, -EPROTO, REQUEST, "no place in a running command");
	}
}

/* Sends a request of the fields in b. */
static int request(const struct peer *p, const struct buf *b)
{
	int fd = peer_greet(p);

	peer_send(fd, AGENT_EXEC, b->data, b->bytes);
	return fd;
}

static void bad_field(
	const struct peer *p, uint16_t tag, const void *data, size_t bytes, const char *cause)
{
	autobuf struct buf b;

	buf_init(&b, AGENT_REQUEST_MAX);
	peer_put_field(&b, AGENT_ARG, "true", 4);
	peer_put_field(&b, tag, data, bytes);
	peer_expect_failed(request(p, &b), -EINVAL, REQUEST, cause);
}

static void bad_fields_are_refused(void **state)
{
	uint32_t flags = 1u << 31;

	bad_field(*state, 0, "x", 1, "field 0 is not known");
	bad_field(*state, 6, "x", 1, "field 6 is not known");
	bad_field(*state, 65535, "x", 1, "field 65535 is not known");
	bad_field(*state, AGENT_FLAGS, &flags, 4, "flags are not known");
	bad_field(*state, AGENT_FLAGS, &flags, 3, "flags are not known");
	bad_field(*state, AGENT_FLAGS, "", 0, "flags are not known");
	bad_field(*state, AGENT_CWD, "a/b", 3, "not an absolute path");
	bad_field(*state, AGENT_CWD, "", 0, "not an absolute path");
	bad_field(*state, AGENT_CWD, "/a\0b", 4, "NUL");
	bad_field(*state, AGENT_ARG, "a\0b", 3, "NUL");
	bad_field(*state, AGENT_USER, "\0", 1, "NUL");
	bad_field(*state, AGENT_ENV, "A=\0", 3, "NUL");
	bad_field(*state, AGENT_ENV, "A", 1, "not NAME=value");
	bad_field(*state, AGENT_ENV, "=A", 2, "not NAME=value");
	bad_field(*state, AGENT_ENV, "", 0, "not NAME=value");
}

static void bad_requests_are_refused(void **state)
{
	struct agent_field f = {.bytes = 5, .tag = AGENT_ARG};
	autobuf struct buf b;

	buf_init(&b, AGENT_REQUEST_MAX);
	peer_expect_failed(request(*state, &b), -EINVAL, REQUEST, "no command");
	peer_put_field(&b, AGENT_ENV, "A=b", 3);
	peer_expect_failed(request(*state, &b), -EINVAL, REQUEST, "no command");
	peer_put_field(&b, AGENT_USER, "0", 1);
	peer_put_field(&b, AGENT_USER, "0", 1);
	peer_expect_failed(request(*state, &b), -EINVAL, REQUEST, "field 4 comes twice");
	buf_consume(&b, b.bytes);
	peer_put_field(&b, AGENT_ARG, "true", 4);
	assert_int_equal(buf_append(&b, &f, sizeof(f)), 0);
	assert_int_equal(buf_append(&b, "four", 4), 0);
	peer_expect_failed(request(*state, &b), -EINVAL, REQUEST, "runs past the end");
	b.bytes -= 5 + 3;
	peer_expect_failed(request(*state, &b), -EINVAL, REQUEST, "runs past the end");
}

static void bad_streams_end_the_command(void **state)
{
	static uint8_t piece[AGENT_FRAME_MAX];
	const struct peer_command sleeper = {
		.argv = ARGV("sleep", "1000"), .flags = AGENT_EXEC_STDIN};
	const struct peer_command deaf = {.argv = ARGV("sleep", "1000")};
	int fd;

	fd = peer_start(*state, &deaf);
	peer_send(fd, AGENT_STDIN, "x", 1);
	peer_expect_failed(fd, -EPROTO, REQUEST, "not announced");
	fd = peer_start(*state, &deaf);
	peer_send(fd, AGENT_STDIN_CLOSE, NULL, 0);
	peer_expect_failed(fd, -EPROTO, REQUEST, "not open");
	fd = peer_start(*state, &sleeper);
	peer_send(fd, AGENT_STDIN_CLOSE, NULL, 0);
	peer_send(fd, AGENT_STDIN, "x", 1);
	peer_expect_failed(fd, -EPROTO, REQUEST, "is over");
	fd = peer_start(*state, &sleeper);
	for (int i = 0; i < 6; i++)
		peer_send(fd, AGENT_STDIN, piece, sizeof(piece));
	peer_expect_failed(fd, -EPROTO, REQUEST, "beyond the window");
}

static void bad_signals_end_the_command(void **state)
{
	static const uint32_t numbers[] = {0, 65, UINT32_MAX, (uint32_t)-9};
	const struct peer_command deaf = {.argv = ARGV("sleep", "1000")};
	int fd;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		fd = peer_start(*state, &deaf);
		peer_send_u32(fd, AGENT_SIGNAL, numbers[i]);
		peer_expect_failed(fd, -EPROTO, REQUEST, "there is no signal");
	}
	fd = peer_start(*state, &deaf);
	peer_send(fd, AGENT_SIGNAL, "\x0f", 1);
	peer_expect_failed(fd, -EPROTO, REQUEST, "a signal of the wrong size");
}

static void bad_shutdown_is_refused(void **state)
{
	int fd = peer_greet(*state);

	peer_send(fd, AGENT_SHUTDOWN, "1234", 4);
	peer_expect_failed(fd, -EPROTO, REQUEST, "shutdown request of the wrong size");
}

static void sync_is_answered(void **state)
{
	struct peer_frame *f = malloc(sizeof(*f));
	int fd = peer_greet(*state);

	assert_non_null(f);
	peer_send(fd, AGENT_SYNC, NULL, 0);
	peer_expect(fd, AGENT_DONE, f);
	peer_expect_end(fd);
	close(fd);
	free(f);
}

/* The same bytes in the smallest and in the largest pieces mean the same. */
static void pieces_do_not_matter(void **state)
{
	const struct peer_command c = {.argv = ARGV("echo", "whole"), .flags = PEER_OUTPUT};
	struct agent_hello hello = {.version = AGENT_VERSION};
	struct agent_frame head;
	struct peer_result r;
	autobuf struct buf all, fields;

	buf_init(&all, AGENT_REQUEST_MAX);
	buf_init(&fields, AGENT_REQUEST_MAX);
	peer_put_command(&fields, &c);
	frame_head(&head, AGENT_HELLO, sizeof(hello));
	assert_int_equal(buf_append(&all, &head, sizeof(head)), 0);
	assert_int_equal(buf_append(&all, &hello, sizeof(hello)), 0);
	frame_head(&head, AGENT_EXEC, (uint32_t)fields.bytes);
	assert_int_equal(buf_append(&all, &head, sizeof(head)), 0);
	assert_int_equal(buf_append(&all, fields.data, fields.bytes), 0);
	for (size_t step = 1; step <= all.bytes; step += step == 1 ? all.bytes - 1 : 1) {
		int fd = peer_connect(*state);
		struct peer_frame *f = malloc(sizeof(*f));

		assert_non_null(f);
		for (size_t i = 0; i < all.bytes; i += step)
			peer_send_raw(fd, all.data + i, MIN(step, all.bytes - i));
		peer_expect(fd, AGENT_HELLO, f);
		peer_collect(fd, &r);
		assert_string_equal((char *)r.out.data, "whole\n");
		peer_result_fini(&r);
		free(f);
	}
}

/* Noise after a proper greeting; the seed is fixed, so that what it finds is found again. */
static void noise_hurts_nobody(void **state)
{
	uint32_t x = 12345;

	for (int i = 0; i < 300; i++) {
		uint8_t noise[200];
		int fd = i % 2 ? peer_greet(*state) : peer_connect(*state);

		for (size_t k = 0; k < sizeof(noise); k++) {
			x = x * 1664525 + 1013904223;
			noise[k] = (uint8_t)(x >> 24);
		}
		if (i % 3 == 0) { /* a head that can be, and noise as its fields */
			struct agent_frame head;

			frame_head(&head, AGENT_EXEC, sizeof(noise) - sizeof(head));
			memcpy(noise, &head, sizeof(head));
			if (i % 2)
				memcpy(noise + 8, (uint8_t[]){4, 0, 0, 0, 1, 0, 0, 0}, 8);
		}
		(void)!send(fd, noise, sizeof(noise), MSG_NOSIGNAL);
		close(fd);
	}
	peer_expect_shell(*state, "echo alive", 0, "alive\n");
}

/* While one connection is torn to pieces, the command of another goes on. */
static void others_are_not_hurt(void **state)
{
	const struct peer_command cat = {
		.argv = ARGV("cat"), .flags = AGENT_EXEC_STDIN | PEER_OUTPUT};
	struct peer_result r;
	int fd = peer_start(*state, &cat);

	first_frame_must_greet(state);
	bad_requests_are_refused(state);
	bad_streams_end_the_command(state);
	peer_send(fd, AGENT_STDIN, "still here\n", 11);
	peer_send(fd, AGENT_STDIN_CLOSE, NULL, 0);
	peer_collect(fd, &r);
	assert_string_equal((char *)r.out.data, "still here\n");
	peer_result_fini(&r);
}

#define AGENT_TEST(f) cmocka_unit_test_setup_teardown(f, peer_set_up, peer_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		AGENT_TEST(first_frame_must_greet),
		AGENT_TEST(impossible_heads_are_refused),
		AGENT_TEST(frames_out_of_place_are_refused),
		AGENT_TEST(bad_fields_are_refused),
		AGENT_TEST(bad_requests_are_refused),
		AGENT_TEST(bad_streams_end_the_command),
		AGENT_TEST(bad_signals_end_the_command),
		AGENT_TEST(bad_shutdown_is_refused),
		AGENT_TEST(sync_is_answered),
		AGENT_TEST(pieces_do_not_matter),
		AGENT_TEST(noise_hurts_nobody),
		AGENT_TEST(others_are_not_hurt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
