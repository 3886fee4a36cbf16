// SPDX-License-Identifier: Apache-2.0
/* Embedding programs that do what programs do: each case is a process of its own. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

static volatile sig_atomic_t n_pipes;

static void note_pipe(int number)
{
	(void)number;
	n_pipes++;
}

/* A VM from start to end, with a command in it, and one that is killed. */
static void live(struct fixture *f)
{
	struct sm_output out;
	struct sm_error err;
	struct sm_vm *vm;

	fixture_ok(fixture_start(f, NULL, 20000, &vm, &err), &err);
	fixture_ok(sm_exec_output(vm, (const char *const[]){"echo", "hi", NULL}, NULL, &out, &err),
		&err);
	assert_string_equal(out.out, "hi\n");
	sm_output_free(&out);
	fixture_ok(sm_vm_stop(vm, NULL, &err), &err);
	sm_vm_close(vm);
	fixture_ok(fixture_start(f, NULL, 20000, &vm, &err), &err);
	kill(sm_vm_pid(vm), SIGKILL);
	assert_int_equal(sm_vm_wait(vm, 10000, &err), SM_E_VM_GONE);
	sm_vm_close(vm);
}

static void no_child_left(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void sigchld_ignored(void **state)
{
	signal(SIGCHLD, SIG_IGN);
	live(*state);
	no_child_left();
	signal(SIGCHLD, SIG_DFL);
}

static void *reap_all(void *is_over)
{
	while (!*(volatile bool *)is_over)
		if (waitpid(-1, NULL, WNOHANG) <= 0)
			usleep(500);
	return NULL;
}

/* Somebody who waits for every child takes ours too; that is no reason to fail. */
static void every_child_is_reaped_by_another(void **state)
{
	volatile bool is_over = false;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, reap_all, (void *)(uintptr_t)&is_over), 0);
	for (int i = 0; i < 5; i++)
		live(*state);
	is_over = true;
	pthread_join(thread, NULL);
}

/* Children of the caller stay its own to wait for. */
static void other_children_are_left_alone(void **state)
{
	pid_t mine = fork();
	int status;

	if (mine == 0)
		_exit(42);
	live(*state);
	assert_int_equal(waitpid(mine, &status, 0), mine);
	assert_int_equal(WEXITSTATUS(status), 42);
	no_child_left();
}

static void no_sigpipe_and_mask_kept(void **state)
{
	struct fixture *f = *state;
	struct sm_exec_options o = SM_INIT(o);
	sigset_t before, after;
	struct sm_error err;
	struct sm_exec *x;
	struct sm_vm *vm;
	int pair[2];

	n_pipes = 0;
	signal(SIGPIPE, note_pipe);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	fixture_ok(fixture_start(f, NULL, 20000, &vm, &err), &err);
	assert_int_equal(pipe(pair), 0);
	close(pair[0]);
	o.use_fds = 1;
	o.stdin_fd = o.stderr_fd = SM_FD_NULL;
	o.stdout_fd = pair[1];
	fixture_ok(sm_exec_start(vm, (const char *const[]){"yes", NULL}, &o, &x, &err), &err);
	fixture_ok(sm_exec_wait(x, 20000, NULL, &err), &err);
	sm_exec_close(x);
	close(pair[1]);
	kill(sm_vm_pid(vm), SIGKILL);
	assert_int_equal(sm_exec_start(vm, (const char *const[]){"true", NULL}, NULL, &x, &err),
		SM_E_VM_GONE);
	sm_vm_close(vm);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int number = 1; number < NSIG; number++)
		assert_int_equal(sigismember(&before, number), sigismember(&after, number));
	assert_int_equal(n_pipes, 0);
	signal(SIGPIPE, SIG_DFL);
}

/* A program without standard descriptors must not lose its VM's socket to them. */
static void without_standard_descriptors(void **state)
{
	int saved[3], status = 1;
	struct sm_error err;
	struct sm_vm *vm;

	for (int i = 0; i < 3; i++)
		saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
	for (int i = 0; i < 3; i++)
		close(i);
	if (fixture_start(*state, NULL, 20000, &vm, &err) == 0) {
		status = sm_vm_stop(vm, NULL, &err);
		sm_vm_close(vm);
	}
	for (int i = 0; i < 3; i++) {
		dup2(saved[i], i);
		close(saved[i]);
	}
	assert_int_equal(status, 0);
}

static bool is_alive(pid_t pid)
{
	char path[64], text[256];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	return !strstr(text, ") Z");
}

/* The embedder is killed: its VM does not outlive it. */
static void killed_embedder_leaves_nothing(void **state)
{
	int pair[2];
	pid_t embedder, vmm;

	assert_int_equal(pipe(pair), 0);
	embedder = fork();
	if (embedder == 0) {
		struct sm_error err;
		struct sm_vm *vm;

		if (fixture_start(*state, NULL, 20000, &vm, &err) < 0)
			_exit(1);
		vmm = sm_vm_pid(vm);
		if (write(pair[1], &vmm, sizeof(vmm)) != sizeof(vmm))
			_exit(1);
		pause();
	}
	close(pair[1]);
	assert_int_equal(read(pair[0], &vmm, sizeof(vmm)), sizeof(vmm));
	close(pair[0]);
	assert_true(is_alive(vmm));
	kill(embedder, SIGKILL);
	waitpid(embedder, NULL, 0);
	for (int i = 0; i < 200 && is_alive(vmm); i++)
		usleep(10000);
	assert_false(is_alive(vmm));
}

static void many_vms_at_once(void **state)
{
	struct sm_stop_options force = {.size = sizeof(force), .is_forced = 1};
	unsigned fds = fixture_count_fds();
	struct sm_error err;
	struct sm_vm *vms[20];

	for (int i = 0; i < 20; i++)
		fixture_ok(fixture_start(*state, NULL, 20000, &vms[i], &err), &err);
	for (int i = 0; i < 20; i += 2)
		fixture_ok(sm_vm_stop(vms[i], &force, &err), &err);
	for (int i = 1; i < 20; i += 2)
		assert_int_equal(sm_vm_wait(vms[i], 0, &err), SM_E_TIMEOUT);
	for (int i = 0; i < 20; i++)
		sm_vm_close(vms[i]);
	assert_int_equal(fixture_count_fds(), fds);
	no_child_left();
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_parts, fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(sigchld_ignored),
		T(every_child_is_reaped_by_another),
		T(other_children_are_left_alone),
		T(no_sigpipe_and_mask_kept),
		T(without_standard_descriptors),
		T(killed_embedder_leaves_nothing),
		T(many_vms_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
