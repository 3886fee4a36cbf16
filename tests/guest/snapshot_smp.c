// SPDX-License-Identifier: Apache-2.0
/* Four vCPUs: those that waited for their start when saved still wait when restored, and can be
 * started; those that ran go on, each from where it stood. */
#include "saved.h"

#include <pthread.h>
#include <string.h>

#include "base/err.h"
#include "base/le.h"

enum {
	VCPUS = 4,
	AP_CODE = 0x8000,
	AP_COUNTERS = 0x2000,
	RUN_US = 20000,
	ROUNDS = 10,
	TRIES = 100
};

GUEST(first, "	mov $0x1b, %ecx\n" /* IA32_APIC_BASE: x2APIC on */
	     "	rdmsr\n"
	     "	or $0xc00, %eax\n"
	     "	wrmsr\n"
	     "	mov $1, %al\n"
	     "	out %al, $0x80\n"
	     "	mov $0x830, %ecx\n" /* interrupt command: all but itself */
	     "	xor %edx, %edx\n"
	     "	mov $0xc4500, %eax\n" /* INIT, assert */
	     "	wrmsr\n"
	     "	mov $0xc4608, %eax\n" /* start up at vector 8 */
	     "	wrmsr\n"
	     "	xor %eax, %eax\n"
	     "1:	cmp %eax, 0x2000\n" /* AP_COUNTERS */
	     "	jne 2f\n"
	     "	inc %eax\n"
	     "	mov %eax, 0x2000\n"
	     "	jmp 1b\n"
	     "2:	out %al, $0x80\n" /* the memory is of another instant */
	     "	hlt");

GUEST(others, ".code16\n"
	      "	mov $1, %eax\n"
	      "	cpuid\n"
	      "	shr $24, %ebx\n" /* initial APIC id */
	      "	shl $2, %bx\n"
	      "	xor %eax, %eax\n"
	      "1:	cmp %eax, 0x2000(%bx)\n"
	      "	jne 2f\n"
	      "	inc %eax\n"
	      "	mov %eax, 0x2000(%bx)\n"
	      "	jmp 1b\n"
	      "2:	out %al, $0x80\n"
	      "	hlt\n"
	      ".code64");

struct runner {
	struct tiny *t;
	unsigned id;
};

static void *run_one(void *p)
{
	const struct runner *r = p;

	tiny_run_us(r->t, r->id, RUN_US);
	return NULL;
}

static void run_all(struct tiny *t)
{
	pthread_t threads[VCPUS];
	struct runner runners[VCPUS];

	for (unsigned i = 0; i < VCPUS; i++) {
		runners[i] = (struct runner){t, i};
		if (pthread_create(&threads[i], NULL, run_one, &runners[i]) != 0)
			tiny_fail("no thread");
	}
	for (unsigned i = 0; i < VCPUS; i++)
		pthread_join(threads[i], NULL);
}

static uint32_t counter(const struct saved *s, unsigned id)
{
	return le32_load(s->memory + AP_COUNTERS + 4 * id);
}

static void expect_started(const struct saved *s, unsigned from, bool is_started)
{
	for (unsigned i = from; i < VCPUS; i++) {
		tiny_equal("whether a vCPU was started", s->vcpus[i]->is_started, is_started);
		tiny_equal("what it waits for", s->vcpus[i]->mp_state,
			is_started ? X86_MP_RUNNABLE : X86_MP_WAITS_FOR_INIT);
	}
}

/* Saved before the first has started the others. */
static void take_waiting(struct saved *s, struct tiny *t)
{
	tiny_open(t, VCPUS, first, first_end);
	if (gmem_copy_out(&t->memory, AP_CODE, others, (size_t)(others_end - others)) < 0)
		tiny_fail("no room for the other vCPUs' code");
	tiny_expect_report(t, 0, 1, 1);
	for (unsigned i = 0; i < VCPUS; i++) {
		hv_vcpu_kick(t->vcpus[i]);
		tiny_run(t, i, HV_EXIT_INTERRUPTED);
	}
	saved_take(s, t);
	expect_started(s, 1, false);
}

/* The first vCPU that has not counted since. */
static unsigned find_idle(const struct saved *before, const struct tiny *t)
{
	const uint8_t *counters = gmem_ptr(&t->memory, AP_COUNTERS, 4 * VCPUS);

	for (unsigned i = 0; i < VCPUS; i++)
		if (le32_load(counters + 4 * i) <= counter(before, i))
			return i;
	return VCPUS;
}

/* Runs on until every vCPU has counted. */
static void expect_counting(const struct saved *before, struct saved *after, struct tiny *t)
{
	unsigned tries = 0, idle;

	do {
		run_all(t);
		idle = find_idle(before, t);
	} while (idle < VCPUS && ++tries < TRIES);
	if (idle < VCPUS)
		tiny_fail("vCPU %u does not count", idle);
	saved_take(after, t);
	expect_started(after, 0, true);
}

int main(void)
{
	struct tiny t, other;
	struct saved waiting, running, later;

	take_waiting(&waiting, &t);
	tiny_close(&t);
	saved_restore(&waiting, &t);
	expect_counting(&waiting, &running, &t);

	saved_restore(&running, &other);
	saved_take(&later, &other);
	saved_expect_equal(&running, &later);
	saved_free(&later);
	expect_counting(&running, &later, &other);
	saved_free(&later);

	/* in place: back to waiting, and on again */
	for (unsigned i = 0; i < ROUNDS; i++) {
		saved_reload(&waiting, &t);
		saved_take(&later, &t);
		saved_expect_equal(&waiting, &later);
		saved_free(&later);
		expect_counting(&waiting, &later, &t);
		saved_free(&later);
		saved_reload(&running, &t);
		expect_counting(&running, &later, &t);
		saved_free(&later);
	}
	saved_free(&waiting);
	saved_free(&running);
	tiny_close(&t);
	tiny_close(&other);
	return 0;
}
