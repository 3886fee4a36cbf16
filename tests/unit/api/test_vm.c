// SPDX-License-Identifier: Apache-2.0
/* The life of a VM, with a VMM that does as it is told. */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static uint64_t now_ms(void)
{
	return clock_now_ns() / 1000000;
}

static void starts_and_powers_off(void **state)
{
	struct fixture *f = *state;
	struct sm_start_timings t;
	struct sm_error err;

	sm_vm_timings(f->vm, &t);
	assert_int_equal(t.memory_us, 2);
	assert_int_equal(t.vmm_us, 21);
	assert_true(t.total_us > 0);
	assert_int_equal(kill(sm_vm_pid(f->vm), 0), 0);
	assert_int_equal(sm_vm_wait(f->vm, 0, &err), SM_E_TIMEOUT);
	assert_int_equal(sm_vm_set_balloon(f->vm, UINT64_MAX, &err), SM_E_INVALID);
	fixture_ok(sm_vm_set_balloon(f->vm, 1 << 20, &err), &err);
	fixture_ok(sm_vm_stop(f->vm, NULL, &err), &err);
	assert_true(kill(sm_vm_pid(f->vm), 0) < 0);
	fixture_ok(sm_vm_wait(f->vm, -1, &err), &err);
	fixture_ok(sm_vm_stop(f->vm, NULL, &err), &err); /* twice is once */
}

static void forced_stop_kills(void **state)
{
	struct sm_stop_options o = {.size = sizeof(o), .is_forced = 1};
	struct fixture *f = *state;
	struct sm_error err;

	fixture_ok(sm_vm_stop(f->vm, &o, &err), &err);
	assert_true(kill(sm_vm_pid(f->vm), 0) < 0);
	assert_int_equal(sm_vm_wait(f->vm, 0, &err), SM_E_VM_GONE);
	assert_non_null(strstr(err.cause, "force"));
}

static void deaf_guest_is_killed(void **state)
{
	struct sm_stop_options o = {.size = sizeof(o), .grace_ms = 1};
	struct fixture *f = *state;
	struct sm_error err;

	fixture_ok(fixture_start(f, "deaf", 20000, &f->vm, &err), &err);
	assert_int_equal(sm_vm_stop(f->vm, &o, &err), SM_E_TIMEOUT);
	assert_true(kill(sm_vm_pid(f->vm), 0) < 0);
}

static void kill_is_named(void **state)
{
	struct fixture *f = *state;
	struct sm_error err;

	kill(sm_vm_pid(f->vm), SIGKILL);
	assert_int_equal(sm_vm_wait(f->vm, 10000, &err), SM_E_VM_GONE);
	assert_non_null(strstr(err.cause, "signal 9"));
	assert_string_not_equal(err.remedy, "");
	assert_int_equal(sm_vm_stop(f->vm, NULL, &err), SM_E_VM_GONE);
}

static void expect_failed_log(struct fixture *f)
{
	struct sm_vm_options o = SM_INIT(o);
	struct sm_error err;
	char log[16] = "before";
	struct sm_vm *vm;

	o.kernel = f->kernel;
	o.cmdline = "double=panic";
	o.no_bake = 1;
	o.failed_log = log;
	o.failed_log_bytes = sizeof(log);
	assert_int_equal(sm_vm_start(f->image, &o, &vm, &err), SM_E_GUEST);
	assert_non_null(strstr(log, "test\033[0m\nend\n"));
	o.vcpus = 99;
	assert_int_equal(sm_vm_start(f->image, &o, &vm, &err), SM_E_INVALID);
	assert_string_equal(log, "");
}

/* Each kind of failed start: code, a word of the cause, nothing left behind. */
static void failed_starts(void **state)
{
	static const struct {
		const char *mode, *word;
		int code;
	} cases[] = {
		{"error", "no kernel at all", SM_E_INVALID},
		{"kvm-error", "KVM refused", SM_E_HYPERVISOR},
		{"panic", "Kernel panic - not syncing: test | end", SM_E_GUEST},
		{"nonsense", "impossible", SM_E_VM_GONE},
		{"crash", "signal 11", SM_E_VM_GONE},
		{"exit", "status 3", SM_E_VM_GONE},
		{"silent", "did not answer", SM_E_TIMEOUT},
		{"old-agent", "different builds", SM_E_GUEST},
	};
	struct fixture *f = *state;
	unsigned fds = fixture_count_fds();
	struct sm_error err;
	struct sm_vm *vm = NULL;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t began = now_ms();
		int r = fixture_start(f, cases[i].mode, 1500, &vm, &err);

		if (r != cases[i].code || !strstr(err.cause, cases[i].word))
			fail_msg("%s: %d: %s: %s", cases[i].mode, r, err.object, err.cause);
		assert_null(vm);
		assert_true(now_ms() - began < 4000);
		assert_int_equal(fixture_count_fds(), fds);
	}
	expect_failed_log(f);
	assert_int_equal(fixture_start(f, "error", 1500, &vm, &err), SM_E_INVALID);
	assert_string_equal(err.object, f->kernel); /* named by its path */
	assert_string_equal(err.remedy, "do it better");
}

static void missing_parts_are_named(void **state)
{
	struct fixture *f = *state;
	struct sm_error err;
	struct sm_vm *vm;
	char path[128];

	snprintf(path, sizeof(path), "%s/supermachine-vmm", f->dir);
	unlink(path);
	assert_int_equal(fixture_start(f, NULL, 1000, &vm, &err), SM_E_NOT_FOUND);
	assert_string_equal(err.object, "supermachine-vmm");
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(fixture_start(f, NULL, 1000, &vm, &err), SM_E_DENIED);
	assert_non_null(strstr(err.object, "supermachine-vmm"));
}

static void logs_outlive_the_vm(void **state)
{
	struct sm_stop_options o = {.size = sizeof(o), .is_forced = 1};
	struct fixture *f = *state;
	struct sm_error err;
	char text[32];

	fixture_ok(sm_vm_set_balloon(f->vm, 1 << 20, &err), &err); /* the double notes it there */
	for (int i = 0; i < 500 && sm_vm_logs(f->vm, text, sizeof(text), &err) == 0; i++)
		usleep(10000);
	fixture_ok(sm_vm_stop(f->vm, &o, &err), &err);
	assert_int_equal(sm_vm_logs(f->vm, text, sizeof(text), &err), 8);
	assert_string_equal(text, "balloon\n");
	assert_int_equal(sm_vm_logs(f->vm, text, 4, &err), 3);
	assert_string_equal(text, "on\n");
	assert_int_equal(sm_vm_set_balloon(f->vm, 0, &err), SM_E_VM_GONE);
}

static void *wait_vm(void *vm)
{
	struct sm_error err = {0};

	return (void *)(intptr_t)sm_vm_wait(vm, 20000, &err);
}

/* One of the waiting threads reads; all learn of the end. */
static void every_waiting_thread_learns(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[8];
	uint64_t began;
	void *result;

	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wait_vm, f->vm), 0);
	usleep(50000);
	began = now_ms();
	kill(sm_vm_pid(f->vm), SIGKILL);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], &result);
		assert_int_equal((intptr_t)result, SM_E_VM_GONE);
	}
	assert_true(now_ms() - began < 2000);
}

static void *wait_briefly(void *vm)
{
	struct sm_error err = {0};

	return (void *)(intptr_t)sm_vm_wait(vm, 300, &err);
}

/* The reader leaves before the end: another takes over. */
static void reader_hands_over(void **state)
{
	struct fixture *f = *state;
	pthread_t brief, patient;
	void *result;

	assert_int_equal(pthread_create(&brief, NULL, wait_briefly, f->vm), 0);
	usleep(50000);
	assert_int_equal(pthread_create(&patient, NULL, wait_vm, f->vm), 0);
	pthread_join(brief, &result);
	assert_int_equal((intptr_t)result, SM_E_TIMEOUT);
	kill(sm_vm_pid(f->vm), SIGKILL);
	pthread_join(patient, &result);
	assert_int_equal((intptr_t)result, SM_E_VM_GONE);
}

static void image_may_be_closed_first(void **state)
{
	struct fixture *f = *state;
	struct sm_output out;
	struct sm_error err;

	sm_image_close(f->image);
	f->image = NULL;
	fixture_ok(
		sm_exec_output(f->vm, (const char *const[]){"sh", "-c", "echo $FROM_IMAGE", NULL},
			NULL, &out, &err),
		&err);
	assert_string_equal(out.out, "yes\n");
	sm_output_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(starts_and_powers_off, fixture_vm, fixture_end),
		cmocka_unit_test_setup_teardown(forced_stop_kills, fixture_vm, fixture_end),
		cmocka_unit_test_setup_teardown(deaf_guest_is_killed, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(kill_is_named, fixture_vm, fixture_end),
		cmocka_unit_test_setup_teardown(failed_starts, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			missing_parts_are_named, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(logs_outlive_the_vm, fixture_vm, fixture_end),
		cmocka_unit_test_setup_teardown(
			every_waiting_thread_learns, fixture_vm, fixture_end),
		cmocka_unit_test_setup_teardown(reader_hands_over, fixture_vm, fixture_end),
		cmocka_unit_test_setup_teardown(image_may_be_closed_first, fixture_vm, fixture_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
