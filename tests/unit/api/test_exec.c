// SPDX-License-Identifier: Apache-2.0
/* Commands: this library on one side, the real agent on the other, a socket between them. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define SH(script) ((const char *const[]){"sh", "-c", script, NULL})

static uint64_t now_ms(void)
{
	return clock_now_ns() / 1000000;
}

static void expect_output(struct fixture *f, const char *const *argv,
	const struct sm_output_options *o, const char *out, const char *err_text, int status)
{
	struct sm_output got;
	struct sm_error err;

	fixture_ok(sm_exec_output(f->vm, argv, o, &got, &err), &err);
	assert_string_equal(got.out, out);
	assert_int_equal(got.out_bytes, strlen(out));
	assert_string_equal(got.err, err_text);
	assert_int_equal(got.exit.status, status);
	sm_output_free(&got);
}

static void output_is_collected(void **state)
{
	struct fixture *f = *state;
	struct sm_exec_options e = SM_INIT(e);
	struct sm_output_options o = SM_INIT(o);

	expect_output(f, SH("echo out; echo err >&2; exit 7"), NULL, "out\n", "err\n", 7);
	expect_output(f, (const char *const[]){"true", NULL}, NULL, "", "", 0);
	expect_output(f, SH("kill -TERM $$"), NULL, "", "", 128 + SIGTERM);
	e.is_entrypoint = 1;
	o.exec = &e;
	expect_output(f, NULL, &o, "image's command\n", "", 0);
	e = (struct sm_exec_options)SM_INIT(e);
	e.env = (const char *const[]){"GREETING=hello", NULL};
	e.cwd = "/usr";
	expect_output(f, SH("echo $GREETING $FROM_IMAGE $PWD"), &o, "hello yes /usr\n", "", 0);
}

static void exit_says_more(void **state)
{
	struct fixture *f = *state;
	struct sm_output got;
	struct sm_error err;

	fixture_ok(sm_exec_output(f->vm, SH("kill -USR1 $$"), NULL, &got, &err), &err);
	assert_int_equal(got.exit.signal, SIGUSR1);
	assert_true(got.exit.peak_rss_bytes > 100000);
	sm_output_free(&got);
}

static void refusals_have_their_codes(void **state)
{
	static const struct {
		const char *command, *user;
		int code;
	} cases[] = {
		{"no-such-command", NULL, SM_E_NOT_FOUND},
		{"/no/such/command", NULL, SM_E_NOT_FOUND},
		{"/etc/passwd", NULL, SM_E_EXEC},
		{"/etc", NULL, SM_E_EXEC},
		{"true", "nosuchuser", SM_E_INVALID},
	};
	struct fixture *f = *state;
	struct sm_error err;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sm_exec_options o = SM_INIT(o);
		struct sm_exec *x = NULL;
		const char *const argv[] = {cases[i].command, NULL};
		int r;

		o.user = cases[i].user;
		r = sm_exec_start(f->vm, argv, &o, &x, &err);
		if (r != cases[i].code)
			fail_msg("%s: %d: %s: %s", cases[i].command, r, err.object, err.cause);
		assert_string_equal(err.object, cases[i].command);
		assert_string_not_equal(err.cause, "");
		assert_null(x);
	}
}

/* 10 MB in and out again, from memory. */
static void large_input_comes_back(void **state)
{
	struct sm_output_options o = SM_INIT(o);
	const size_t bytes = 10 << 20;
	unsigned char *data = malloc(bytes);
	struct fixture *f = *state;
	struct sm_output got;
	struct sm_error err;

	for (size_t i = 0; i < bytes; i++)
		data[i] = (unsigned char)(i * 2654435761u >> 13);
	o.input = data;
	o.input_bytes = bytes;
	fixture_ok(sm_exec_output(f->vm, (const char *const[]){"cat", NULL}, &o, &got, &err), &err);
	assert_int_equal(got.out_bytes, bytes);
	assert_memory_equal(got.out, data, bytes);
	assert_int_equal(got.exit.status, 0);
	sm_output_free(&got);
	free(data);
}

static void input_ends(void **state)
{
	struct sm_output_options o = SM_INIT(o);

	o.input = "three\nlines\nhere";
	o.input_bytes = strlen(o.input);
	expect_output(*state, (const char *const[]){"wc", "-c", NULL}, &o, "16\n", "", 0);
	o.input_bytes = 0; /* at once */
	expect_output(*state, (const char *const[]){"cat", NULL}, &o, "", "", 0);
	o.input = NULL; /* /dev/null */
	expect_output(*state, (const char *const[]){"cat", NULL}, &o, "", "", 0);
	/* A command that does not read its input still ends. */
	o.input = calloc(1, 1 << 20);
	o.input_bytes = 1 << 20;
	expect_output(*state, SH("exec <&-; sleep 0.1; echo done"), &o, "done\n", "", 0);
	free((void *)(uintptr_t)o.input);
}

static void output_has_a_limit(void **state)
{
	struct sm_output_options o = SM_INIT(o);
	struct fixture *f = *state;
	struct sm_output got = {0};
	struct sm_error err;

	o.limit_bytes = 100000;
	assert_int_equal(sm_exec_output(f->vm, (const char *const[]){"yes", NULL}, &o, &got, &err),
		SM_E_NO_SPACE);
	assert_string_equal(err.object, "yes");
	assert_string_not_equal(err.remedy, "");
	assert_null(got.out);
}

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : st.st_size;
}

static void output_has_a_time_limit(void **state)
{
	struct sm_output_options o = SM_INIT(o);
	struct fixture *f = *state;
	uint64_t began = now_ms();
	char path[96], script[192];
	struct sm_output got;
	struct sm_error err;
	off_t before;

	snprintf(path, sizeof(path), "%s/beats", f->dir);
	snprintf(script, sizeof(script), "while :; do echo beat >> %s; sleep 0.02; done", path);
	o.timeout_ms = 200;
	assert_int_equal(sm_exec_output(f->vm, SH(script), &o, &got, &err), SM_E_TIMEOUT);
	assert_true(now_ms() - began < 3000);
	usleep(200000); /* it is killed */
	before = size_of(path);
	assert_true(before > 0);
	usleep(200000);
	assert_int_equal(size_of(path), before);
	unlink(path);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static struct sm_exec *start_fds(
	struct fixture *f, const char *const *argv, int in, int out, int err_fd)
{
	struct sm_exec_options o = SM_INIT(o);
	struct sm_error err;
	struct sm_exec *x;

	o.use_fds = 1;
	o.stdin_fd = in;
	o.stdout_fd = out;
	o.stderr_fd = err_fd;
	fixture_ok(sm_exec_start(f->vm, argv, &o, &x, &err), &err);
	return x;
}

static int end_status(struct sm_exec *x)
{
	struct sm_error err;
	struct sm_exit end;

	fixture_ok(sm_exec_wait(x, 20000, &end, &err), &err);
	sm_exec_close(x);
	return end.status;
}

static void regular_files_both_ways(void **state)
{
	struct fixture *f = *state;
	FILE *in = tmpfile(), *out = tmpfile();
	struct stat st;

	for (int i = 0; i < 300000; i++)
		fprintf(in, "%d\n", i);
	fflush(in);
	rewind(in);
	fstat(fileno(in), &st);
	assert_int_equal(end_status(start_fds(f, (const char *const[]){"cat", NULL}, fileno(in),
				 fileno(out), SM_FD_NULL)),
		0);
	assert_int_equal(lseek(fileno(out), 0, SEEK_END), st.st_size);
	fclose(in);
	fclose(out);
}

struct slow_reader {
	int fd;
	size_t bytes;
};

static void *read_slowly(void *context)
{
	struct slow_reader *s = context;
	char data[20000];
	ssize_t n;

	while ((n = read(s->fd, data, sizeof(data))) > 0) {
		s->bytes += (size_t)n;
		usleep(1000);
	}
	return NULL;
}

/* A pipe that is read slowly gets everything, and its descriptor is left as it was. */
static void slow_reader_gets_all(void **state)
{
	struct slow_reader s = {0};
	pthread_t thread;
	int pair[2];

	assert_int_equal(pipe(pair), 0);
	s.fd = pair[0];
	assert_int_equal(pthread_create(&thread, NULL, read_slowly, &s), 0);
	assert_int_equal(end_status(start_fds(*state, SH("head -c 3000000 /dev/zero"), SM_FD_NULL,
				 pair[1], SM_FD_NULL)),
		0);
	assert_int_equal(fcntl(pair[1], F_GETFL) & O_NONBLOCK, 0);
	close(pair[1]);
	pthread_join(thread, NULL);
	assert_int_equal(s.bytes, 3000000);
	close(pair[0]);
}

/* `run … yes | head -1` ends at once, as with a local pipe, and this process gets no SIGPIPE. */
static void closed_pipe_ends_the_writer(void **state)
{
	uint64_t began = now_ms();
	sigset_t pending;
	char byte;
	int pair[2];

	for (int kind = 0; kind < 2; kind++) {
		struct sm_exec *x;

		assert_int_equal(kind ? socketpair(AF_UNIX, SOCK_STREAM, 0, pair) : pipe(pair), 0);
		x = start_fds(*state, (const char *const[]){"yes", NULL}, SM_FD_NULL, pair[1],
			SM_FD_NULL);
		/* The first bytes arrive while nobody waits for the command: they are held back. */
		assert_int_equal(poll(&(struct pollfd){pair[0], POLLIN, 0}, 1, 0), 0);
		assert_int_equal(sm_exec_wait(x, 50, NULL, NULL), SM_E_TIMEOUT);
		assert_int_equal(read(pair[0], &byte, 1), 1);
		close(pair[0]);
		assert_int_equal(end_status(x), 128 + SIGPIPE);
		close(pair[1]);
	}
	assert_true(now_ms() - began < 5000);
	sigpending(&pending);
	assert_int_equal(sigismember(&pending, SIGPIPE), 0);
}

static void full_disk_is_an_error(void **state)
{
	struct fixture *f = *state;
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct sm_error err;
	struct sm_exec *x;

	if (full < 0)
		skip();
	x = start_fds(f, (const char *const[]){"yes", NULL}, SM_FD_NULL, full, SM_FD_NULL);
	assert_int_equal(sm_exec_wait(x, 20000, NULL, &err), SM_E_NO_SPACE);
	assert_non_null(strstr(err.cause, "standard output"));
	sm_exec_close(x);
	close(full);
}

static void descriptors_are_checked(void **state)
{
	struct sm_exec_options o = SM_INIT(o);
	struct fixture *f = *state;
	struct sm_error err;
	struct sm_exec *x;

	o.use_fds = 1;
	o.stdin_fd = o.stderr_fd = SM_FD_NULL;
	o.stdout_fd = 1000;
	assert_int_equal(sm_exec_start(f->vm, SH("true"), &o, &x, &err), SM_E_INVALID);
}

/* An interactive talk: each answer comes before the next question. */
static void talk_by_pipes(void **state)
{
	struct sm_exec *x;
	char answer[16];
	int in[2], out[2];

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	x = start_fds(*state, SH("while read -r w; do echo \"<$w>\"; done; exit 3"), in[0], out[1],
		SM_FD_NULL);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(write(in[1], "hi\n", 3), 3);
		for (int tries = 0; poll(&(struct pollfd){out[0], POLLIN, 0}, 1, 0) == 0; tries++) {
			assert_true(tries < 200);
			assert_int_equal(sm_exec_wait(x, 50, NULL, NULL), SM_E_TIMEOUT);
		}
		assert_int_equal(read(out[0], answer, sizeof(answer)), 5);
		assert_memory_equal(answer, "<hi>\n", 5);
	}
	close(in[1]);
	assert_int_equal(end_status(x), 3);
	close(in[0]);
	close(out[0]);
	close(out[1]);
}

/* ---- signals, waiting, the end -------------------------------------------------------------- */

struct later {
	struct sm_exec *exec;
	int signal;
};

static void *signal_later(void *context)
{
	struct later *l = context;
	struct sm_error err;

	usleep(150000);
	return (void *)(intptr_t)sm_exec_signal(l->exec, l->signal, &err);
}

static void signals_from_another_thread(void **state)
{
	struct later l = {.signal = SIGTERM};
	struct sm_error err;
	pthread_t thread;
	int null = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	/* While its input, which it does not read, fills the window. */
	l.exec = start_fds(*state, SH("trap 'exit 9' TERM; while :; do sleep 0.02; done"), null,
		SM_FD_NULL, SM_FD_NULL);
	assert_int_equal(sm_exec_signal(l.exec, 0, &err), SM_E_INVALID);
	assert_int_equal(sm_exec_signal(l.exec, 65, &err), SM_E_INVALID);
	assert_int_equal(pthread_create(&thread, NULL, signal_later, &l), 0);
	assert_int_equal(sm_exec_wait(l.exec, 20000, NULL, &err), 0);
	pthread_join(thread, NULL);
	assert_int_equal(sm_exec_signal(l.exec, SIGTERM, &err), SM_E_NOT_FOUND);
	assert_int_equal(end_status(l.exec), 9); /* may be asked again */
	close(null);
}

static void *wait_exec(void *exec)
{
	struct sm_error err = {0};

	return (void *)(intptr_t)sm_exec_wait(exec, 20000, NULL, &err);
}

static void one_thread_waits(void **state)
{
	struct fixture *f = *state;
	struct sm_exec *x = start_fds(f, SH("sleep 30"), SM_FD_NULL, SM_FD_NULL, SM_FD_NULL);
	pthread_t thread;
	void *result;

	assert_int_equal(pthread_create(&thread, NULL, wait_exec, x), 0);
	usleep(100000);
	assert_int_equal(sm_exec_wait(x, 0, NULL, NULL), SM_E_BUSY);
	assert_int_equal(sm_exec_signal(x, SIGKILL, NULL), 0);
	pthread_join(thread, &result);
	assert_int_equal((intptr_t)result, 0);
	assert_int_equal(end_status(x), 128 + SIGKILL);
}

static int refuse(const void *data, size_t bytes, void *context)
{
	(void)data;
	(void)bytes;
	++*(int *)context;
	return 1;
}

static void callback_may_kill(void **state)
{
	struct sm_exec_options o = SM_INIT(o);
	struct fixture *f = *state;
	struct sm_error err;
	struct sm_exec *x;
	int calls = 0;

	o.on_stdout = refuse;
	o.context = &calls;
	fixture_ok(sm_exec_start(f->vm, (const char *const[]){"yes", NULL}, &o, &x, &err), &err);
	assert_int_equal(end_status(x), 128 + SIGKILL);
	assert_int_equal(calls, 1);
}

static void *kill_later(void *vm)
{
	usleep(150000);
	kill(sm_vm_pid(vm), SIGKILL);
	return NULL;
}

/* The VM dies under a command: its waiting thread is told at once, and why. */
static void vm_death_ends_the_wait(void **state)
{
	struct fixture *f = *state;
	struct sm_exec *x = start_fds(f, SH("sleep 30"), SM_FD_NULL, SM_FD_NULL, SM_FD_NULL);
	uint64_t began = now_ms();
	struct sm_error err;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, kill_later, f->vm), 0);
	assert_int_equal(sm_exec_wait(x, 20000, NULL, &err), SM_E_VM_GONE);
	assert_true(now_ms() - began < 2000);
	assert_non_null(strstr(err.cause, "signal 9"));
	pthread_join(thread, NULL);
	assert_int_equal(sm_exec_signal(x, SIGTERM, &err), SM_E_VM_GONE);
	sm_exec_close(x);
	assert_int_equal(sm_exec_start(f->vm, SH("true"), NULL, &x, &err), SM_E_VM_GONE);
}

/* The same while output is stuck in a pipe that nobody reads. */
static void vm_death_with_stuck_output(void **state)
{
	struct fixture *f = *state;
	uint64_t began = now_ms();
	struct sm_error err;
	struct sm_exec *x;
	pthread_t thread;
	int pair[2];

	assert_int_equal(pipe(pair), 0);
	x = start_fds(f, (const char *const[]){"yes", NULL}, SM_FD_NULL, pair[1], SM_FD_NULL);
	assert_int_equal(pthread_create(&thread, NULL, kill_later, f->vm), 0);
	assert_int_equal(sm_exec_wait(x, 20000, NULL, &err), SM_E_VM_GONE);
	assert_true(now_ms() - began < 4000);
	pthread_join(thread, NULL);
	sm_exec_close(x);
	close(pair[0]);
	close(pair[1]);
}

static void hostile_answers(void **state)
{
	struct fixture *f = *state;
	struct sm_error err;
	struct sm_exec *x;

	fixture_ok(fixture_start(f, "garble", 20000, &f->vm, &err), &err);
	assert_int_equal(sm_exec_start(f->vm, SH("true"), NULL, &x, &err), SM_E_GUEST);
	assert_non_null(strstr(err.cause, "impossible frame"));
	sm_vm_close(f->vm);
	fixture_ok(fixture_start(f, "refuse", 20000, &f->vm, &err), &err);
	assert_int_equal(sm_exec_start(f->vm, SH("true"), NULL, &x, &err), SM_E_GUEST);
}

static void *run_many(void *vm)
{
	for (int i = 0; i < 20; i++) {
		struct sm_output got;
		struct sm_error err;
		char number[16];
		int r;

		snprintf(number, sizeof(number), "%d", i);
		r = sm_exec_output(
			vm, (const char *const[]){"echo", number, NULL}, NULL, &got, &err);
		if (r < 0 || atoi(got.out) != i)
			return vm; /* anything but NULL */
		sm_output_free(&got);
	}
	return NULL;
}

static void many_at_once(void **state)
{
	struct fixture *f = *state;
	unsigned fds = fixture_count_fds();
	pthread_t threads[8];
	void *result;

	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_many, f->vm), 0);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], &result);
		assert_null(result);
	}
	assert_int_equal(fixture_count_fds(), fds);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_vm, fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(output_is_collected),
		T(exit_says_more),
		T(refusals_have_their_codes),
		T(large_input_comes_back),
		T(input_ends),
		T(output_has_a_limit),
		T(output_has_a_time_limit),
		T(regular_files_both_ways),
		T(slow_reader_gets_all),
		T(closed_pipe_ends_the_writer),
		T(full_disk_is_an_error),
		T(descriptors_are_checked),
		T(talk_by_pipes),
		T(signals_from_another_thread),
		T(one_thread_waits),
		T(callback_may_kill),
		T(vm_death_ends_the_wait),
		T(vm_death_with_stuck_output),
		cmocka_unit_test_setup_teardown(hostile_answers, fixture_parts, fixture_end),
		T(many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
