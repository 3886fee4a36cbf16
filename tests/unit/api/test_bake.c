// SPDX-License-Identifier: Apache-2.0
/* Baked states: made once, by one, of what they depend on; never in the way. */
#include "api/bakesweep.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cc.h"

struct told {
	atomic_int bakes, waits, colds;
	char text[512]; /* of the last */
};

static void note(const struct sm_notice *n, void *context)
{
	struct told *t = context;

	if (n->kind == SM_NOTICE_BAKE)
		t->bakes++;
	else if (n->kind == SM_NOTICE_WAIT)
		t->waits++;
	else
		t->colds++;
	snprintf(t->text, sizeof(t->text), "%s", n->text);
}

static struct sm_vm_options options(struct fixture *f, struct told *t)
{
	struct sm_vm_options o = SM_INIT(o);

	*t = (struct told){.bakes = 0};
	o.kernel = f->kernel;
	o.cmdline = "double=good";
	o.boot_timeout_ms = 10000;
	o.disk_bytes = 64 << 20;
	o.notice = note;
	o.context = t;
	return o;
}

static void begin(struct fixture *f, const struct sm_vm_options *o)
{
	struct sm_error err;

	sm_vm_close(f->vm);
	f->vm = NULL;
	fixture_ok(sm_vm_start(f->image, o, &f->vm, &err), &err);
}

static bool is_restored(const struct fixture *f)
{
	struct sm_start_timings t;

	sm_vm_timings(f->vm, &t);
	return t.is_restored;
}

static void baked_once_then_restored(void **state)
{
	struct fixture *f = *state;
	struct told t;
	struct sm_vm_options o = options(f, &t);

	o.name = "mine";
	begin(f, &o);
	assert_int_equal(t.bakes, 1);
	assert_non_null(strstr(t.text, "booted once"));
	assert_true(is_restored(f));
	assert_true(fixture_wait_log(f->vm, "resumed mine"));
	fixture_expect_echo(f->vm);
	begin(f, &o);
	assert_int_equal(t.bakes, 1);
	assert_true(is_restored(f));
	o.no_bake = 1;
	begin(f, &o);
	assert_false(is_restored(f));
	assert_int_equal(t.bakes + t.colds, 1);
}

/* Each thing a state depends on makes another one, and is named. */
static void changes_are_named(void **state)
{
	struct fixture *f = *state;
	struct told t;
	struct sm_vm_options o = options(f, &t);
	int fd;

	begin(f, &o);
	o.memory_bytes = 256 << 20;
	begin(f, &o);
	assert_non_null(strstr(t.text, "memory: 256 MiB, was 512 MiB"));
	o.vcpus = 2;
	begin(f, &o);
	assert_non_null(strstr(t.text, "vcpus: 2, was 1"));
	o.disk_bytes = 128 << 20;
	begin(f, &o);
	assert_non_null(strstr(t.text, "disk: 128 MiB, was 64 MiB"));
	o.cmdline = "double=good x";
	begin(f, &o);
	assert_non_null(strstr(t.text, "cmdline: double=good x, was double=good"));
	o.warmup = "true";
	begin(f, &o);
	assert_non_null(strstr(t.text, "warmup: true, was nothing"));
	fd = open(f->kernel, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	begin(f, &o);
	assert_non_null(strstr(t.text, "kernel: another file"));
	assert_int_equal(t.bakes, 7);
	begin(f, &o);
	assert_int_equal(t.bakes, 7);
}

struct start {
	struct fixture *f;
	struct sm_vm_options o;
	struct sm_vm *vm;
	struct sm_error err;
	int r;
};

static void *start_one(void *context)
{
	struct start *s = context;

	s->r = sm_vm_start(s->f->image, &s->o, &s->vm, &s->err);
	return NULL;
}

static void two_at_once_bake_once(void **state)
{
	enum { N = 4 };
	struct fixture *f = *state;
	struct start starts[N];
	pthread_t threads[N];
	struct told t;
	struct sm_vm_options o = options(f, &t);

	for (int i = 0; i < N; i++) {
		starts[i] = (struct start){.f = f, .o = o};
		assert_int_equal(pthread_create(&threads[i], NULL, start_one, &starts[i]), 0);
	}
	for (int i = 0; i < N; i++) {
		pthread_join(threads[i], NULL);
		fixture_ok(starts[i].r, &starts[i].err);
		fixture_expect_echo(starts[i].vm);
		sm_vm_close(starts[i].vm);
	}
	assert_int_equal(t.bakes, 1);
	assert_int_equal(t.colds, 0);
}

/* ---- workloads ------------------------------------------------------------------------------ */

static void workload_is_attached_to(void **state)
{
	const char *const none[] = {NULL};
	struct fixture *f = *state;
	struct told t;
	struct sm_vm_options o = options(f, &t);
	struct sm_error err;
	struct sm_exec *x;
	struct sm_exit end;
	const char *const sleep_argv[] = {"sleep", "100", NULL};
	const char *const no_entry[] = {NULL};
	struct sm_exec_options w = {.size = sizeof(w), .entrypoint = no_entry};

	o.workload = none;
	assert_int_equal(sm_vm_start(f->image, &o, &f->vm, &err), SM_E_INVALID);
	o.ready = SM_READY_LISTEN;
	o.workload = sleep_argv;
	o.workload_options = &w;
	begin(f, &o);
	assert_true(is_restored(f));
	fixture_ok(sm_vm_attach(f->vm, 0, NULL, &x, &err), &err);
	fixture_ok(sm_exec_wait(x, 5000, &end, &err), &err);
	assert_int_equal(end.status, 3);
	sm_exec_close(x);
	begin(f, &o);
	assert_int_equal(t.bakes, 1);
}

static void ready_by_command_and_file(void **state)
{
	struct fixture *f = *state;
	struct told t;
	struct sm_vm_options o = options(f, &t);
	const char *const no_entry[] = {NULL};
	struct sm_exec_options w = {.size = sizeof(w), .entrypoint = no_entry};
	char flag[128], script[300], test[200];
	const char *const argv[] = {"sh", "-c", script, NULL};

	fixture_path(f, "ready", flag);
	snprintf(script, sizeof(script), "sleep 0.3; echo on >%s; exec sleep 100", flag);
	snprintf(test, sizeof(test), "test -e %s", flag);
	o.workload = argv;
	o.workload_options = &w;
	o.ready = SM_READY_EXEC;
	o.ready_text = test;
	begin(f, &o);
	assert_int_equal(access(flag, F_OK), 0);
	unlink(flag);
	o.ready = SM_READY_FILE;
	o.ready_text = flag;
	begin(f, &o);
	assert_int_equal(access(flag, F_OK), 0);
	assert_int_equal(t.bakes, 2);
}

/* The image's or its commands' faults are errors, with what they said. */
static void faults_of_workloads(void **state)
{
	struct fixture *f = *state;
	struct told t;
	struct sm_vm_options o = options(f, &t);
	const char *const no_entry[] = {NULL};
	struct sm_exec_options w = {.size = sizeof(w), .entrypoint = no_entry};
	const char *const dies[] = {"sh", "-c", "echo cannot open the thing >&2; exit 7", NULL};
	const char *const sleeps[] = {"sleep", "100", NULL};
	const char *const missing[] = {"no-such-command", NULL};
	struct sm_error err;

	o.workload = dies;
	o.workload_options = &w;
	o.ready = SM_READY_EXEC;
	o.ready_text = "false";
	o.ready_timeout_ms = 1000;
	assert_int_equal(sm_vm_start(f->image, &o, &f->vm, &err), SM_E_GUEST);
	assert_non_null(strstr(err.cause, "status 7: \"cannot open the thing\""));
	o.workload = sleeps;
	assert_int_equal(sm_vm_start(f->image, &o, &f->vm, &err), SM_E_TIMEOUT);
	assert_non_null(strstr(err.cause, "not ready (false) within 1000 ms"));
	o.workload = missing;
	assert_int_equal(sm_vm_start(f->image, &o, &f->vm, &err), SM_E_NOT_FOUND);
	o = options(f, &t);
	o.warmup = "echo first; echo second; exit 9";
	assert_int_equal(sm_vm_start(f->image, &o, &f->vm, &err), SM_E_GUEST);
	assert_non_null(strstr(err.cause, "status 9: \"first | second\""));
	o.cmdline = "double=panic";
	assert_int_equal(sm_vm_start(f->image, &o, &f->vm, &err), SM_E_GUEST);
	assert_non_null(strstr(err.cause, "panic"));
	assert_int_equal(t.colds, 0);
}

struct callback {
	struct told told;
	int answer, calls;
};

static int warm(struct sm_vm *vm, void *context)
{
	struct callback *c = context;

	c->calls++;
	fixture_expect_echo(vm);
	return c->answer;
}

static void callback_warms_up(void **state)
{
	struct fixture *f = *state;
	struct callback c = {.answer = 1};
	struct sm_vm_options o = options(f, &c.told);
	struct sm_error err;

	o.on_warmup = warm;
	o.context = &c;
	assert_int_equal(sm_vm_start(f->image, &o, &f->vm, &err), SM_E_INVALID);
	assert_string_equal(err.object, "warmup_key");
	o.warmup_key = "one";
	assert_true(sm_vm_start(f->image, &o, &f->vm, &err) < 0);
	assert_non_null(strstr(err.cause, "gave up (1)"));
	c.answer = 0;
	begin(f, &o);
	begin(f, &o);
	assert_int_equal(c.calls, 2);
	o.warmup_key = "two";
	begin(f, &o);
	assert_int_equal(c.calls, 3);
	assert_non_null(strstr(c.told.text, "warmup-key: two, was one"));
}

/* Of an image's states those stay that were used last; the one just baked is among them. */
static void old_states_are_swept(void **state)
{
	struct fixture *f = *state;
	struct told t;
	struct sm_vm_options o = options(f, &t);
	struct sm_error err;
	char dir[300];

	for (int i = 0; i < BAKE_KEPT + 2; i++) {
		o.memory_bytes = (uint64_t)(64 + 2 * i) << 20;
		assert_int_equal(sm_image_bake(f->image, &o, dir, sizeof(dir), &err), 1);
	}
	assert_int_equal(sm_image_bake(f->image, &o, NULL, 0, &err), 0);
	o.memory_bytes = 64 << 20;
	assert_int_equal(sm_image_bake(f->image, &o, NULL, 0, &err), 1);
	/* What is used stays, however old it is. */
	for (int i = 0; i < BAKE_KEPT + 2; i++) {
		begin(f, &o);
		o.memory_bytes = (uint64_t)(128 + 2 * i) << 20;
		assert_int_equal(sm_image_bake(f->image, &o, dir, sizeof(dir), &err), 1);
		o.memory_bytes = 64 << 20;
	}
	assert_int_equal(sm_image_bake(f->image, &o, NULL, 0, &err), 0);
	fixture_path(f, "store/snapshots", dir);
	/* Besides the lock of every state that there was. */
	assert_true(fixture_count_files(dir) <= BAKE_KEPT + 2 * (BAKE_KEPT + 2));
}

/* ---- what goes wrong ------------------------------------------------------------------------ */

/* A bake that fails is no reason not to run; nothing is left of it. */
static void no_room_runs_cold(void **state)
{
	struct fixture *f = *state;
	struct told t;
	struct sm_vm_options o = options(f, &t);
	char dir[128];

	o.cmdline = "double=full";
	o.name = "mine";
	begin(f, &o);
	assert_int_equal(t.colds, 1);
	assert_non_null(strstr(t.text, "No space left"));
	assert_false(is_restored(f));
	assert_true(fixture_wait_log(f->vm, "resumed mine"));
	fixture_expect_echo(f->vm);
	fixture_path(f, "store/snapshots", dir);
	assert_int_equal(fixture_count_files(dir), 1); /* the lock */
	o.cmdline = "double=no-freezer";
	begin(f, &o);
	assert_int_equal(t.colds, 2);
	fixture_expect_echo(f->vm);
}

/* A state whose guest cannot be resumed is never kept. */
static void unusable_state_is_not_kept(void **state)
{
	struct fixture *f = *state;
	struct told t;
	struct sm_vm_options o = options(f, &t);
	char dir[128];

	o.cmdline = "double=no-reseed";
	begin(f, &o);
	assert_int_equal(t.colds, 1);
	assert_non_null(strstr(t.text, "reseeding"));
	fixture_expect_echo(f->vm);
	fixture_path(f, "store/snapshots", dir);
	assert_int_equal(fixture_count_files(dir), 1);
}

static void damaged_state_is_baked_again(void **state)
{
	struct fixture *f = *state;
	struct told t;
	struct sm_vm_options o = options(f, &t);
	struct sm_error err;
	char dir[300], path[400];

	assert_int_equal(sm_image_bake(f->image, &o, dir, sizeof(dir), &err), 1);
	assert_int_equal(sm_image_bake(f->image, &o, dir, sizeof(dir), &err), 0);
	fixture_ok(sm_snapshot_verify(dir, &err), &err);
	snprintf(path, sizeof(path), "%s/written", dir);
	assert_int_equal(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/memory", dir);
	assert_int_equal(truncate(path, 4096), 0);
	begin(f, &o);
	assert_int_equal(t.bakes, 2);
	assert_non_null(strstr(t.text, "was written with"));
	assert_true(is_restored(f));
	fixture_ok(sm_snapshot_verify(dir, &err), &err);
	begin(f, &o);
	assert_int_equal(t.bakes, 2);
}

static void write_set_is_used(void **state)
{
	struct fixture *f = *state;
	struct told t;
	struct sm_vm_options o = options(f, &t);

	begin(f, &o);
	assert_true(fixture_wait_log(f->vm, "populated\n"));
	setenv("SUPERMACHINE_POPULATE", "0", 1);
	begin(f, &o);
	unsetenv("SUPERMACHINE_POPULATE");
	assert_true(fixture_wait_log(f->vm, "restored\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			baked_once_then_restored, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(changes_are_named, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(two_at_once_bake_once, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			workload_is_attached_to, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			ready_by_command_and_file, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(faults_of_workloads, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(callback_warms_up, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(old_states_are_swept, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(no_room_runs_cold, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			unusable_state_is_not_kept, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			damaged_state_is_baked_again, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(write_set_is_used, fixture_parts, fixture_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
