// SPDX-License-Identifier: Apache-2.0
/*
 * An embedder of libsupermachine, and nothing but its public header, against a real guest. The
 * image's reference is in $IMAGE; it needs a shell with the usual small tools.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <supermachine.h>

#define MIB ((uint64_t)1 << 20)

static struct sm_error err;
static struct sm_vm *vm;

static void check(int result)
{
	char text[800];

	if (result >= 0)
		return;
	sm_error_sentence(&err, text, sizeof(text));
	fail_msg("%d: %s", result, text);
}

static int start(void **state)
{
	struct sm_vm_options options = SM_INIT(options);
	struct sm_image *image;

	(void)state;
	options.memory_bytes = 512 * MIB;
	options.vcpus = 2;
	check(sm_image_open(NULL, getenv("IMAGE"), NULL, &image, &err));
	check(sm_vm_start(image, &options, &vm, &err));
	sm_image_close(image);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	check(sm_vm_stop(vm, NULL, &err));
	sm_vm_close(vm);
	return 0;
}

/* Runs a shell command; its output must be `expected`. */
static void shell(const char *command, const char *expected)
{
	const char *argv[] = {"sh", "-c", command, NULL};
	struct sm_output out;

	check(sm_exec_output(vm, argv, NULL, &out, &err));
	if (out.exit.status)
		fail_msg("%s: status %d: %s", command, out.exit.status, out.err);
	if (expected)
		assert_string_equal(out.out, expected);
	sm_output_free(&out);
}

static void output_is_collected(void **state)
{
	const char *argv[] = {"sh", "-c", "cat; echo err >&2; exit 3", NULL};
	struct sm_output_options options = SM_INIT(options);
	struct sm_output out;

	(void)state;
	options.input = "in\0put";
	options.input_bytes = 6;
	check(sm_exec_output(vm, argv, &options, &out, &err));
	assert_int_equal(out.exit.status, 3);
	assert_int_equal(out.out_bytes, 6);
	assert_memory_equal(out.out, "in\0put", 6);
	assert_string_equal(out.err, "err\n");
	assert_true(out.exit.peak_rss_bytes > 0);
	sm_output_free(&out);
}

static void output_has_a_limit(void **state)
{
	const char *argv[] = {"yes", NULL};
	struct sm_output_options options = SM_INIT(options);
	struct sm_output out;

	(void)state;
	options.limit_bytes = 100000;
	assert_true(sm_exec_output(vm, argv, &options, &out, &err) < 0);
	shell("pgrep yes || true", "");
}

static void a_command_can_time_out(void **state)
{
	const char *argv[] = {"sleep", "100", NULL};
	struct sm_output_options options = SM_INIT(options);
	struct sm_output out;

	(void)state;
	options.timeout_ms = 500;
	assert_int_equal(sm_exec_output(vm, argv, &options, &out, &err), SM_E_TIMEOUT);
	shell("pgrep sleep || true", "");
}

static void failures_have_codes(void **state)
{
	const char *missing[] = {"no-such-command", NULL},
		   *not_executable[] = {"/etc/passwd", NULL};
	struct sm_exec *exec;

	(void)state;
	assert_int_equal(sm_exec_start(vm, missing, NULL, &exec, &err), SM_E_NOT_FOUND);
	assert_int_equal(sm_exec_start(vm, not_executable, NULL, &exec, &err), SM_E_EXEC);
	assert_non_null(strstr(err.object, "/etc/passwd"));
}

struct counter {
	uint64_t bytes;
	int is_slow;
};

static int count(const void *data, size_t bytes, void *context)
{
	struct counter *c = context;

	(void)data;
	c->bytes += bytes;
	if (c->is_slow)
		usleep(1000);
	return 0;
}

static void big_output_streams_to_a_slow_reader(void **state)
{
	const char *argv[] = {"head", "-c", "8000000", "/dev/zero", NULL};
	struct sm_exec_options options = SM_INIT(options);
	struct counter counter = {.is_slow = 1};
	struct sm_exec *exec;
	struct sm_exit exit;

	(void)state;
	options.on_stdout = count;
	options.context = &counter;
	check(sm_exec_start(vm, argv, &options, &exec, &err));
	check(sm_exec_wait(exec, -1, &exit, &err));
	assert_int_equal(exit.status, 0);
	assert_int_equal(counter.bytes, 8000000);
	sm_exec_close(exec);
}

static void *run_some(void *arg)
{
	(void)arg;
	for (int i = 0; i < 5; i++) {
		const char *argv[] = {"sh", "-c", "echo $((6 * 7))", NULL};
		struct sm_output out;
		struct sm_error e;

		if (sm_exec_output(vm, argv, NULL, &out, &e) < 0)
			return (void *)(uintptr_t)"failed";
		if (strcmp(out.out, "42\n"))
			return (void *)(uintptr_t)"wrong output";
		sm_output_free(&out);
	}
	return NULL;
}

static void many_threads_run_commands_at_once(void **state)
{
	pthread_t threads[8];

	(void)state;
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_some, NULL), 0);
	for (int i = 0; i < 8; i++) {
		void *what;

		pthread_join(threads[i], &what);
		if (what)
			fail_msg("%s", (char *)what);
	}
}

static void signals_reach_the_process_group(void **state)
{
	const char *argv[] = {"sh", "-c", "sleep 100 & wait", NULL};
	struct sm_exec *exec;
	struct sm_exit exit;

	(void)state;
	check(sm_exec_start(vm, argv, NULL, &exec, &err));
	assert_int_equal(sm_exec_wait(exec, 300, &exit, &err), SM_E_TIMEOUT);
	check(sm_exec_signal(exec, SIGTERM, &err));
	check(sm_exec_wait(exec, 20000, &exit, &err));
	assert_int_equal(exit.signal, SIGTERM);
	assert_int_equal(exit.status, 128 + SIGTERM);
	sm_exec_close(exec);
	shell("pgrep sleep || true", "");
}

/* Memory that the VMM really holds. */
static uint64_t resident_bytes(void)
{
	char path[64], line[256];
	unsigned long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", sm_vm_pid(vm));
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %lu kB", &kib) == 1)
			break;
	fclose(f);
	return (uint64_t)kib * 1024;
}

/* Waits until the VMM holds at most `bytes`. */
static void await_resident(uint64_t bytes)
{
	for (int i = 0; i < 200 && resident_bytes() > bytes; i++)
		usleep(100000);
	assert_in_range(resident_bytes(), 0, bytes);
}

static void freed_memory_goes_back_to_the_host(void **state)
{
	uint64_t before, full;

	(void)state;
	before = resident_bytes();
	shell("mkdir -p /tmp/t && mount -t tmpfs none /tmp/t && head -c 200000000 /dev/zero > "
	      "/tmp/t/f",
		"");
	full = resident_bytes();
	assert_true(full > before + 150 * MIB);
	shell("umount /tmp/t", "");
	await_resident(full - 120 * MIB);
}

static void the_balloon_takes_and_gives_memory(void **state)
{
	(void)state;
	shell("mount -t tmpfs none /tmp/t && head -c 150000000 /dev/zero > /tmp/t/f && rm /tmp/t/f "
	      "&& umount /tmp/t",
		"");
	check(sm_vm_set_balloon(vm, 300 * MIB, &err));
	shell("for i in $(seq 100); do "
	      "[ $(awk '/MemFree/ {print $2}' /proc/meminfo) -lt 180000 ] && echo yes && break; "
	      "sleep 0.1; done",
		"yes\n");
	await_resident(250 * MIB);
	check(sm_vm_set_balloon(vm, 0, &err));
	shell("for i in $(seq 100); do "
	      "[ $(awk '/MemFree/ {print $2}' /proc/meminfo) -gt 350000 ] && echo yes && break; "
	      "sleep 0.1; done",
		"yes\n");
}

static void logs_hold_the_console(void **state)
{
	char *text = malloc(2 << 20);
	int n;

	(void)state;
	shell("echo a-line-for-the-console > /dev/kmsg; echo '<1>an-alert' > /dev/kmsg", NULL);
	n = sm_vm_logs(vm, text, 2 << 20, &err);
	assert_true(n > 0);
	assert_int_equal(strlen(text), n);
	assert_non_null(strstr(text, "an-alert"));
	free(text);
}

static void timings_add_up(void **state)
{
	struct sm_start_timings t;

	(void)state;
	sm_vm_timings(vm, &t);
	assert_true(t.vmm_us > 0 && t.agent_us > 0);
	assert_true(t.total_us >= t.vmm_us);
}

static void *kill_soon(void *arg)
{
	usleep(300000);
	kill(*(int *)arg, SIGKILL);
	return NULL;
}

static void a_dead_vmm_ends_every_wait(void **state)
{
	const char *argv[] = {"sleep", "1000", NULL};
	struct sm_exec *execs[3];
	struct timespec t0, t1;
	struct sm_exit exit;
	pthread_t killer;
	int pid = sm_vm_pid(vm);

	(void)state;
	for (int i = 0; i < 3; i++)
		check(sm_exec_start(vm, argv, NULL, &execs[i], &err));
	assert_int_equal(pthread_create(&killer, NULL, kill_soon, &pid), 0);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sm_exec_wait(execs[i], -1, &exit, &err), SM_E_VM_GONE);
		assert_true(err.cause[0]);
		sm_exec_close(execs[i]);
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	assert_true(t1.tv_sec - t0.tv_sec < 10);
	pthread_join(killer, NULL);
	assert_true(sm_vm_wait(vm, -1, &err) < 0);
	assert_true(sm_vm_stop(vm, NULL, &err) < 0);
	assert_int_equal(sm_exec_start(vm, argv, NULL, &execs[0], &err), SM_E_VM_GONE);
	sm_vm_close(vm);
}

static void stopping_ends_what_runs(void **state)
{
	const char *argv[] = {"sh", "-c", "trap '' TERM; sleep 1000; sleep 1000", NULL};
	struct sm_stop_options options = SM_INIT(options);
	struct sm_exec *exec;

	start(state);
	check(sm_exec_start(vm, argv, NULL, &exec, &err));
	options.grace_ms = 200;
	check(sm_vm_stop(vm, &options, &err));
	sm_exec_close(exec);
	check(sm_vm_wait(vm, 0, &err));
	sm_vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest shared[] = {
		cmocka_unit_test(output_is_collected),
		cmocka_unit_test(output_has_a_limit),
		cmocka_unit_test(a_command_can_time_out),
		cmocka_unit_test(failures_have_codes),
		cmocka_unit_test(big_output_streams_to_a_slow_reader),
		cmocka_unit_test(many_threads_run_commands_at_once),
		cmocka_unit_test(signals_reach_the_process_group),
		cmocka_unit_test(freed_memory_goes_back_to_the_host),
		cmocka_unit_test(the_balloon_takes_and_gives_memory),
		cmocka_unit_test(logs_hold_the_console),
		cmocka_unit_test(timings_add_up),
	};
	static const struct CMUnitTest own[] = {
		cmocka_unit_test_setup(a_dead_vmm_ends_every_wait, start),
		cmocka_unit_test(stopping_ends_what_runs),
	};
	int failed = cmocka_run_group_tests_name("one VM", shared, start, stop);

	return failed + cmocka_run_group_tests_name("a VM each", own, NULL, NULL);
}
