// SPDX-License-Identifier: Apache-2.0
/*
 * Clones of one snapshot must not be each other: random numbers, wall clock, who they are. The
 * image $PYTHON_IMAGE has python3 and coreutils; $SCRATCH is a directory for snapshots. $CLONES
 * says how many (20).
 */
#include "embed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DRAW_CHARS = 32, DRAWS = 4, MANY = 1000 };

/* Has drawn before the snapshot, by each way that there is, holds its descriptor open, and draws
 * again when told. */
static const char drawer[] = "import os, sys, time, random\n"
			     "f = open('/dev/urandom', 'rb', buffering=0)\n"
			     "g = random.SystemRandom()\n"
			     "def draw(): return [f.read(16).hex(), os.getrandom(16).hex(), "
			     "'%032x' % g.getrandbits(128)]\n"
			     "for i in range(50): draw()\n"
			     "print('drawn', flush=True)\n"
			     "while not os.path.exists('/go'): time.sleep(0.05)\n"
			     "print('\\n'.join(draw()), flush=True)\n";

struct stream {
	char text[4096];
	size_t bytes;
};

static int collect(const void *data, size_t bytes, void *context)
{
	struct stream *s = context;

	if (bytes > sizeof(s->text) - 1 - s->bytes)
		return 1;
	memcpy(s->text + s->bytes, data, bytes);
	s->bytes += bytes;
	return 0;
}

static char dir[512];

static int make_snapshot(void **state)
{
	const char *argv[] = {"python3", "-c", drawer, NULL};
	struct sm_vm_options machine = SM_INIT(machine);
	struct sm_exec_options o = SM_INIT(o);
	struct stream out = {0};
	struct sm_exec *exec;
	struct sm_exit exit;
	struct sm_vm *vm;

	(void)state;
	machine.memory_bytes = 256 * MIB;
	vm = start_vm("PYTHON_IMAGE", &machine);
	o.on_stdout = collect;
	o.context = &out;
	check(sm_exec_start(vm, argv, &o, &exec, &err));
	for (int i = 0; i < 300 && !strstr(out.text, "drawn\n"); i++)
		assert_int_equal(sm_exec_wait(exec, 200, &exit, &err), SM_E_TIMEOUT);
	assert_string_equal(out.text, "drawn\n");
	shell(vm, "date -s @$(($(date +%s) - 3600)) > /dev/null", NULL);
	snprintf(dir, sizeof(dir), "%s", scratch("drawn"));
	check(sm_vm_snapshot(vm, dir, NULL, &err));
	sm_exec_close(exec);
	drop_vm(vm);
	return 0;
}

static int drop_snapshot(void **state)
{
	(void)state;
	remove_tree(dir);
	return 0;
}

/* ---- random numbers ------------------------------------------------------------------------ */

struct draws {
	char items[MANY][DRAW_CHARS + 1];
	unsigned n;
};

static void add(struct draws *d, const char *text)
{
	assert_true(d->n < MANY);
	assert_int_equal(strspn(text, "0123456789abcdef"), DRAW_CHARS);
	snprintf(d->items[d->n++], DRAW_CHARS + 1, "%s", text);
}

/* What the process that was frozen draws, and what a new one does. */
static void draw(struct draws *d, const struct sm_vm_options *options)
{
	struct sm_vm *vm = restore_vm(dir, options);
	struct sm_exec_options o = SM_INIT(o);
	struct stream out = {0};
	struct sm_exec *exec;
	struct sm_exit exit;
	char *fresh;

	fresh = say(vm, "head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; touch /go");
	add(d, fresh);
	free(fresh);
	o.on_stdout = collect;
	o.context = &out;
	check(sm_vm_attach(vm, 0, &o, &exec, &err));
	check(sm_exec_wait(exec, 60000, &exit, &err));
	assert_int_equal(exit.status, 0);
	sm_exec_close(exec);
	drop_vm(vm);
	for (char *line = strtok(out.text, "\n"); line; line = strtok(NULL, "\n"))
		add(d, line);
}

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void no_two_clones_draw_the_same(void **state)
{
	struct sm_vm_options o = SM_INIT(o);
	static struct draws d;
	unsigned n = setting("CLONES", 20);

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		o.clone_index = i;
		o.clone_count = n;
		draw(&d, &o);
	}
	assert_int_equal(d.n, DRAWS * n);
	qsort(d.items, d.n, sizeof(d.items[0]), compare);
	for (unsigned i = 1; i < d.n; i++)
		if (!strcmp(d.items[i - 1], d.items[i]))
			fail_msg("%s was drawn twice", d.items[i]);
}

/* ---- clock --------------------------------------------------------------------------------- */

static void the_clock_is_right_within_10_ms(void **state)
{
	struct sm_vm *vm = restore_vm(dir, NULL);
	double before, guest, after;

	(void)state;
	before = seconds(CLOCK_REALTIME);
	guest = number(vm, "date +%s.%N");
	after = seconds(CLOCK_REALTIME);
	if (guest < before - 0.010 || guest > after + 0.010)
		fail_msg("the guest says %.4f, it is %.4f to %.4f", guest, before, after);
	drop_vm(vm);
}

/* ---- which clone, and what it is told ------------------------------------------------------ */

static void a_clone_knows_which_it_is(void **state)
{
	const char *env[] = {"COLOUR=deep blue", "EMPTY=", NULL};
	struct sm_vm_options o = SM_INIT(o);
	struct sm_vm *vm;

	(void)state;
	o.name = "clone-3";
	o.clone_index = 3;
	o.clone_count = 7;
	o.clone_env = env;
	vm = restore_vm(dir, &o);
	shell(vm, "hostname; echo \"$COLOUR ${EMPTY-unset}\"; cat /run/supermachine/env",
		"clone-3\ndeep blue \nCOLOUR=deep blue\nEMPTY=\n");
	shell(vm,
		"head -2 /run/supermachine/clone; sed -n 's/^id //p' /run/supermachine/clone | "
		"grep -c '^[0-9a-f]\\{32\\}$'",
		"index 3\ncount 7\n1\n");
	drop_vm(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_clock_is_right_within_10_ms),
		cmocka_unit_test(a_clone_knows_which_it_is),
		cmocka_unit_test(no_two_clones_draw_the_same),
	};

	if (getenv("ONLY"))
		cmocka_set_test_filter(getenv("ONLY"));
	return cmocka_run_group_tests_name("clones", tests, make_snapshot, drop_snapshot);
}
