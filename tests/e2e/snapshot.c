// SPDX-License-Identifier: Apache-2.0
/*
 * Snapshots from an embedder's side, with real guests: taken, restored, rolled back, chained.
 * $IMAGE has a shell with the usual small tools; $SCRATCH is a directory for snapshots.
 */
#include "embed.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The snapshot that the tests restore: a file on the disk, a file in memory, an old wall clock, and
 * nothing that runs. */
static char base[512];

static const struct sm_vm_options machine = {
	.size = sizeof(machine), .memory_bytes = 256 * MIB, .vcpus = 2, .name = "source"};

static int make_base(void **state)
{
	struct sm_vm *vm = start_vm("IMAGE", &machine);

	(void)state;
	snprintf(base, sizeof(base), "%s", scratch("base"));
	shell(vm, "echo disk > /kept; echo memory > /dev/shm/kept; sync", "");
	/* As an hour-old snapshot has it. */
	shell(vm, "date -s @$(($(date +%s) - 3600)) > /dev/null", "");
	check(sm_vm_snapshot(vm, base, NULL, &err));
	shell(vm, "cat /kept /dev/shm/kept", "disk\nmemory\n");
	drop_vm(vm);
	return 0;
}

static int drop_base(void **state)
{
	(void)state;
	remove_tree(base);
	return 0;
}

/* ---- save and restore ---------------------------------------------------------------------- */

static void keep_info(const struct sm_snapshot_info *info, void *context)
{
	assert_true(info->product && info->architecture && info->image && info->base);
	*(struct sm_snapshot_info *)context = *info;
}

static void info_and_verify(void **state)
{
	struct sm_snapshot_info info = {0};
	double age;

	(void)state;
	check(sm_snapshot_info(base, keep_info, &info, &err));
	assert_int_equal(info.memory_bytes, 256 * MIB);
	assert_int_equal(info.vcpus, 2);
	assert_in_range(info.memory_data_bytes, 4 * MIB, 256 * MIB - 1);
	assert_true(info.disk_data_bytes > 0);
	assert_true(info.pause_us > 0);
	assert_int_equal(info.n_commands, 0);
	age = seconds(CLOCK_REALTIME) - (double)info.created_unix;
	assert_true(age >= -1 && age < 3600);
	check(sm_snapshot_verify(base, &err));
}

static void the_guest_is_as_it_was(void **state)
{
	struct sm_start_timings t;
	struct sm_vm *vm = restore_vm(base, NULL);

	(void)state;
	sm_vm_timings(vm, &t);
	assert_int_equal(t.is_restored, 1);
	assert_int_equal(t.kernel_us, 0);
	assert_true(t.state_us > 0 && t.vcpu_restore_us > 0 && t.mmio_restore_us > 0);
	assert_true(t.agent_us > 0 && t.resume_guest_us > 0 && t.total_us >= t.vmm_us);
	shell(vm, "cat /kept /dev/shm/kept; nproc", "disk\nmemory\n2\n");
	/* It is a whole machine, which can be stopped in an orderly way. */
	check(sm_vm_stop(vm, NULL, &err));
	sm_vm_close(vm);
}

static void clones_are_apart(void **state)
{
	struct sm_vm_options name = SM_INIT(name);
	struct sm_vm *a, *b;
	char *id_a, *id_b;

	(void)state;
	name.name = "first";
	a = restore_vm(base, &name);
	b = restore_vm(base, NULL);
	shell(a, "hostname; echo a > /kept; echo a > /dev/shm/kept; sync", "first\n");
	shell(b, "cat /kept /dev/shm/kept", "disk\nmemory\n");
	shell(b, "echo b > /kept; echo b > /dev/shm/kept; sync", "");
	shell(a, "cat /kept /dev/shm/kept", "a\na\n");
	id_a = say(a, "hostname; cat /etc/machine-id 2>/dev/null || true");
	id_b = say(b, "hostname; cat /etc/machine-id 2>/dev/null || true");
	assert_string_not_equal(id_a, id_b);
	assert_null(strstr(id_b, "source"));
	free(id_a);
	free(id_b);
	drop_vm(a);
	drop_vm(b);
	check(sm_snapshot_verify(base, &err));
}

static void a_restored_vm_is_snapshotted_again(void **state)
{
	struct sm_vm *vm = restore_vm(base, NULL);
	const char *dir = scratch("again");

	(void)state;
	shell(vm, "echo more >> /kept; echo more >> /dev/shm/kept", "");
	check(sm_vm_snapshot(vm, dir, NULL, &err));
	drop_vm(vm);
	check(sm_snapshot_verify(dir, &err));
	vm = restore_vm(dir, NULL);
	shell(vm, "cat /kept /dev/shm/kept", "disk\nmore\nmemory\nmore\n");
	drop_vm(vm);
	remove_tree(dir);
}

static void what_exists_is_not_overwritten(void **state)
{
	struct sm_vm *vm = restore_vm(base, NULL);
	const char *dir = scratch("exists");

	(void)state;
	assert_int_equal(mkdir(dir, 0755), 0);
	check_error(sm_vm_snapshot(vm, dir, NULL, &err), SM_E_INVALID, "exists", NULL);
	assert_int_equal(rmdir(dir), 0);
	assert_true(sm_vm_snapshot(vm, "/no/such/place/s", NULL, &err) < 0);
	assert_non_null(strstr(err.object, "/no/such/place"));
	shell(vm, "echo alive", "alive\n");
	drop_vm(vm);
}

/* ---- streams over a snapshot --------------------------------------------------------------- */

struct stream {
	char text[65536];
	size_t bytes;
};

static int collect(const void *data, size_t bytes, void *context)
{
	struct stream *s = context;

	if (bytes > sizeof(s->text) - 1 - s->bytes)
		return 1;
	memcpy(s->text + s->bytes, data, bytes);
	s->bytes += bytes;
	s->text[s->bytes] = '\0';
	return 0;
}

static int count(const void *data, size_t bytes, void *context)
{
	(void)data;
	*(size_t *)context += bytes;
	return 0;
}

static void the_sources_streams_go_on(void **state)
{
	struct sm_vm *vm = restore_vm(base, NULL);
	const char *dir = scratch("streams");
	struct sm_exec *exec;
	struct sm_exit exit;
	size_t bytes = 0;

	(void)state;
	exec = start_shell(vm, "head -c 20000000 /dev/zero; sleep 1; head -c 20000000 /dev/zero",
		count, &bytes);
	assert_int_equal(sm_exec_wait(exec, 200, &exit, &err), SM_E_TIMEOUT);
	check(sm_vm_snapshot(vm, dir, NULL, &err));
	if (sm_exec_wait(exec, 60000, &exit, &err) < 0)
		fail_msg("%s after %zu bytes", err.cause, bytes);
	assert_int_equal(exit.status, 0);
	assert_int_equal(bytes, 40000000);
	sm_exec_close(exec);
	drop_vm(vm);
	remove_tree(dir);
}

static void *take_snapshot(void *context)
{
	struct sm_error e;
	void **arg = context;

	return (void *)(intptr_t)sm_vm_snapshot(arg[0], arg[1], NULL, &e);
}

static void two_snapshots_at_once_are_both_whole(void **state)
{
	struct sm_vm *vm = restore_vm(base, NULL);
	const char *dirs[] = {scratch("one"), scratch("two")};
	void *args[2][2] = {{vm, (void *)(uintptr_t)dirs[0]}, {vm, (void *)(uintptr_t)dirs[1]}};
	pthread_t threads[2];
	unsigned n = 0;

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_snapshot, args[i]), 0);
	for (int i = 0; i < 2; i++) {
		void *result;

		pthread_join(threads[i], &result);
		if ((intptr_t)result == 0) {
			check(sm_snapshot_verify(dirs[i], &err));
			n++;
		} else {
			/* The other was first, which it must say; and nothing is left. */
			assert_int_equal((intptr_t)result, SM_E_BUSY);
			assert_false(exists(dirs[i]));
		}
		remove_tree(dirs[i]);
	}
	assert_true(n >= 1);
	shell(vm, "echo alive", "alive\n");
	drop_vm(vm);
}

static void a_command_goes_on_in_each_clone(void **state)
{
	struct sm_vm *vm = restore_vm(base, NULL);
	struct sm_exec_options o = SM_INIT(o);
	const char *dir = scratch("runs");
	struct stream source = {0}, clones[2] = {0};
	struct sm_snapshot_info info;
	struct sm_exec *exec;
	struct sm_exit exit;

	(void)state;
	exec = start_shell(vm,
		"i=0; while [ ! -e /go ]; do i=$((i+1)); echo $i; sleep 0.1; done; echo end $(cat "
		"/go); "
		"exit 7",
		collect, &source);
	while (!strstr(source.text, "3\n"))
		assert_int_equal(sm_exec_wait(exec, 200, &exit, &err), SM_E_TIMEOUT);
	check(sm_vm_snapshot(vm, dir, NULL, &err));
	sm_exec_close(exec);
	drop_vm(vm);
	check(sm_snapshot_info(dir, keep_info, &info, &err));
	assert_int_equal(info.n_commands, 1);
	for (int i = 0; i < 2; i++) {
		vm = restore_vm(dir, NULL);
		o.on_stdout = collect;
		o.context = &clones[i];
		check(sm_vm_attach(vm, 0, &o, &exec, &err));
		assert_int_equal(sm_exec_wait(exec, 500, &exit, &err), SM_E_TIMEOUT);
		shell(vm, i ? "echo two > /go" : "echo one > /go", "");
		check(sm_exec_wait(exec, 30000, &exit, &err));
		assert_int_equal(exit.status, 7);
		sm_exec_close(exec);
		drop_vm(vm);
	}
	assert_true(atoi(clones[0].text) >= 4);
	assert_int_equal(atoi(clones[0].text), atoi(clones[1].text));
	assert_non_null(strstr(clones[0].text, "end one\n"));
	assert_non_null(strstr(clones[1].text, "end two\n"));
	remove_tree(dir);
}

static void attach_without_a_command(void **state)
{
	struct sm_vm *vm = restore_vm(base, NULL);
	struct sm_exec *exec;

	(void)state;
	check_error(sm_vm_attach(vm, 0, NULL, &exec, &err), SM_E_NOT_FOUND, NULL);
	check_error(sm_vm_attach(vm, 12345, NULL, &exec, &err), SM_E_NOT_FOUND, NULL);
	drop_vm(vm);
}

/* ---- time ---------------------------------------------------------------------------------- */

static void wall_clock_is_right(void **state)
{
	struct sm_vm *vm;
	double before, guest, after;

	(void)state;
	vm = restore_vm(base, NULL);
	before = seconds(CLOCK_REALTIME);
	guest = number(vm, "date +%s");
	after = seconds(CLOCK_REALTIME);
	/* date cuts the fraction off. */
	if (guest < before - 1.01 || guest > after + 0.01)
		fail_msg("the guest says %.0f, it is %.2f to %.2f", guest, before, after);
	drop_vm(vm);
}

static void monotonic_time_goes_on(void **state)
{
	struct sm_vm *vm = restore_vm(base, NULL);
	const char *dir = scratch("sleeps"), *uptime = "cut -d' ' -f1 /proc/uptime";
	double begun, saved, resumed, ended, host;
	struct sm_exec *exec;
	struct sm_exit exit;

	(void)state;
	exec = start_shell(vm, "sleep 5", NULL, NULL);
	begun = number(vm, uptime);
	check(sm_vm_snapshot(vm, dir, NULL, &err));
	saved = number(vm, uptime);
	sm_exec_close(exec);
	drop_vm(vm);
	sleep(8);
	host = seconds(CLOCK_MONOTONIC);
	vm = restore_vm(dir, NULL);
	resumed = number(vm, uptime);
	/* Eight seconds have passed, but not for the guest. */
	if (resumed < begun || resumed > saved + 4)
		fail_msg("uptime %.2f, before the snapshot %.2f, after it %.2f", resumed, begun,
			saved);
	check(sm_vm_attach(vm, 0, NULL, &exec, &err));
	check(sm_exec_wait(exec, 30000, &exit, &err));
	host = seconds(CLOCK_MONOTONIC) - host;
	ended = number(vm, uptime);
	assert_int_equal(exit.status, 0);
	/* It slept five seconds of the guest's time, the rest of them here. */
	if (ended - begun < 4 || ended - begun > 12 || host < 5 - (saved - begun) - 1)
		fail_msg("sleep 5 took %.2f s in the guest, of which %.2f s after the restore",
			ended - begun, host);
	sm_exec_close(exec);
	drop_vm(vm);
	remove_tree(dir);
}

/* ---- roll back ----------------------------------------------------------------------------- */

static void reset_makes_it_the_snapshot_again(void **state)
{
	struct sm_vm *vm = restore_vm(base, NULL);
	struct sm_exec *exec;
	struct sm_exit exit;

	(void)state;
	for (int i = 0; i < 3; i++) {
		double guest;

		shell(vm, "cat /kept /dev/shm/kept; ls /new 2>/dev/null || true", "disk\nmemory\n");
		shell(vm, "echo x > /kept; echo x > /dev/shm/kept; echo new > /new; sync", "");
		exec = start_shell(vm, "sleep 1000", NULL, NULL);
		check(sm_vm_reset(vm, &err));
		assert_int_equal(sm_exec_wait(exec, 5000, &exit, &err), SM_E_VM_GONE);
		sm_exec_close(exec);
		shell(vm, "pgrep sleep || true", "");
		guest = number(vm, "date +%s");
		assert_true(
			guest > seconds(CLOCK_REALTIME) - 5 && guest < seconds(CLOCK_REALTIME) + 1);
	}
	shell(vm, "cat /kept /dev/shm/kept", "disk\nmemory\n");
	drop_vm(vm);
}

static void a_booted_vm_has_nothing_to_be_reset_to(void **state)
{
	struct sm_vm_options o = machine;
	struct sm_vm *vm;

	(void)state;
	o.no_bake = 1;
	vm = start_vm("IMAGE", &o);
	check_error(sm_vm_reset(vm, &err), SM_E_INVALID, NULL);
	shell(vm, "echo alive", "alive\n");
	drop_vm(vm);
}

/* ---- differential -------------------------------------------------------------------------- */

static void a_difference_is_small_and_restores_on_its_base(void **state)
{
	struct sm_snapshot_options diff = SM_INIT(diff);
	struct sm_snapshot_info full, small;
	const char *dir = scratch("diff");
	struct sm_vm *vm = restore_vm(base, NULL);

	(void)state;
	diff.base = base;
	shell(vm, "echo changed > /kept; echo changed > /dev/shm/kept; sync", "");
	check(sm_vm_snapshot(vm, dir, &diff, &err));
	shell(vm, "echo alive", "alive\n");
	drop_vm(vm);
	check(sm_snapshot_info(base, keep_info, &full, &err));
	check(sm_snapshot_info(dir, keep_info, &small, &err));
	assert_true(small.memory_data_bytes > 0);
	assert_true(small.memory_data_bytes < full.memory_data_bytes / 2);
	check(sm_snapshot_verify(dir, &err));
	for (int i = 0; i < 2; i++) {
		vm = restore_vm(dir, NULL);
		shell(vm, "cat /kept /dev/shm/kept", "changed\nchanged\n");
		shell(vm, "echo again > /kept; echo again > /dev/shm/kept; sync", "");
		/* What it is reset to is the difference on its base. */
		check(sm_vm_reset(vm, &err));
		shell(vm, "cat /kept /dev/shm/kept", "changed\nchanged\n");
		drop_vm(vm);
	}
	remove_tree(dir);
}

static void a_difference_needs_its_base(void **state)
{
	struct sm_snapshot_options diff = SM_INIT(diff);
	const char *dir = scratch("orphan"), *away = scratch("away");
	struct sm_vm *vm = restore_vm(base, NULL), *other;

	(void)state;
	diff.base = base;
	check(sm_vm_snapshot(vm, dir, &diff, &err));
	drop_vm(vm);
	assert_int_equal(rename(base, away), 0);
	assert_true(sm_vm_restore(NULL, dir, NULL, &other, &err) < 0);
	assert_int_equal(rename(away, base), 0);
	check_error(err.code, err.code, "base", "No such file", NULL);
	remove_tree(dir);
}

static void a_difference_to_something_else_is_refused(void **state)
{
	struct sm_snapshot_options diff = SM_INIT(diff);
	const char *other = scratch("other"), *dir = scratch("wrong");
	struct sm_vm *vm = restore_vm(base, NULL);

	(void)state;
	check(sm_vm_snapshot(vm, other, NULL, &err));
	diff.base = other;
	check_error(sm_vm_snapshot(vm, dir, &diff, &err), SM_E_INVALID, NULL);
	assert_false(exists(dir));
	diff.base = "/no/such/base";
	assert_true(sm_vm_snapshot(vm, dir, &diff, &err) < 0);
	assert_false(exists(dir));
	shell(vm, "echo alive", "alive\n");
	drop_vm(vm);
	remove_tree(other);
}

/* ---- baking -------------------------------------------------------------------------------- */

struct notices {
	unsigned n_bakes;
	char text[256];
};

static void note(const struct sm_notice *notice, void *context)
{
	struct notices *n = context;

	if (notice->kind != SM_NOTICE_BAKE)
		return;
	n->n_bakes++;
	snprintf(n->text, sizeof(n->text), "%s", notice->text);
}

static int warm_up(struct sm_vm *vm, void *context)
{
	(void)context;
	shell(vm, "echo warm > /dev/shm/warm", "");
	return 0;
}

static void bake_with_a_callback(void **state)
{
	struct sm_vm_options o = machine;
	struct notices notices = {0};
	struct sm_image *image;
	char dir[4096];
	struct sm_vm *vm;

	(void)state;
	o.on_warmup = warm_up;
	o.warmup_key = "the warm-up of the test";
	o.notice = note;
	o.context = &notices;
	check(sm_image_open(NULL, getenv("IMAGE"), NULL, &image, &err));
	assert_int_equal(sm_image_bake(image, &o, dir, sizeof(dir), &err), 1);
	assert_int_equal(notices.n_bakes, 1);
	assert_int_equal(sm_image_bake(image, &o, dir, sizeof(dir), &err), 0);
	check(sm_snapshot_verify(dir, &err));
	check(sm_vm_start(image, &o, &vm, &err));
	shell(vm, "cat /dev/shm/warm", "warm\n");
	drop_vm(vm);
	assert_int_equal(notices.n_bakes, 1);
	o.warmup_key = "another";
	assert_int_equal(sm_image_bake(image, &o, dir, sizeof(dir), &err), 1);
	assert_int_equal(notices.n_bakes, 2);
	sm_image_close(image);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(info_and_verify),
		cmocka_unit_test(the_guest_is_as_it_was),
		cmocka_unit_test(clones_are_apart),
		cmocka_unit_test(a_restored_vm_is_snapshotted_again),
		cmocka_unit_test(what_exists_is_not_overwritten),
		cmocka_unit_test(the_sources_streams_go_on),
		cmocka_unit_test(two_snapshots_at_once_are_both_whole),
		cmocka_unit_test(a_command_goes_on_in_each_clone),
		cmocka_unit_test(attach_without_a_command),
		cmocka_unit_test(wall_clock_is_right),
		cmocka_unit_test(monotonic_time_goes_on),
		cmocka_unit_test(reset_makes_it_the_snapshot_again),
		cmocka_unit_test(a_booted_vm_has_nothing_to_be_reset_to),
		cmocka_unit_test(a_difference_is_small_and_restores_on_its_base),
		cmocka_unit_test(a_difference_needs_its_base),
		cmocka_unit_test(a_difference_to_something_else_is_refused),
		cmocka_unit_test(bake_with_a_callback),
	};

	if (getenv("ONLY"))
		cmocka_set_test_filter(getenv("ONLY"));
	return cmocka_run_group_tests_name("snapshots", tests, make_base, drop_base);
}
