// SPDX-License-Identifier: Apache-2.0
/* Snapshots saved and restored, with a VMM that writes files which look like a machine's. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cc.h"
#include "oci/object.h"

static void start(struct fixture *f, const char *mode)
{
	struct sm_error err;

	fixture_ok(fixture_start(f, mode, 20000, &f->vm, &err), &err);
}

static void save(struct fixture *f, const char *name, char dir[128])
{
	struct sm_error err;

	fixture_path(f, name, dir);
	fixture_ok(sm_vm_snapshot(f->vm, dir, NULL, &err), &err);
}

static int restore(struct fixture *f, const char *dir, struct sm_vm **ret, struct sm_error *err)
{
	struct sm_vm_options o = SM_INIT(o);

	o.boot_timeout_ms = 3000;
	return sm_vm_restore(f->store, dir, &o, ret, err);
}

static void end(struct fixture *f)
{
	sm_vm_close(f->vm);
	f->vm = NULL;
}

/* ---- the good way --------------------------------------------------------------------------- */

static void take_info(const struct sm_snapshot_info *info, void *context)
{
	assert_string_equal(info->product, SM_VERSION);
	assert_string_equal(info->image, "oci:/nowhere");
	assert_string_equal(info->base, "");
	assert_int_equal(info->memory_bytes, 512 << 20);
	assert_int_equal(info->memory_data_bytes, 2 * 4096);
	assert_int_equal(info->disk_data_bytes, 2 * 4096);
	assert_int_equal(info->vcpus, 1);
	assert_int_equal(info->pause_us, 1234);
	assert_true(info->created_unix > 1600000000);
	++*(int *)context;
}

static void saves_and_restores(void **state)
{
	const char *const env[] = {"A=b c", NULL};
	struct sm_vm_options o = SM_INIT(o);
	struct sm_start_timings t;
	struct fixture *f = *state;
	struct sm_error err;
	struct sm_vm *clone;
	char dir[128];
	struct stat st;
	int calls = 0;

	start(f, NULL);
	save(f, "one", dir);
	assert_true(fixture_wait_log(f->vm, "thawed"));
	fixture_expect_echo(f->vm);
	assert_int_equal(fixture_count_files(dir), 4);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	fixture_ok(sm_snapshot_info(dir, take_info, &calls, &err), &err);
	assert_int_equal(calls, 1);
	fixture_ok(sm_snapshot_verify(dir, &err), &err);
	o.name = "clone-1";
	o.clone_index = 1;
	o.clone_count = 3;
	o.clone_env = env;
	fixture_ok(sm_vm_restore(f->store, dir, &o, &clone, &err), &err);
	assert_true(fixture_wait_log(clone, "resumed clone-1 1/3 A=b c\n"));
	fixture_expect_echo(clone);
	sm_vm_timings(clone, &t);
	assert_int_equal(t.is_restored, 1);
	assert_int_equal(t.state_us, 8);
	assert_int_equal(t.listener_restore_us, 14);
	assert_int_equal(t.resume_guest_us, 42);
	assert_int_equal(t.kernel_us, 0);
	assert_true(t.total_us >= t.agent_us);
	fixture_ok(sm_vm_stop(clone, NULL, &err), &err);
	sm_vm_close(clone);
}

/* The image's configuration is in the snapshot. */
static void restored_vm_knows_its_image(void **state)
{
	struct fixture *f = *state;
	struct sm_exec_options inner = SM_INIT(inner);
	struct sm_output_options o = {.size = sizeof(o), .exec = &inner};
	struct sm_output out;
	struct sm_error err;
	char dir[128];

	start(f, NULL);
	save(f, "one", dir);
	end(f);
	fixture_ok(restore(f, dir, &f->vm, &err), &err);
	inner.is_entrypoint = 1;
	fixture_ok(sm_exec_output(f->vm, NULL, &o, &out, &err), &err);
	assert_string_equal(out.out, "image's command\n");
	sm_output_free(&out);
	fixture_ok(
		sm_exec_output(f->vm, (const char *const[]){"sh", "-c", "echo $FROM_IMAGE", NULL},
			NULL, &out, &err),
		&err);
	assert_string_equal(out.out, "yes\n");
	sm_output_free(&out);
}

static int take_text(const void *data, size_t bytes, void *context)
{
	strncat(context, data, bytes);
	return 0;
}

static void detached_commands_are_known(void **state)
{
	struct fixture *f = *state;
	char dir[128], text[64] = "", json[256];
	struct sm_exec_options o = SM_INIT(o);
	struct sm_error err;
	struct sm_exec *x;
	struct sm_exit end_of;

	start(f, NULL);
	assert_int_equal(sm_vm_attach(f->vm, 0, NULL, &x, &err), SM_E_NOT_FOUND);
	fixture_ok(
		sm_exec_start(f->vm, (const char *const[]){"sleep", "100", NULL}, NULL, &x, &err),
		&err);
	save(f, "one", dir);
	sm_exec_close(x);
	end(f);
	snprintf(json, sizeof(json), "grep -q '\"command\": \"sleep\"' %s/snapshot.json", dir);
	assert_int_equal(system(json), 0);
	fixture_ok(restore(f, dir, &f->vm, &err), &err);
	o.on_stdout = take_text;
	o.context = text;
	fixture_ok(sm_vm_attach(f->vm, 0, &o, &x, &err), &err);
	fixture_ok(sm_exec_wait(x, 5000, &end_of, &err), &err);
	assert_int_equal(end_of.status, 3);
	assert_string_equal(text, "attached\n");
	sm_exec_close(x);
}

/* ---- saving fails --------------------------------------------------------------------------- */

/* Nothing is left, and when the VM lives, it goes on. */
static void failed_saves(void **state)
{
	static const struct {
		const char *mode, *word;
		int code;
		bool lives;
	} cases[] = {
		{"full", "No space left", SM_E_NO_SPACE, true},
		{"die-saving", "signal 9", SM_E_VM_GONE, false},
		{"no-freezer", "no cgroup freezer", SM_E_UNSUPPORTED, true},
		{"impossible-answer", "impossible", SM_E_VM_GONE, false},
	};
	struct fixture *f = *state;
	char dir[128], before[128];
	struct sm_error err;

	start(f, NULL);
	save(f, "before", before);
	end(f);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		unsigned files = fixture_count_files(f->dir);

		start(f, cases[i].mode);
		fixture_path(f, "snap", dir);
		int r = sm_vm_snapshot(f->vm, dir, NULL, &err);

		if (r != cases[i].code || !strstr(err.cause, cases[i].word))
			fail_msg("%s: %d: %s: %s", cases[i].mode, r, err.object, err.cause);
		assert_int_equal(fixture_count_files(f->dir), files);
		if (cases[i].lives)
			fixture_expect_echo(f->vm);
		end(f);
	}
	fixture_ok(sm_snapshot_verify(before, &err), &err);
}

static void existing_place_is_refused(void **state)
{
	struct fixture *f = *state;
	struct sm_error err;
	char dir[128];

	start(f, NULL);
	save(f, "one", dir);
	assert_int_equal(sm_vm_snapshot(f->vm, dir, NULL, &err), SM_E_INVALID);
	assert_non_null(strstr(err.cause, "exists already"));
	fixture_path(f, "no/such/place", dir);
	assert_int_equal(sm_vm_snapshot(f->vm, dir, NULL, &err), SM_E_NOT_FOUND);
	assert_int_equal(sm_vm_snapshot(f->vm, "", NULL, &err), SM_E_INVALID);
}

/* What a killed writer left goes with the next; what is being written stays. */
static void leftovers_are_swept(void **state)
{
	struct fixture *f = *state;
	char left[128], busy[128], dir[128], path[160];
	int fd;

	fixture_path(f, "one.tmp-abcdef", left);
	fixture_path(f, "one.tmp-ghijkl", busy);
	assert_int_equal(mkdir(left, 0700), 0);
	assert_int_equal(mkdir(busy, 0700), 0);
	snprintf(path, sizeof(path), "%s/memory", left);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	fd = open(busy, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	start(f, NULL);
	save(f, "one", dir);
	assert_true(access(left, F_OK) < 0);
	assert_int_equal(access(busy, F_OK), 0);
	close(fd);
}

/* ---- restoring fails ------------------------------------------------------------------------ */

/* A guest that does not acknowledge every step is not handed out. */
static void resume_fails_closed(void **state)
{
	static const struct {
		const char *mode, *word;
		int code;
	} cases[] = {
		{"no-reseed", "reseeding of its random", SM_E_GUEST},
		{"no-clock", "setting of its clock", SM_E_GUEST},
		{"resume-fails", "reseeding: it said no", SM_E_IO},
		{"resume-dies", "signal 9", SM_E_VM_GONE},
		{"resume-silent", "in time", SM_E_TIMEOUT},
	};
	struct fixture *f = *state;
	unsigned fds = fixture_count_fds();
	struct sm_vm *vm = NULL;
	struct sm_error err;
	char dir[128];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		start(f, cases[i].mode);
		save(f, cases[i].mode, dir);
		end(f);
		int r = restore(f, dir, &vm, &err);

		if (r != cases[i].code || !strstr(err.cause, cases[i].word))
			fail_msg("%s: %d: %s: %s", cases[i].mode, r, err.object, err.cause);
		assert_null(vm);
		assert_int_equal(fixture_count_fds(), fds);
	}
}

static void damaged(struct fixture *f, const char *dir, const char *file, const char *word)
{
	struct sm_vm *vm;
	struct sm_error err;
	int r = restore(f, dir, &vm, &err);

	if (r != SM_E_CORRUPT || !strstr(err.cause, word) || !strstr(err.object, file))
		fail_msg("%s: %d: %s: %s", file, r, err.object, err.cause);
	assert_string_not_equal(err.remedy, "");
}

static void bad_identities(void **state)
{
	static const struct {
		const char *name, *variable, *word;
		unsigned index, count;
	} cases[] = {
		{"-bad", NULL, "host name", 0, 0},
		{NULL, "novalue", "NAME=value", 0, 0},
		{NULL, "=x", "NAME=value", 0, 0},
		{NULL, "A=b\nc", "line breaks", 0, 0},
		{NULL, NULL, "clone 3 of 3", 3, 3},
		{NULL, NULL, "clone 1 of 0", 1, 0},
	};
	struct fixture *f = *state;
	struct sm_error err;
	struct sm_vm *vm;
	char dir[128];

	start(f, NULL);
	save(f, "one", dir);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *const env[] = {cases[i].variable, NULL};
		struct sm_vm_options o = SM_INIT(o);

		o.name = cases[i].name;
		o.clone_index = cases[i].index;
		o.clone_count = cases[i].count;
		o.clone_env = env;
		assert_int_equal(sm_vm_restore(f->store, dir, &o, &vm, &err), SM_E_INVALID);
		if (!strstr(err.cause, cases[i].word))
			fail_msg("%zu: %s", i, err.cause);
	}
}

static void missing_and_short_files(void **state)
{
	static const char *const files[] = {"state", "memory", "disk"};
	struct fixture *f = *state;
	char dir[128], path[160], aside[176];
	struct sm_error err;
	struct sm_vm *vm;
	struct stat st;

	start(f, NULL);
	save(f, "one", dir);
	end(f);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		snprintf(aside, sizeof(aside), "%s.aside", path);
		assert_int_equal(rename(path, aside), 0);
		damaged(f, dir, files[i], "is missing");
		assert_int_equal(mkfifo(path, 0600), 0);
		damaged(f, dir, files[i], "0 bytes");
		unlink(path);
		assert_int_equal(rename(aside, path), 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(truncate(path, st.st_size - 1), 0);
		damaged(f, dir, files[i], "was written with");
		assert_int_equal(truncate(path, st.st_size), 0);
	}
	fixture_path(f, "nowhere", dir);
	assert_int_equal(restore(f, dir, &vm, &err), SM_E_NOT_FOUND);
	assert_int_equal(restore(f, f->dir, &vm, &err), SM_E_NOT_FOUND);
	assert_non_null(strstr(err.cause, "no snapshot.json"));
	fixture_path(f, "x.tmp-123456", dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(restore(f, dir, &vm, &err), SM_E_BUSY);
	assert_non_null(strstr(err.cause, "being written"));
}

/* An image with one layer, which is a file of the store. */
static void layers_are_looked_for(void **state)
{
	struct fixture *f = *state;
	struct image *m = fixture_inner(f->image);
	char dir[128], path[256];
	struct sm_error err;
	struct sm_vm *vm;
	int fd;

	snprintf(path, sizeof(path), "%s/layers/%s/sha256/%064d.squashfs", f->store,
		OBJECT_LAYER_FORMAT, 7);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "layer", 5), 5);
	close(fd);
	m->layers = calloc(1, sizeof(*m->layers));
	m->n_layers = 1;
	m->layers[0].path = strdup(path);
	m->layers[0].bytes = 5;
	snprintf(m->layers[0].digest, sizeof(m->layers[0].digest), "sha256:%064d", 7);
	start(f, NULL);
	save(f, "one", dir);
	end(f);
	fixture_ok(restore(f, dir, &f->vm, &err), &err);
	end(f);
	assert_int_equal(truncate(path, 4), 0);
	assert_int_equal(restore(f, dir, &vm, &err), SM_E_NOT_FOUND);
	assert_non_null(strstr(err.cause, "another file"));
	unlink(path);
	assert_int_equal(restore(f, dir, &vm, &err), SM_E_NOT_FOUND);
	assert_non_null(strstr(err.cause, "layer sha256:000000000000… of its image is not in"));
	assert_non_null(strstr(err.remedy, "pull oci:/nowhere"));
}

static void replace_in_json(const char *dir, const char *what, const char *with)
{
	char command[512];

	snprintf(command, sizeof(command),
		"chmod 644 %s/snapshot.json; sed -i 's/%s/%s/' %s/snapshot.json", dir, what, with,
		dir);
	assert_int_equal(system(command), 0);
}

static void other_hosts_are_told(void **state)
{
	struct fixture *f = *state;
	struct sm_error err;
	struct sm_vm *vm;
	char dir[128];

	start(f, NULL);
	save(f, "one", dir);
	end(f);
	replace_in_json(dir, "\"product\": \".*\"", "\"product\": \"0.0.9\"");
	fixture_ok(restore(f, dir, &f->vm, &err), &err);
	replace_in_json(dir, "\"product\": \".*\"", "\"product\": \"9.0.0\"");
	assert_int_equal(restore(f, dir, &vm, &err), SM_E_UNSUPPORTED);
	assert_non_null(strstr(err.cause, "9.0.0, which is newer"));
	replace_in_json(dir, "\"architecture\": \"[^\"]*64.*\"", "\"architecture\": \"riscv64\"");
	assert_int_equal(restore(f, dir, &vm, &err), SM_E_UNSUPPORTED);
	assert_non_null(strstr(err.cause, "architecture riscv64, and this host is"));
	replace_in_json(dir, "\"format\": 1", "\"format\": 3");
	assert_int_equal(restore(f, dir, &vm, &err), SM_E_UNSUPPORTED);
	assert_non_null(strstr(err.cause, "format 3"));
}

static void flip(const char *dir, const char *file, off_t at)
{
	char path[160], byte;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void verify_finds_each_flip(void **state)
{
	static const struct {
		const char *file;
		off_t at;
	} cases[] = {{"state", 3}, {"state", 60}, {"memory", 100}, {"memory", 256 << 20},
		{"memory", 4096}, {"disk", 4095}, {"disk", 32 << 20}};
	struct fixture *f = *state;
	struct sm_error err;
	char dir[128];

	start(f, NULL);
	save(f, "one", dir);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		flip(dir, cases[i].file, cases[i].at);
		assert_int_equal(sm_snapshot_verify(dir, &err), SM_E_CORRUPT);
		assert_non_null(strstr(err.object, cases[i].file));
		flip(dir, cases[i].file, cases[i].at);
	}
	fixture_ok(sm_snapshot_verify(dir, &err), &err);
}

/* ---- differential --------------------------------------------------------------------------- */

static int save_on(
	struct fixture *f, const char *base, const char *name, char dir[128], struct sm_error *err)
{
	struct sm_snapshot_options o = {.size = sizeof(o), .base = base};

	fixture_path(f, name, dir);
	return sm_vm_snapshot(f->vm, dir, &o, err);
}

static void expect_chain(struct fixture *f, const char *dir)
{
	struct sm_error err;

	end(f);
	fixture_ok(restore(f, dir, &f->vm, &err), &err);
	assert_true(fixture_wait_log(f->vm, "chained"));
	fixture_expect_echo(f->vm);
	fixture_ok(sm_snapshot_verify(dir, &err), &err);
}

static void differential_builds_on_its_base(void **state)
{
	struct fixture *f = *state;
	char base[128], other[128], diff[128], second[128], aside[128];
	struct sm_error err;
	struct sm_vm *vm;

	start(f, NULL);
	save(f, "base", base);
	save(f, "other", other);
	assert_int_equal(save_on(f, base, "diff", diff, &err), SM_E_INVALID);
	assert_non_null(strstr(err.cause, "booted and not restored"));
	end(f);
	fixture_ok(restore(f, base, &f->vm, &err), &err);
	assert_int_equal(save_on(f, other, "diff", diff, &err), SM_E_INVALID);
	assert_non_null(strstr(err.cause, "not restored from this"));
	fixture_ok(save_on(f, base, "diff", diff, &err), &err);
	expect_chain(f, diff);
	/* Of a VM restored from a differential one: on the same full one. */
	fixture_ok(save_on(f, base, "second", second, &err), &err);
	expect_chain(f, second);
	flip(base, "memory", 5);
	assert_int_equal(sm_snapshot_verify(diff, &err), SM_E_CORRUPT);
	flip(base, "memory", 5);
	fixture_path(f, "aside", aside);
	assert_int_equal(rename(base, aside), 0);
	assert_int_equal(restore(f, diff, &vm, &err), SM_E_NOT_FOUND);
	assert_non_null(strstr(err.cause, "builds on"));
	assert_int_equal(rename(other, base), 0);
	assert_int_equal(restore(f, diff, &vm, &err), SM_E_CORRUPT);
	assert_non_null(strstr(err.cause, "another one"));
}

/* ---- rollback ------------------------------------------------------------------------------- */

struct waiting {
	struct sm_exec *exec;
	struct sm_error err;
	int r;
};

static void *wait_exec(void *context)
{
	struct waiting *w = context;

	w->r = sm_exec_wait(w->exec, 20000, NULL, &w->err);
	return NULL;
}

static void reset_ends_what_ran(void **state)
{
	struct fixture *f = *state;
	struct waiting w = {.r = 0};
	struct sm_error err;
	pthread_t thread;
	char dir[128];

	start(f, NULL);
	assert_int_equal(sm_vm_reset(f->vm, &err), SM_E_INVALID);
	save(f, "one", dir);
	end(f);
	fixture_ok(restore(f, dir, &f->vm, &err), &err);
	for (int i = 0; i < 3; i++) {
		fixture_ok(sm_exec_start(f->vm, (const char *const[]){"sleep", "100", NULL}, NULL,
				   &w.exec, &err),
			&err);
		assert_int_equal(pthread_create(&thread, NULL, wait_exec, &w), 0);
		fixture_ok(sm_vm_reset(f->vm, &err), &err);
		pthread_join(thread, NULL);
		assert_int_equal(w.r, SM_E_VM_GONE);
		assert_non_null(strstr(w.err.cause, "reset"));
		sm_exec_close(w.exec);
		fixture_expect_echo(f->vm);
	}
	fixture_ok(sm_vm_stop(f->vm, NULL, &err), &err);
	assert_int_equal(sm_vm_reset(f->vm, &err), SM_E_VM_GONE);
}

static void many_at_once(void **state)
{
	enum { N = 8 };
	struct fixture *f = *state;
	struct sm_vm *vms[N];
	struct sm_error err;
	char dir[128];

	start(f, NULL);
	save(f, "one", dir);
	for (int i = 0; i < N; i++)
		fixture_ok(restore(f, dir, &vms[i], &err), &err);
	for (int i = 0; i < N; i++) {
		fixture_expect_echo(vms[i]);
		sm_vm_close(vms[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(saves_and_restores, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			restored_vm_knows_its_image, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			detached_commands_are_known, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(failed_saves, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			existing_place_is_refused, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(leftovers_are_swept, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(resume_fails_closed, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			missing_and_short_files, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(bad_identities, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(layers_are_looked_for, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(other_hosts_are_told, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(verify_finds_each_flip, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(
			differential_builds_on_its_base, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(reset_ends_what_ran, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(many_at_once, fixture_parts, fixture_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
