// SPDX-License-Identifier: Apache-2.0
/* What a resume and a wait ask for: good fields are taken, everything else is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "guest/request.h"
#include "guest/snapreq.h"
#include "peer.h"

static const uint8_t entropy[32] = "not random, yet of good size";
static const struct agent_clock noon = {.seconds = 1700000000, .nanoseconds = 5};

static void put_required(struct buf *b)
{
	buf_init(b, AGENT_FRAME_MAX);
	peer_put_field(b, AGENT_R_ENTROPY, entropy, sizeof(entropy));
	peer_put_field(b, AGENT_R_CLOCK, &noon, sizeof(noon));
}

static void put_text(struct buf *b, uint16_t tag, const char *s)
{
	peer_put_field(b, tag, s, strlen(s));
}

/* Decodes what required fields and one more give; b is used up. */
static int decode(struct buf *b, struct resume *q)
{
	struct err e = {0};
	/* Ends where its allocation ends, so that a sanitizer sees one byte too many. */
	uint8_t *exact = malloc(b->bytes);
	int r;

	assert_non_null(exact);
	memcpy(exact, b->data, b->bytes);
	r = resume_decode(exact, b->bytes, q, &e);
	assert_int_equal(r, e.code);
	assert_true(r == 0 || e.cause[0]);
	free(exact);
	buf_fini(b);
	return r;
}

static void expect_refused(uint16_t tag, const void *data, size_t bytes)
{
	struct resume q;
	struct buf b;

	put_required(&b);
	peer_put_field(&b, tag, data, bytes);
	assert_int_equal(decode(&b, &q), -EINVAL);
}

static void everything_is_taken(void **state)
{
	struct agent_clone clone = {.index = 2, .count = 3};
	struct resume q;
	struct buf b;

	(void)state;
	put_required(&b);
	put_text(&b, AGENT_R_ENV, "A=1");
	put_text(&b, AGENT_R_HOSTNAME, "web-3");
	put_text(&b, AGENT_R_MACHINE_ID, "0123456789ABCDEF0123456789abcdef");
	peer_put_field(&b, AGENT_R_CLONE, &clone, sizeof(clone));
	put_text(&b, AGENT_R_ENV, "B=");
	assert_int_equal(decode(&b, &q), 0);
	assert_int_equal(q.entropy_bytes, sizeof(entropy));
	assert_memory_equal(q.entropy, entropy, sizeof(entropy));
	assert_int_equal(q.clock.seconds, noon.seconds);
	assert_int_equal(q.clock.nanoseconds, noon.nanoseconds);
	assert_string_equal(q.hostname, "web-3");
	assert_string_equal(q.machine_id, "0123456789abcdef0123456789abcdef");
	assert_int_equal(q.clone.index, 2);
	assert_int_equal(q.clone.count, 3);
	assert_int_equal(q.n_env, 2);
	assert_string_equal(q.env[0], "A=1");
	assert_string_equal(q.env[1], "B=");
	resume_fini(&q);
}

static void entropy_and_time_are_required(void **state)
{
	struct resume q;
	struct buf b;

	(void)state;
	buf_init(&b, AGENT_FRAME_MAX);
	peer_put_field(&b, AGENT_R_ENTROPY, entropy, sizeof(entropy));
	assert_int_equal(decode(&b, &q), -EINVAL);
	peer_put_field(&b, AGENT_R_CLOCK, &noon, sizeof(noon));
	assert_int_equal(decode(&b, &q), -EINVAL);
	put_required(&b);
	assert_int_equal(decode(&b, &q), 0);
	assert_int_equal(q.n_env, 0);
	assert_int_equal(q.clone.count, 0);
	resume_fini(&q);
}

static void wrong_sizes_are_refused(void **state)
{
	static const uint8_t zeroes[SNAPREQ_ENTROPY_MAX + 1];

	(void)state;
	expect_refused(AGENT_R_ENTROPY, zeroes, sizeof(entropy)); /* twice */
	for (uint16_t tag = AGENT_R_CLOCK; tag <= AGENT_R_CLONE; tag++)
		for (size_t n = 0; n < 70; n++)
			expect_refused(tag, zeroes, n);
	expect_refused(0, zeroes, 0);
	expect_refused(7, zeroes, 4);
	expect_refused(33, zeroes, 4);
	expect_refused(UINT16_MAX, zeroes, 0);
}

static void entropy_is_bounded(void **state)
{
	static const uint8_t zeroes[SNAPREQ_ENTROPY_MAX + 1];
	static const size_t sizes[] = {0, 31, 32, 512, 513};
	struct resume q;
	struct buf b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		bool is_good = sizes[i] >= 32 && sizes[i] <= 512;

		buf_init(&b, AGENT_FRAME_MAX);
		peer_put_field(&b, AGENT_R_CLOCK, &noon, sizeof(noon));
		peer_put_field(&b, AGENT_R_ENTROPY, zeroes, sizes[i]);
		assert_int_equal(decode(&b, &q), is_good ? 0 : -EINVAL);
		if (is_good)
			resume_fini(&q);
	}
}

static void impossible_values_are_refused(void **state)
{
	static const char *const names[] = {"", "-a", "a b", "a/b", "a\n"};
	static const char *const ids[] = {"0123456789abcdef0123456789abcde",
		"0123456789abcdef0123456789abcdef0", "0123456789abcdef0123456789abcdeg"};
	static const char *const vars[] = {"", "=", "=x", "A", "A=1\nB=2"};
	struct agent_clone none = {0, 0}, beyond = {3, 3};
	struct agent_clock late = {.nanoseconds = 1000000000}, far = {.seconds = UINT64_MAX},
			   odd = {.reserved = 1};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		expect_refused(AGENT_R_HOSTNAME, names[i], strlen(names[i]));
	expect_refused(AGENT_R_HOSTNAME, "a\0b", 3);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		expect_refused(AGENT_R_MACHINE_ID, ids[i], strlen(ids[i]));
	for (size_t i = 0; i < ARRAY_LEN(vars); i++)
		expect_refused(AGENT_R_ENV, vars[i], strlen(vars[i]));
	expect_refused(AGENT_R_ENV, "A=\0", 3);
	expect_refused(AGENT_R_CLONE, &none, sizeof(none));
	expect_refused(AGENT_R_CLONE, &beyond, sizeof(beyond));
	for (int i = 0; i < 3; i++) {
		const struct agent_clock *const clocks[] = {&late, &far, &odd};
		struct resume q;
		struct buf b;

		buf_init(&b, AGENT_FRAME_MAX);
		peer_put_field(&b, AGENT_R_ENTROPY, entropy, sizeof(entropy));
		peer_put_field(&b, AGENT_R_CLOCK, clocks[i], sizeof(*clocks[i]));
		assert_int_equal(decode(&b, &q), -EINVAL);
	}
}

static void variables_are_bounded_and_apart(void **state)
{
	struct resume q;
	struct buf b;
	char text[32];

	(void)state;
	put_required(&b);
	put_text(&b, AGENT_R_ENV, "A=1");
	put_text(&b, AGENT_R_ENV, "AB=1");
	put_text(&b, AGENT_R_ENV, "A=2");
	assert_int_equal(decode(&b, &q), -EINVAL);
	for (unsigned n = SNAPREQ_ENV_MAX; n <= SNAPREQ_ENV_MAX + 1; n++) {
		put_required(&b);
		for (unsigned i = 0; i < n; i++) {
			snprintf(text, sizeof(text), "V%u=%u", i, i);
			put_text(&b, AGENT_R_ENV, text);
		}
		assert_int_equal(decode(&b, &q), n == SNAPREQ_ENV_MAX ? 0 : -EINVAL);
		if (n == SNAPREQ_ENV_MAX) {
			assert_int_equal(q.n_env, n);
			assert_string_equal(q.env[n - 1], "V511=511");
			resume_fini(&q);
		}
	}
}

static void cut_requests_are_refused(void **state)
{
	struct resume q;
	struct buf whole, b;

	(void)state;
	put_required(&whole);
	put_text(&whole, AGENT_R_ENV, "NAME=value");
	for (size_t n = 1; n < whole.bytes; n++) {
		size_t required = 2 * sizeof(struct agent_field) + sizeof(entropy) + sizeof(noon);

		buf_init(&b, AGENT_FRAME_MAX);
		assert_int_equal(buf_append(&b, whole.data, n), 0);
		assert_int_equal(decode(&b, &q), n == required ? 0 : -EINVAL);
		if (n == required)
			resume_fini(&q);
	}
	buf_fini(&whole);
}

static int wait_for(uint16_t tag, const void *data, size_t bytes, struct await_request *q)
{
	struct err e = {0};
	autobuf struct buf b;
	int r;

	buf_init(&b, 8192);
	peer_put_field(&b, tag, data, bytes);
	r = await_decode(b.data, b.bytes, q, &e);
	assert_int_equal(r, e.code);
	return r;
}

static void one_event_is_awaited(void **state)
{
	static char path[4097];
	struct await_request q;
	uint32_t port = 65535;
	struct err e = {0};
	autobuf struct buf b;

	(void)state;
	assert_int_equal(wait_for(AGENT_W_LISTEN, &port, 4, &q), 0);
	assert_int_equal(q.port, 65535);
	await_request_fini(&q);
	port++;
	assert_int_equal(wait_for(AGENT_W_LISTEN, &port, 4, &q), -EINVAL);
	assert_int_equal(wait_for(AGENT_W_LISTEN, &port, 3, &q), -EINVAL);
	assert_int_equal(wait_for(3, &port, 4, &q), -EINVAL);
	assert_int_equal(wait_for(AGENT_W_FILE, "/a", 2, &q), 0);
	assert_string_equal(q.path, "/a");
	await_request_fini(&q);
	assert_int_equal(wait_for(AGENT_W_FILE, "a", 1, &q), -EINVAL);
	assert_int_equal(wait_for(AGENT_W_FILE, "", 0, &q), -EINVAL);
	assert_int_equal(wait_for(AGENT_W_FILE, "/a\0", 3, &q), -EINVAL);
	memset(path, '/', sizeof(path));
	assert_int_equal(wait_for(AGENT_W_FILE, path, 4096, &q), -EINVAL);
	assert_int_equal(wait_for(AGENT_W_FILE, path, 4095, &q), 0);
	await_request_fini(&q);
	buf_init(&b, 64);
	assert_int_equal(await_decode(path, 0, &q, &e), -EINVAL);
	peer_put_field(&b, AGENT_W_FILE, "/a", 2);
	peer_put_field(&b, AGENT_W_FILE, "/b", 2);
	assert_int_equal(await_decode(b.data, b.bytes, &q, &e), -EINVAL);
}

static void request_wins_over_clone(void **state)
{
	char *own[] = {(char[]){"A=own"}, (char[]){"PATH=/bin"}, NULL, NULL};
	char *const more[] = {(char[]){"A=clone"}, (char[]){"AB=clone"}, (char[]){"B=clone"}};
	struct request q = {.envp = own, .n_env = 2};

	(void)state;
	assert_int_equal(request_add_env(&q, more, 0), 0);
	assert_ptr_equal(q.envp, own);
	assert_int_equal(request_add_env(&q, more, 3), 0);
	assert_int_equal(q.n_env, 4);
	assert_string_equal(q.envp[0], "A=own");
	assert_string_equal(q.envp[1], "PATH=/bin");
	assert_string_equal(q.envp[2], "AB=clone");
	assert_string_equal(q.envp[3], "B=clone");
	assert_null(q.envp[4]);
	request_fini(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_is_taken),
		cmocka_unit_test(entropy_and_time_are_required),
		cmocka_unit_test(wrong_sizes_are_refused),
		cmocka_unit_test(entropy_is_bounded),
		cmocka_unit_test(impossible_values_are_refused),
		cmocka_unit_test(variables_are_bounded_and_apart),
		cmocka_unit_test(cut_requests_are_refused),
		cmocka_unit_test(one_event_is_awaited),
		cmocka_unit_test(request_wins_over_clone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
