// SPDX-License-Identifier: Apache-2.0
/*
 * A VM reached by name from another process: real sockets, a real runtime directory. What the
 * library would do with a VM is noted here instead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/reach.h"
#include "cli/serve.h"

enum { NOBODY = 65534 };

static char handle;
static struct sm_vm *const the_vm = (struct sm_vm *)&handle;
static char top[64], asked_dir[PATH_MAX], asked_base[PATH_MAX];
static struct sm_error next_error; /* what the snapshot comes to */
static int host_code;

/* ---- the library --------------------------------------------------------------------------- */

int sm_vm_snapshot(struct sm_vm *vm, const char *dir, const struct sm_snapshot_options *options,
	struct sm_error *err)
{
	assert_ptr_equal(vm, the_vm);
	assert_int_equal(options->size, sizeof(*options));
	snprintf(asked_dir, sizeof(asked_dir), "%s", dir);
	snprintf(asked_base, sizeof(asked_base), "%s", options->base ? options->base : "none");
	*err = next_error;
	return next_error.code;
}

int sm_host_check(sm_check_fn each, void *context, struct sm_error *err)
{
	(void)each;
	(void)context;
	(void)err;
	return host_code;
}

/* ---- around each test ---------------------------------------------------------------------- */

static int set_up(void **state)
{
	(void)state;
	strcpy(top, "/tmp/reach-XXXXXX");
	assert_non_null(mkdtemp(top));
	setenv("XDG_RUNTIME_DIR", top, 1);
	next_error = (struct sm_error){0};
	host_code = 0;
	return 0;
}

static int tear_down(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static void serve(struct serve *s, const char *name)
{
	struct err e;

	if (serve_claim(s, name, &e) < 0 || serve_start(s, the_vm, &e) < 0)
		fail_msg("%s: %s", e.object, e.cause);
}

static void end(struct serve *s)
{
	serve_stop(s);
	serve_release(s);
}

static int connect_to(const char *name)
{
	struct err e;
	int dir_fd = rundir_open(&e), fd;

	assert_true(dir_fd >= 0);
	fd = rundir_connect(dir_fd, name, true);
	close(dir_fd);
	assert_true(fd >= 0);
	return fd;
}

/* ---- tests --------------------------------------------------------------------------------- */

static void a_snapshot_is_asked_for_by_name(void **state)
{
	struct sm_error err;
	struct serve s;

	(void)state;
	serve(&s, "web-1.a");
	assert_int_equal(reach_snapshot("web-1.a", "/some/where", NULL, &err), 0);
	assert_string_equal(asked_dir, "/some/where");
	assert_string_equal(asked_base, "none");
	assert_int_equal(reach_snapshot("web-1.a", "/next", "/its/base", &err), 0);
	assert_string_equal(asked_dir, "/next");
	assert_string_equal(asked_base, "/its/base");
	end(&s);
	assert_int_equal(reach_snapshot("web-1.a", "/x", NULL, &err), SM_E_NOT_FOUND);
}

static void relative_names_are_the_askers(void **state)
{
	char here[PATH_MAX], expected[PATH_MAX + 8];
	struct sm_error err;
	struct serve s;

	(void)state;
	assert_non_null(getcwd(here, sizeof(here)));
	snprintf(expected, sizeof(expected), "%s/a/b", here);
	serve(&s, "vm");
	assert_int_equal(reach_snapshot("vm", "a/b", NULL, &err), 0);
	assert_string_equal(asked_dir, expected);
	assert_int_equal(reach_snapshot("vm", "", NULL, &err), SM_E_INVALID);
	end(&s);
}

static void an_error_arrives_as_data(void **state)
{
	struct sm_error err;
	struct serve s;

	(void)state;
	serve(&s, "vm");
	next_error = (struct sm_error){.code = SM_E_NO_SPACE, .os_code = ENOSPC};
	memset(next_error.object, 'o', sizeof(next_error.object) - 1);
	memset(next_error.cause, 'c', sizeof(next_error.cause) - 1);
	strcpy(next_error.remedy, "make room");
	assert_int_equal(reach_snapshot("vm", "/x", NULL, &err), SM_E_NO_SPACE);
	assert_int_equal(err.code, SM_E_NO_SPACE);
	assert_int_equal(err.os_code, ENOSPC);
	assert_string_equal(err.object, next_error.object);
	assert_string_equal(err.cause, next_error.cause);
	assert_string_equal(err.remedy, "make room");
	end(&s);
}

static void who_is_not_there_is_told(void **state)
{
	struct sm_error err;
	struct serve a, b;

	(void)state;
	assert_int_equal(reach_snapshot("gone", "/x", NULL, &err), SM_E_NOT_FOUND);
	assert_string_equal(err.object, "gone");
	assert_non_null(strstr(err.remedy, "run --name gone"));
	host_code = SM_E_HYPERVISOR;
	assert_int_equal(reach_snapshot("gone", "/x", NULL, &err), SM_E_NOT_FOUND);
	assert_non_null(strstr(err.remedy, "emulated host"));
	serve(&a, "first");
	serve(&b, "second");
	assert_int_equal(reach_snapshot("gone", "/x", NULL, &err), SM_E_NOT_FOUND);
	assert_non_null(strstr(err.remedy, "first"));
	assert_non_null(strstr(err.remedy, "second"));
	end(&a);
	end(&b);
}

static void a_name_is_taken_once(void **state)
{
	struct serve a, b;
	struct err e;

	(void)state;
	serve(&a, "one");
	assert_int_equal(serve_claim(&b, "one", &e), -EADDRINUSE);
	assert_string_equal(e.object, "one");
	assert_true(e.remedy[0]);
	serve_release(&b);
	/* The loser has not taken it away. */
	assert_int_equal(reach_snapshot("one", "/x", NULL, &(struct sm_error){0}), 0);
	end(&a);
	serve(&b, "one");
	end(&b);
}

static void names_that_are_no_file_or_host_names(void **state)
{
	static const char *const names[] = {"", ".", "..", "a/b", "../x", "-x", "a b", "a_b", "ä"};
	char longest[RUNDIR_NAME_MAX + 2];
	struct sm_error err;
	struct serve s;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(serve_claim(&s, names[i], &e), -EINVAL);
		serve_release(&s);
		assert_int_equal(reach_snapshot(names[i], "/x", NULL, &err), SM_E_INVALID);
	}
	memset(longest, 'n', sizeof(longest));
	longest[RUNDIR_NAME_MAX + 1] = '\0';
	assert_int_equal(serve_claim(&s, longest, &e), -EINVAL);
	serve_release(&s);
	longest[RUNDIR_NAME_MAX] = '\0';
	serve(&s, longest);
	assert_int_equal(reach_snapshot(longest, "/x", NULL, &err), 0);
	end(&s);
}

static unsigned sockets(void)
{
	char command[200];
	unsigned n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "ls %s/supermachine | grep -c sock", top);
	f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%u", &n), 1);
	pclose(f);
	return n;
}

/* As SIGKILL would. */
static void claim_and_die(const char *name)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		struct serve s;

		_exit(serve_claim(&s, name, NULL) < 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void what_the_dead_left_is_swept(void **state)
{
	struct sm_error err;
	struct serve s;

	(void)state;
	claim_and_die("a");
	assert_int_equal(sockets(), 1);
	claim_and_die("b");
	assert_int_equal(sockets(), 1);
	serve(&s, "c");
	assert_int_equal(sockets(), 1);
	claim_and_die("a");
	assert_int_equal(sockets(), 2);
	assert_int_equal(reach_snapshot("a", "/x", NULL, &err), SM_E_NOT_FOUND);
	assert_null(strstr(err.remedy, "a,"));
	assert_int_equal(sockets(), 1);
	claim_and_die("a");
	end(&s);
	serve(&s, "a");
	end(&s);
	assert_int_equal(sockets(), 0);
}

static void a_directory_that_others_may_enter_is_refused(void **state)
{
	char path[100];
	struct serve s;
	struct err e;

	(void)state;
	snprintf(path, sizeof(path), "%s/supermachine", top);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(serve_claim(&s, "vm", &e), -EPERM);
	serve_release(&s);
	assert_string_equal(e.object, path);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("/tmp", path), 0);
	assert_true(serve_claim(&s, "vm", &e) < 0);
	serve_release(&s);
	if (geteuid() != 0)
		return;
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chown(path, NOBODY, NOBODY), 0);
	assert_int_equal(serve_claim(&s, "vm", &e), -EPERM);
	serve_release(&s);
}

/* Sends bytes; returns the code of the answer, or 1 when there is none. */
static int send_raw(const void *data, size_t bytes)
{
	struct reach_answer a;
	int fd = connect_to("vm");

	assert_int_equal(send(fd, data, bytes, MSG_NOSIGNAL), bytes);
	if (recv(fd, &a, sizeof(a), 0) != (ssize_t)sizeof(a)) {
		close(fd);
		return 1;
	}
	close(fd);
	return a.code;
}

static void requests_that_make_no_sense(void **state)
{
	struct reach_request q = {.version = REACH_VERSION, .kind = REACH_SNAPSHOT, .dir = "/x"};
	char larger[sizeof(q) + 1] = {0};
	struct serve s;

	(void)state;
	serve(&s, "vm");
	asked_dir[0] = '\0';
	assert_int_equal(send_raw(&q, 1), SM_E_UNSUPPORTED);
	assert_int_equal(send_raw(&q, sizeof(q) - 1), SM_E_UNSUPPORTED);
	memcpy(larger, &q, sizeof(q));
	assert_int_equal(send_raw(larger, sizeof(larger)), SM_E_UNSUPPORTED);
	q.version++;
	assert_int_equal(send_raw(&q, sizeof(q)), SM_E_UNSUPPORTED);
	q.version--;
	q.kind = 77;
	assert_int_equal(send_raw(&q, sizeof(q)), SM_E_UNSUPPORTED);
	q.kind = REACH_SNAPSHOT;
	strcpy(q.dir, "relative");
	assert_int_equal(send_raw(&q, sizeof(q)), SM_E_INVALID);
	memset(q.dir, '/', sizeof(q.dir));
	assert_int_equal(send_raw(&q, sizeof(q)), SM_E_INVALID);
	strcpy(q.dir, "/x");
	memset(q.base, '/', sizeof(q.base));
	assert_int_equal(send_raw(&q, sizeof(q)), SM_E_INVALID);
	assert_string_equal(asked_dir, "");
	assert_int_equal(reach_snapshot("vm", "/y", NULL, &(struct sm_error){0}), 0);
	end(&s);
}

static void one_that_says_nothing_holds_up_nobody_for_long(void **state)
{
	struct serve s;
	int fd;

	(void)state;
	serve(&s, "vm");
	fd = connect_to("vm");
	assert_int_equal(reach_snapshot("vm", "/y", NULL, &(struct sm_error){0}), 0);
	close(fd);
	end(&s);
}

static void another_user_gets_no_answer(void **state)
{
	char dir[100], path[200];
	struct reach_request q = {.version = REACH_VERSION, .kind = REACH_SNAPSHOT, .dir = "/x"};
	struct serve s;
	pid_t child;
	int status;

	(void)state;
	if (geteuid() != 0)
		skip();
	serve(&s, "vm");
	asked_dir[0] = '\0';
	snprintf(dir, sizeof(dir), "%s/supermachine", top);
	snprintf(path, sizeof(path), "%s/vm.sock", dir);
	/* As though the directory did not protect it. */
	assert_int_equal(chmod(top, 0755) | chmod(dir, 0755) | chmod(path, 0777), 0);
	child = fork();
	if (child == 0) {
		int fd = open(dir, O_PATH | O_CLOEXEC), sock;
		char byte;

		if (fd < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
			_exit(2);
		sock = rundir_connect(fd, "vm", true);
		if (sock < 0)
			_exit(3);
		/* It may have hung up already. */
		(void)!send(sock, &q, sizeof(q), MSG_NOSIGNAL);
		_exit(recv(sock, &byte, 1, 0) > 0 ? 4 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_string_equal(asked_dir, "");
	end(&s);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(a_snapshot_is_asked_for_by_name),
		TEST(relative_names_are_the_askers),
		TEST(an_error_arrives_as_data),
		TEST(who_is_not_there_is_told),
		TEST(a_name_is_taken_once),
		TEST(names_that_are_no_file_or_host_names),
		TEST(what_the_dead_left_is_swept),
		TEST(a_directory_that_others_may_enter_is_refused),
		TEST(requests_that_make_no_sense),
		TEST(one_that_says_nothing_holds_up_nobody_for_long),
		TEST(another_user_gets_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
