// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/vmargs.h"

static const char *const no_command[] = {NULL}, *const a_command[] = {"sh", NULL};

/* What the option comes to: 0 or -errno. */
static int plan(struct vm_plan *p, const struct vm_values *v, const char *const *command)
{
	struct err e = {0};
	int r;

	*p = (struct vm_plan){0};
	r = vm_plan(p, v, command, &e);
	if (r < 0 && (!e.object[0] || !e.cause[0] || !e.remedy[0]))
		fail_msg("an error without object, cause or remedy: %s: %s; %s", e.object, e.cause,
			e.remedy);
	vm_plan_fini(p);
	return r;
}

static int plan_ready(struct vm_plan *p, const char *ready)
{
	return plan(p, &(struct vm_values){.ready = ready}, no_command);
}

static void ready_is_parsed(void **state)
{
	static const char *const wrong[] = {"", "listen:", "listen:0", "listen:65536", "listen:x",
		"listen80", "exec:", "file:", "file:relative", "soon", "none ", "exec"};
	struct vm_plan p;

	(void)state;
	assert_int_equal(plan_ready(&p, NULL), 0);
	assert_int_equal(p.vm.ready, SM_READY_INIT);
	assert_false(p.is_ready_said);
	assert_int_equal(plan_ready(&p, "none"), 0);
	assert_int_equal(p.vm.ready, SM_READY_INIT);
	assert_true(p.is_ready_said);
	assert_int_equal(plan_ready(&p, "listen"), 0);
	assert_int_equal(p.vm.ready, SM_READY_LISTEN);
	assert_int_equal(p.vm.ready_port, 0);
	assert_int_equal(plan_ready(&p, "listen:8080"), 0);
	assert_int_equal(p.vm.ready_port, 8080);
	assert_int_equal(plan_ready(&p, "exec:test -e /x"), 0);
	assert_int_equal(p.vm.ready, SM_READY_EXEC);
	assert_string_equal(p.vm.ready_text, "test -e /x");
	assert_int_equal(plan_ready(&p, "file:/run/ready"), 0);
	assert_int_equal(p.vm.ready, SM_READY_FILE);
	assert_string_equal(p.vm.ready_text, "/run/ready");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(plan_ready(&p, wrong[i]), -EINVAL);
}

static void a_server_is_baked_as_one(void **state)
{
	struct vm_plan p;

	(void)state;
	assert_int_equal(plan(&p, &(struct vm_values){0}, no_command), 0);
	assert_true(vm_plan_ready(&p, true));
	assert_int_equal(p.vm.ready, SM_READY_LISTEN);
	assert_ptr_equal(p.vm.workload, no_command);
	assert_ptr_equal(p.vm.workload_options, &p.exec);
	vm_plan_unready(&p);
	assert_int_equal(p.vm.ready, SM_READY_INIT);
	assert_null(p.vm.workload);
}

static void other_commands_are_not(void **state)
{
	struct vm_plan p;

	(void)state;
	assert_int_equal(plan(&p, &(struct vm_values){0}, no_command), 0);
	assert_false(vm_plan_ready(&p, false));
	assert_int_equal(p.vm.ready, SM_READY_INIT);
	assert_int_equal(plan(&p, &(struct vm_values){0}, a_command), 0);
	assert_false(vm_plan_ready(&p, true));
	assert_null(p.vm.workload);
	assert_int_equal(plan_ready(&p, "none"), 0);
	assert_false(vm_plan_ready(&p, true));
	assert_int_equal(p.vm.ready, SM_READY_INIT);
	/* With input the command is a person's. */
	assert_int_equal(plan(&p, &(struct vm_values){0}, no_command), 0);
	p.exec.stdin_fd = 0;
	assert_false(vm_plan_ready(&p, true));
}

static void what_was_asked_for_is_baked(void **state)
{
	struct vm_plan p;

	(void)state;
	assert_int_equal(plan(&p, &(struct vm_values){.ready = "listen:1"}, a_command), 0);
	assert_false(vm_plan_ready(&p, false));
	assert_int_equal(p.vm.ready, SM_READY_LISTEN);
	assert_ptr_equal(p.vm.workload, a_command);
	p.vm.no_bake = 1;
	assert_false(vm_plan_ready(&p, true));
	assert_int_equal(p.vm.ready, SM_READY_INIT);
	assert_null(p.vm.workload);
}

static void sizes(void **state)
{
	struct vm_plan p;

	(void)state;
	assert_int_equal(plan(&p, &(struct vm_values){.memory = "1G", .disk = "20G", .cpus = "3"},
				 a_command),
		0);
	assert_int_equal(p.vm.memory_bytes, (uint64_t)1 << 30);
	assert_int_equal(p.vm.disk_bytes, (uint64_t)20 << 30);
	assert_int_equal(p.vm.tmpfs_bytes, 0);
	assert_int_equal(p.vm.vcpus, 3);
	assert_int_equal(plan(&p, &(struct vm_values){.tmpfs = "64M"}, a_command), 0);
	assert_int_equal(p.vm.tmpfs_bytes, 64 << 20);
	assert_int_equal(plan(&p, &(struct vm_values){.disk = "lots"}, a_command), -EINVAL);
	assert_int_equal(plan(&p, &(struct vm_values){.tmpfs = "0"}, a_command), -EINVAL);
	assert_int_equal(plan(&p, &(struct vm_values){.cpus = "17"}, a_command), -EINVAL);
	assert_int_equal(
		plan(&p, &(struct vm_values){.disk = "1G", .tmpfs = "1G"}, a_command), -EINVAL);
}

static void clones(void **state)
{
	static const char *const wrong[] = {"", "1", "/", "1/", "/1", "1/1", "2/1", "-1/2", "0/0",
		"a/b", "1/2/3", "0/99999999999"};
	struct sm_vm_options o = {0};
	struct err e;

	(void)state;
	assert_int_equal(vm_clone(NULL, &o, &e), 0);
	assert_int_equal(o.clone_count, 0);
	assert_int_equal(vm_clone("0/1", &o, &e), 0);
	assert_int_equal(o.clone_count, 1);
	assert_int_equal(vm_clone("7/20", &o, &e), 0);
	assert_int_equal(o.clone_index, 7);
	assert_int_equal(o.clone_count, 20);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(vm_clone(wrong[i], &o, &e), -EINVAL);
	assert_int_equal(o.clone_index, 7);
}

static void environment(void **state)
{
	const char *items[] = {"A=1", "TAKEN_OVER", "NOT_THERE", "B=", NULL};
	const char *wrong[] = {"=x", NULL};
	struct args_list list = {.items = items, .n = 4}, bad = {.items = wrong, .n = 1};
	const char **env = NULL;
	struct err e;

	(void)state;
	setenv("TAKEN_OVER", "from here", 1);
	unsetenv("NOT_THERE");
	assert_int_equal(vm_env(&list, &env, &e), 0);
	assert_string_equal(env[0], "A=1");
	assert_string_equal(env[1], "TAKEN_OVER=from here");
	assert_string_equal(env[2], "B=");
	assert_null(env[3]);
	free(env);
	assert_int_equal(vm_env(&bad, &env, &e), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ready_is_parsed),
		cmocka_unit_test(a_server_is_baked_as_one),
		cmocka_unit_test(other_commands_are_not),
		cmocka_unit_test(what_was_asked_for_is_baked),
		cmocka_unit_test(sizes),
		cmocka_unit_test(clones),
		cmocka_unit_test(environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
