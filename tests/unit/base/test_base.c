// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/str.h"

static void err_builds_a_sentence(void **state)
{
	struct err e = {0};
	char text[800];

	(void)state;
	errno = ENOENT;
	assert_int_equal(err_sys(&e, "open"), -ENOENT);
	err_object(&e, "/x/%d", 7);
	err_object(&e, "outer");
	err_ctx(&e, "layer %s", "a");
	err_remedy(&e, "make it");
	err_sentence(&e, text, sizeof(text));
	assert_string_equal(text, "/x/7: layer a: open: No such file or directory; make it");
	assert_int_equal(err_set(&e, -EINVAL, "bad"), -EINVAL);
	err_sentence(&e, text, sizeof(text));
	assert_string_equal(text, "bad");
	assert_int_equal(err_set(NULL, -EPERM, "x"), -EPERM);
}

static void err_never_overflows(void **state)
{
	char *big = malloc(5000), text[64];
	struct err e = {0};

	(void)state;
	memset(big, 'a', 4999);
	big[4999] = '\0';
	err_set(&e, -EIO, "%s", big);
	for (int i = 0; i < 5; i++)
		err_ctx(&e, "%s", big);
	err_object(&e, "%s", big);
	err_sentence(&e, text, sizeof(text));
	assert_int_equal(strlen(text), sizeof(text) - 1);
	assert_int_equal(strlen(e.cause), sizeof(e.cause) - 1);
	free(big);
}

static void numbers_are_strict(void **state)
{
	static const char *const bad[] = {
		"", " 1", "1 ", "+1", "-1", "0x10", "1k2", "18446744073709551616"};
	uint64_t v = 99;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_true(str_to_u64(bad[i], &v) < 0);
	assert_int_equal(v, 99);
	assert_int_equal(str_to_u64("18446744073709551615", &v), 0);
	assert_true(v == UINT64_MAX);
}

static void sizes_have_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0}, {"512M", 512u << 20}, {"1g", 1u << 30}, {"2KiB", 2048}, {"7B", 7},
		{"3kB", 3072}, {"1T", 1ull << 40}};
	static const char *const bad[] = {
		"", "M", "1.5G", "1Q", "1MM", "1iB", "99999999999T", "-1M", "1 M"};
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(str_to_size(good[i].text, &v), 0);
		assert_true(v == good[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_true(str_to_size(bad[i], &v) < 0);
}

static void buf_stops_at_its_ceiling(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_int_equal(buf_append(&b, "12345678", 8), 0);
	assert_int_equal(buf_append(&b, "901", 3), -E2BIG);
	assert_int_equal(buf_printf(&b, "%d", 42), 0);
	assert_int_equal(buf_printf(&b, "%d", 4), -E2BIG);
	assert_string_equal(buf_cstr(&b), "1234567842");
	buf_consume(&b, 8);
	assert_string_equal(buf_cstr(&b), "42");
	assert_null(buf_reserve(&b, SIZE_MAX));
	buf_fini(&b);
}

static void buf_reads_a_descriptor(void **state)
{
	struct buf b;
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	assert_int_equal(write(p[1], "hello", 5), 5);
	close(p[1]);
	buf_init(&b, 5);
	assert_int_equal(buf_read_fd(&b, p[0]), 0);
	assert_int_equal(b.bytes, 5);
	buf_fini(&b);
	close(p[0]);
}

static void messages_carry_descriptors(void **state)
{
	int s[2], p[2], got[2];
	unsigned n = 2;
	char data[8], c;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(fd_send_message(s[0], "ab", 2, p, 2), 0);
	assert_int_equal(fd_receive_message(s[1], data, sizeof(data), got, &n), 2);
	assert_int_equal(n, 2);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(got[1], "z", 1), 1);
	assert_int_equal(read(p[0], &c, 1), 1);
	assert_int_equal(c, 'z');
	/* too many descriptors, then too long: refused whole */
	n = 0;
	assert_int_equal(fd_send_message(s[0], "ab", 2, p, 1), 0);
	assert_int_equal(fd_receive_message(s[1], data, sizeof(data), got, &n), -EMSGSIZE);
	n = 2;
	assert_int_equal(fd_send_message(s[0], "123456789", 9, NULL, 0), 0);
	assert_int_equal(fd_receive_message(s[1], data, sizeof(data), got, &n), -EMSGSIZE);
	close(s[0]);
	n = 2;
	assert_int_equal(fd_receive_message(s[1], data, sizeof(data), got, &n), 0);
	close(s[1]);
}

struct two_watches {
	struct loop *loop;
	struct loop_watch a, b;
	int n_called;
};

/* Whichever runs first removes both: the other must not be called from events already collected. */
static void remove_both(struct two_watches *t)
{
	t->n_called++;
	loop_remove(t->loop, &t->a);
	loop_remove(t->loop, &t->b);
}

static void a_ready(struct loop_watch *w, unsigned events)
{
	assert_true(events & LOOP_READ);
	remove_both(container_of(w, struct two_watches, a));
}

static void b_ready(struct loop_watch *w, unsigned events)
{
	assert_true(events & LOOP_READ);
	remove_both(container_of(w, struct two_watches, b));
}

static void loop_forgets_a_removed_watch(void **state)
{
	int p[2], q[2];
	struct loop l;

	(void)state;
	assert_int_equal(loop_init(&l, NULL), 0);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(pipe(q), 0);
	struct two_watches t = {.loop = &l, .a = {p[0], a_ready}, .b = {q[0], b_ready}};

	assert_int_equal(loop_add(&l, &t.a, LOOP_READ), 0);
	assert_int_equal(loop_add(&l, &t.b, LOOP_READ), 0);
	assert_int_equal(write(p[1], "x", 1), 1);
	assert_int_equal(write(q[1], "x", 1), 1);
	assert_int_equal(loop_turn(&l, 1000), 2);
	assert_int_equal(t.n_called, 1);
	assert_int_equal(loop_turn(&l, 0), 0);
	loop_fini(&l);
	for (int i = 0; i < 2; i++) {
		close(p[i]);
		close(q[i]);
	}
}

static void *stop_it(void *loop)
{
	loop_stop(loop);
	return NULL;
}

static void loop_stops_from_another_thread(void **state)
{
	pthread_t thread;
	struct loop l;

	(void)state;
	assert_int_equal(loop_init(&l, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, stop_it, &l), 0);
	assert_int_equal(loop_run(&l), 0);
	pthread_join(thread, NULL);
	loop_fini(&l);
}

static void deadlines(void **state)
{
	(void)state;
	assert_true(clock_deadline_ns(-1) == UINT64_MAX);
	assert_int_equal(clock_left_ms(UINT64_MAX), -1);
	assert_int_equal(clock_left_ms(0), 0);
	assert_in_range(clock_left_ms(clock_deadline_ns(60000)), 59000, 60000);
	assert_true(clock_deadline_ns(INT64_MAX) == UINT64_MAX);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(err_builds_a_sentence),
		cmocka_unit_test(err_never_overflows),
		cmocka_unit_test(numbers_are_strict),
		cmocka_unit_test(sizes_have_units),
		cmocka_unit_test(buf_stops_at_its_ceiling),
		cmocka_unit_test(buf_reads_a_descriptor),
		cmocka_unit_test(messages_carry_descriptors),
		cmocka_unit_test(loop_forgets_a_removed_watch),
		cmocka_unit_test(loop_stops_from_another_thread),
		cmocka_unit_test(deadlines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
