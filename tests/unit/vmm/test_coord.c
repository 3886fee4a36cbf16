// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <unistd.h>

#include "base/cc.h"
#include "vmm/coord.h"

enum { VCPUS = 4 };

/* vCPU threads without a guest: "in the guest" is counting up until kicked. */
struct machine {
	struct coord coord;
	_Atomic bool kicked[VCPUS];
	_Atomic uint64_t ran[VCPUS];
	pthread_t threads[VCPUS];
	_Atomic unsigned started;
};

static void kick(void *context, unsigned index)
{
	struct machine *m = context;

	atomic_store(&m->kicked[index], true);
}

static void *vcpu(void *arg)
{
	struct machine *m = arg;
	unsigned i = atomic_fetch_add(&m->started, 1);

	while (coord_gate(&m->coord)) {
		while (!atomic_exchange(&m->kicked[i], false))
			atomic_fetch_add(&m->ran[i], 1);
	}
	coord_leave(&m->coord);
	return NULL;
}

static void start(struct machine *m)
{
	coord_init(&m->coord, VCPUS, kick, m);
	for (unsigned i = 0; i < VCPUS; i++)
		assert_int_equal(pthread_create(&m->threads[i], NULL, vcpu, m), 0);
}

static void stop(struct machine *m)
{
	coord_stop(&m->coord);
	for (unsigned i = 0; i < VCPUS; i++)
		pthread_join(m->threads[i], NULL);
	coord_fini(&m->coord);
}

static uint64_t total(struct machine *m)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < VCPUS; i++)
		n += atomic_load(&m->ran[i]);
	return n;
}

static void nobody_runs_while_paused(void **state)
{
	static struct machine m;

	(void)state;
	start(&m);
	for (int round = 0; round < 200; round++) {
		uint64_t before;

		coord_resume(&m.coord);
		if (round % 8 == 0)
			usleep(100);
		coord_pause(&m.coord);
		before = total(&m);
		sched_yield();
		assert_true(total(&m) == before);
	}
	assert_true(total(&m) > 0);
	stop(&m);
}

static void stops_from_pause_and_from_run(void **state)
{
	static struct machine paused, running;

	(void)state;
	start(&paused);
	stop(&paused);
	start(&running);
	coord_resume(&running.coord);
	stop(&running);
}

static void knows_which_vcpus_are_on(void **state)
{
	struct coord c;

	(void)state;
	coord_init(&c, VCPUS, kick, NULL);
	assert_int_equal(coord_on_mask(&c), 1);
	coord_mark_on(&c, 3);
	assert_int_equal(coord_on_mask(&c), 9);
	coord_fini(&c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_runs_while_paused),
		cmocka_unit_test(stops_from_pause_and_from_run),
		cmocka_unit_test(knows_which_vcpus_are_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
