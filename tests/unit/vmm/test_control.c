// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "vmm/control.h"

static int sock[2];

static int setup(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock);
}

static int teardown(void **state)
{
	(void)state;
	close(sock[0]);
	close(sock[1]);
	return 0;
}

static void receives_what_was_sent(void **state)
{
	static struct control_packet p;
	struct ctl_port m = {{CTL_VERSION, CTL_CONNECT, sizeof(m)}, .port = 1024};
	int null = open("/dev/null", O_RDONLY);

	(void)state;
	assert_int_equal(fd_send_message(sock[0], &m, sizeof(m), &null, 1), 0);
	assert_int_equal(control_receive(sock[1], &p, NULL), 1);
	assert_int_equal(control_type(&p), CTL_CONNECT);
	assert_int_equal(p.bytes, sizeof(m));
	assert_int_equal(p.n_fds, 1);
	control_packet_close(&p);
	assert_int_equal(p.n_fds, 0);
	close(null);
}

static void refuses_other_versions_and_lengths(void **state)
{
	static struct control_packet p;
	struct ctl_header bad[] = {
		{CTL_VERSION + 1, CTL_BALLOON, 8}, {CTL_VERSION, CTL_BALLOON, 9}};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(fd_send_message(sock[0], &bad[i], 8, sock, 1), 0);
		assert_int_equal(control_receive(sock[1], &p, &e), -EPROTO);
		assert_int_equal(p.n_fds, 0);
	}
	assert_int_equal(fd_send_message(sock[0], bad, 3, NULL, 0), 0);
	assert_int_equal(control_receive(sock[1], &p, &e), -EPROTO);
}

static void says_when_the_library_is_gone(void **state)
{
	static struct control_packet p;

	(void)state;
	assert_int_equal(fd_set_nonblocking(sock[1], true), 0);
	assert_int_equal(control_receive(sock[1], &p, NULL), -EAGAIN);
	assert_int_equal(shutdown(sock[0], SHUT_RDWR), 0);
	assert_int_equal(control_receive(sock[1], &p, NULL), 0);
}

static void the_last_word_carries_the_error(void **state)
{
	struct err e = {0};
	struct ctl_end m;

	(void)state;
	err_set(&e, -ENOENT, "why");
	err_object(&e, "what");
	err_remedy(&e, "do");
	assert_int_equal(control_send_end(sock[0], CTL_END, CTL_END_ERROR, &e), 0);
	assert_int_equal(read(sock[1], &m, sizeof(m)), sizeof(m));
	assert_int_equal(m.header.type, CTL_END);
	assert_int_equal(m.reason, CTL_END_ERROR);
	assert_int_equal(m.code, -ENOENT);
	assert_string_equal(m.object, "what");
	assert_string_equal(m.cause, "why");
	assert_string_equal(m.remedy, "do");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(receives_what_was_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(
			refuses_other_versions_and_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(says_when_the_library_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_word_carries_the_error, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
