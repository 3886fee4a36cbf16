// SPDX-License-Identifier: Apache-2.0
/*
 * Snapshot and restore, again and again, of a machine with four busy vCPUs: each generation is the
 * snapshot of the one before. $IMAGE, $SCRATCH; $ROUNDS says how many (default below).
 */
#include "embed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VCPUS = 4, ROUNDS = 40 };

/* Each counts, writes what it counted to memory and disk, and checks what it wrote before. */
static const char worker[] = "renice -n 19 -p $$; w=$1; i=0; mkdir -p /work /dev/shm/work\n"
			     "echo 0 > /work/$w; echo 0 > /dev/shm/work/$w\n"
			     "while :; do\n"
			     "	[ \"$(cat /work/$w)\" = $i ] && [ \"$(cat /dev/shm/work/$w)\" = $i "
			     "] || echo $w $i >> "
			     "/dev/shm/bad\n"
			     "	i=$((i+1)); echo $i > /work/$w; echo $i > /dev/shm/work/$w\n"
			     "	j=0; while [ $j -lt 2000 ]; do j=$((j+1)); done\n"
			     "done\n";

/* Tells of anything bad, looks whether every vCPU runs and every counter moves, and prints the sum
 * of the counters. */
static const char checker[] =
	"cd /dev/shm/work\n"
	"get() { n=; while [ -z \"$n\" ]; do n=$(cat $1); done; }\n" /* not while it is written */
	"[ ! -e /dev/shm/bad ] || { echo lost: $(cat /dev/shm/bad); exit 1; }\n"
	"for i in 0 1 2 3; do taskset -c $i true || { echo vCPU $i is gone; exit 1; }; done\n"
	"s=0; for w in 0 1 2 3; do\n"
	"	get $w; was=$n try=0\n"
	"	while [ $n = $was ]; do\n"
	"		try=$((try+1)); [ $try -lt 200 ] || { echo $w stands still at $was; exit "
	"1; }\n"
	"		usleep 50000; get $w\n"
	"	done\n"
	"	s=$((s+n))\n"
	"done; echo $s\n";

static void put(struct sm_vm *vm, const char *path, const char *text)
{
	char command[4096];

	snprintf(command, sizeof(command), "cat > %s << 'END'\n%sEND\n", path, text);
	shell(vm, command, "");
}

static struct sm_vm *begin(void)
{
	struct sm_vm_options o = SM_INIT(o);
	struct sm_vm *vm;

	o.memory_bytes = 256 * MIB;
	o.vcpus = VCPUS;
	vm = start_vm("IMAGE", &o);
	put(vm, "/worker.sh", worker);
	put(vm, "/check.sh", checker);
	/* Nice, so that what asks how they do need not wait for them; they take all that is left.
	 */
	shell(vm,
		"for i in 0 1 2 3; do taskset -c $i setsid sh /worker.sh $i > /dev/null "
		"2>&1 < /dev/null & done; "
		"while [ $(cat /dev/shm/work/[0-3] 2> /dev/null | wc -w) != 4 ]; do usleep 100000; "
		"done",
		"");
	return vm;
}

static void check_console(struct sm_vm *vm, unsigned round)
{
	static const char *const bad[] = {"BUG:", "Call Trace", "soft lockup", "rcu_sched",
		"I/O error", "EXT4-fs error", "hung_task", "clocksource: timekeeping watchdog"};
	static char text[1 << 20];

	assert_true(sm_vm_logs(vm, text, sizeof(text), &err) >= 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (strstr(text, bad[i]))
			fail_msg("round %u, console: %s", round, strstr(text, bad[i]));
}

/* Nothing that was counted before is lost. */
static double check_round(struct sm_vm *vm, unsigned round, double before)
{
	const char *argv[] = {"sh", "/check.sh", NULL};
	struct sm_output out;
	double now;

	check(sm_exec_output(vm, argv, NULL, &out, &err));
	if (out.exit.status)
		fail_msg("round %u: %s%s", round, out.out, out.err);
	now = strtod(out.out, NULL);
	sm_output_free(&out);
	if (now < before)
		fail_msg("round %u: the counters went back from %.0f to %.0f", round, before, now);
	check_console(vm, round);
	return now;
}

/* Where one round's time went, in milliseconds, for who wonders at the sum. */
struct lap {
	double at;
	unsigned ms[5];
	unsigned n;
};

static void lap(struct lap *l)
{
	double now = seconds(CLOCK_MONOTONIC);

	if (l->n < 5)
		l->ms[l->n++] = (unsigned)((now - l->at) * 1000);
	l->at = now;
}

static void one_round(unsigned i, struct sm_vm **vm, double *counted, char last[512])
{
	struct lap l = {.at = seconds(CLOCK_MONOTONIC)};
	char dir[512], name[32];

	snprintf(name, sizeof(name), "round-%u", i);
	snprintf(dir, sizeof(dir), "%s", scratch(name));
	*counted = check_round(*vm, i, *counted);
	lap(&l);
	check(sm_vm_snapshot(*vm, dir, NULL, &err));
	lap(&l);
	if (i % 10 == 0) {
		/* The source goes on, and the file is whole. */
		(void)check_round(*vm, i, *counted);
		check(sm_snapshot_verify(dir, &err));
	}
	lap(&l);
	drop_vm(*vm);
	if (last[0])
		remove_tree(last);
	memcpy(last, dir, sizeof(dir));
	lap(&l);
	*vm = restore_vm(dir, NULL);
	lap(&l);
	print_message("round %u: check %u, snapshot %u, verify %u, end %u, restore %u ms\n", i,
		l.ms[0], l.ms[1], l.ms[2], l.ms[3], l.ms[4]);
	fflush(stdout);
}

static void again_and_again(void **state)
{
	unsigned rounds = setting("ROUNDS", ROUNDS);
	struct sm_vm *vm = begin();
	double begun = seconds(CLOCK_MONOTONIC), counted = 0;
	char last[512] = "";

	(void)state;
	for (unsigned i = 0; i < rounds; i++)
		one_round(i, &vm, &counted, last);
	(void)check_round(vm, rounds, counted);
	drop_vm(vm);
	remove_tree(last);
	print_message("%u rounds in %.0f s\n", rounds, seconds(CLOCK_MONOTONIC) - begun);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(again_and_again)};

	return cmocka_run_group_tests_name("torture", tests, NULL, NULL);
}
