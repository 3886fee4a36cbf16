// SPDX-License-Identifier: Apache-2.0
/* A guest that never exits is stopped by hv_vcpu_kick, from another thread, every time and soon;
 * a kick that comes while nothing runs is not lost. */
#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

enum { ROUNDS = 200, SLOWEST_MS = 1000 };

GUEST(spin, "1:	jmp 1b");

struct kicker {
	struct hv_vcpu *vcpu;
	_Atomic unsigned asked;	   /* kicks sent */
	_Atomic unsigned answered; /* interruptions seen */
	uint64_t slowest_ns;
};

/* One kick after the other, each after the one before was answered, at varying moments. */
static void *kick(void *p)
{
	struct kicker *k = p;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t from, took;

		usleep(i % 7 * 50);
		from = clock_now_ns();
		atomic_store(&k->asked, i + 1);
		hv_vcpu_kick(k->vcpu);
		while (atomic_load(&k->answered) <= i)
			usleep(10);
		took = clock_now_ns() - from;
		k->slowest_ns = MAX(k->slowest_ns, took);
	}
	return NULL;
}

int main(void)
{
	struct tiny t;
	struct kicker k = {0};
	pthread_t thread;

	tiny_open(&t, 1, spin, spin_end);
	hv_vcpu_kick(t.vcpus[0]); /* before a thread is bound */
	tiny_run(&t, 0, HV_EXIT_INTERRUPTED);
	hv_vcpu_kick(t.vcpus[0]); /* bound, not running */
	tiny_run(&t, 0, HV_EXIT_INTERRUPTED);

	k.vcpu = t.vcpus[0];
	if (pthread_create(&thread, NULL, kick, &k) != 0)
		tiny_fail("no second thread");
	while (atomic_load(&k.answered) < ROUNDS) {
		tiny_run(&t, 0, HV_EXIT_INTERRUPTED);
		/* one kick may interrupt twice (flag, then signal), never not at all */
		atomic_store(&k.answered, atomic_load(&k.asked));
	}
	pthread_join(thread, NULL);
	printf("slowest of %d kicks: %llu us\n", ROUNDS, (unsigned long long)(k.slowest_ns / 1000));
	if (k.slowest_ns > SLOWEST_MS * 1000000ull)
		tiny_fail("a kick took more than %d ms", SLOWEST_MS);
	tiny_close(&t);
	return 0;
}
