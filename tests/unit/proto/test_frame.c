// SPDX-License-Identifier: Apache-2.0
/* Framing: what is encoded is decoded, what is impossible is refused, nothing is read past its end.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cc.h"
#include "proto/frame.h"

static const uint16_t all_types[] = {AGENT_HELLO, AGENT_FAILED, AGENT_EXEC, AGENT_SHUTDOWN,
	AGENT_SYNC, AGENT_STDIN, AGENT_STDIN_CLOSE, AGENT_SIGNAL, AGENT_STARTED, AGENT_STDOUT,
	AGENT_STDERR, AGENT_STDIN_TAKEN, AGENT_EXIT, AGENT_DONE, AGENT_READY, AGENT_FREEZE,
	AGENT_THAW, AGENT_RESUME, AGENT_ATTACH, AGENT_AWAIT, AGENT_RESUMED, AGENT_LISTENING};

/* A copy that ends where its allocation ends, so that a sanitizer sees one byte too many. */
static uint8_t *exact(const void *data, size_t bytes)
{
	uint8_t *p = malloc(bytes ? bytes : 1);

	assert_non_null(p);
	if (bytes)
		memcpy(p, data, bytes);
	return p;
}

static void every_type_has_a_limit(void **state)
{
	unsigned known = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all_types); i++) {
		assert_true(frame_limit(all_types[i]) >= 0);
		assert_true(frame_limit(all_types[i]) <= AGENT_REQUEST_MAX);
	}
	for (unsigned t = 0; t <= UINT16_MAX; t++)
		known += frame_limit((uint16_t)t) >= 0;
	assert_int_equal(known, ARRAY_LEN(all_types));
	assert_int_equal(frame_limit(0), -EPROTO);
	assert_int_equal(frame_limit(AGENT_STDOUT), AGENT_FRAME_MAX);
	assert_int_equal(frame_limit(AGENT_DONE), 0);
	assert_int_equal(frame_limit(AGENT_FREEZE), 0);
	assert_int_equal(frame_limit(AGENT_THAW), 0);
	assert_int_equal(frame_limit(AGENT_RESUME), AGENT_FRAME_MAX);
	assert_int_equal(frame_limit(AGENT_LISTENING), sizeof(struct agent_listener));
}

static void whole_frames_are_found(void **state)
{
	struct agent_frame head, got;
	const uint8_t *payload;
	uint8_t all[sizeof(head) + 6];

	(void)state;
	frame_head(&head, AGENT_STDIN, 5);
	memcpy(all, &head, sizeof(head));
	memcpy(all + sizeof(head), "hello!", 6);
	for (size_t n = 0; n <= sizeof(all); n++) {
		uint8_t *p = exact(all, n);
		int64_t r = frame_decode(p, n, &got, &payload);

		assert_int_equal(r, n < sizeof(head) + 5 ? 0 : sizeof(head) + 5);
		if (r) {
			assert_int_equal(got.type, AGENT_STDIN);
			assert_int_equal(got.bytes, 5);
			assert_memory_equal(payload, "hello", 5);
			assert_ptr_equal(payload, p + sizeof(head));
		}
		free(p);
	}
}

static void impossible_heads_are_refused(void **state)
{
	struct agent_frame head, got = {.type = 4711};
	const uint8_t *payload = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all_types); i++) {
		int64_t limit = frame_limit(all_types[i]);

		frame_head(&head, all_types[i], (uint32_t)limit + 1);
		assert_int_equal(frame_decode(&head, sizeof(head), &got, &payload), -EPROTO);
		frame_head(&head, all_types[i], UINT32_MAX);
		assert_int_equal(frame_decode(&head, sizeof(head), &got, &payload), -EPROTO);
		frame_head(&head, all_types[i], (uint32_t)limit);
		assert_int_equal(frame_decode(&head, sizeof(head), &got, &payload),
			limit ? 0 : (int64_t)sizeof(head));
	}
	got.type = 4711;
	frame_head(&head, 4242, 0);
	assert_int_equal(frame_decode(&head, sizeof(head), &got, &payload), -EPROTO);
	assert_int_equal(got.type, 4711); /* untouched */
}

static void fields_come_back(void **state)
{
	uint8_t room[64], *to = room;
	const uint8_t *at = room, *data;
	struct agent_field f;

	(void)state;
	assert_int_equal(frame_put_field(&to, room + sizeof(room), AGENT_ARG, "ls", 2), 0);
	assert_int_equal(frame_put_field(&to, room + sizeof(room), AGENT_ENV, NULL, 0), 0);
	assert_int_equal(frame_next_field(&at, to, &f, &data), 1);
	assert_int_equal(f.tag, AGENT_ARG);
	assert_int_equal(f.bytes, 2);
	assert_memory_equal(data, "ls", 2);
	assert_int_equal(frame_next_field(&at, to, &f, &data), 1);
	assert_int_equal(f.tag, AGENT_ENV);
	assert_int_equal(f.bytes, 0);
	assert_int_equal(frame_next_field(&at, to, &f, &data), 0);
}

static void fields_stay_in_their_room(void **state)
{
	uint8_t room[20], *to = room;
	char text[64] = {0};

	(void)state;
	assert_int_equal(frame_put_field(&to, room + sizeof(room), AGENT_ARG, text, 13), -E2BIG);
	assert_int_equal(
		frame_put_field(&to, room + sizeof(room), AGENT_ARG, text, SIZE_MAX), -E2BIG);
	assert_ptr_equal(to, room);
	assert_int_equal(frame_put_field(&to, room + sizeof(room), AGENT_ARG, text, 12), 0);
	assert_int_equal(frame_put_field(&to, room + sizeof(room), AGENT_ARG, text, 0), -E2BIG);
}

static void fields_past_the_end_are_refused(void **state)
{
	uint8_t room[32] = {0}, *to = room;
	struct agent_field f;

	(void)state;
	assert_int_equal(frame_put_field(&to, room + sizeof(room), AGENT_ARG, "word", 4), 0);
	for (size_t n = 1; n < sizeof(f) + 4; n++) {
		uint8_t *p = exact(room, n);
		const uint8_t *at = p, *data;

		assert_int_equal(frame_next_field(&at, p + n, &f, &data), -EPROTO);
		free(p);
	}
	memset(room, 0xff, 4);
	for (size_t n = sizeof(f); n <= sizeof(room); n++) {
		uint8_t *p = exact(room, n);
		const uint8_t *at = p, *data;

		assert_int_equal(frame_next_field(&at, p + n, &f, &data), -EPROTO);
		free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_has_a_limit),
		cmocka_unit_test(whole_frames_are_found),
		cmocka_unit_test(impossible_heads_are_refused),
		cmocka_unit_test(fields_come_back),
		cmocka_unit_test(fields_stay_in_their_room),
		cmocka_unit_test(fields_past_the_end_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
