// SPDX-License-Identifier: Apache-2.0
/* A guest that counts is saved: what is saved, loaded and saved again is the same to the last bit;
 * in a new VM and in its own it goes on from the number that it had, again and again. The guest
 * itself looks whether its registers and its memory are of one instant. */
#include "saved.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/le.h"

enum {
	RAX = 0,
	RBX = 1,
	R15 = 15,
	ROUNDS = 50,
	RUN_US = 3000,
	TRIES = 100,
	XMM5_IN_XSAVE = 160 + 5 * 16
};

static const uint8_t pattern[16] = "sixteen bytes..";

GUEST(count, "	mov %cr4, %rax\n"
	     "	or $0x600, %eax\n" /* OSXMMEXCPT, OSFXSR: SSE on */
	     "	mov %rax, %cr4\n"
	     "	movdqu 0x20100, %xmm5\n"
	     "	mov $0x1122334455667788, %rbx\n"
	     "	mov $0x99aabbccddeeff00, %r15\n"
	     "	mov %rbx, %dr0\n"
	     "	xor %eax, %eax\n"
	     "1:	cmp %rax, 0x20000\n" /* TINY_DATA */
	     "	jne 2f\n"
	     "	inc %rax\n"
	     "	mov %rax, 0x20000\n"
	     "	jmp 1b\n"
	     "2:	out %al, $0x80\n" /* the memory is of another instant */
	     "	hlt");

static void expect_whole(const struct saved *s)
{
	const struct arch_vcpu_state *v = s->vcpus[0];

	tiny_equal("rbx", v->general[RBX], 0x1122334455667788);
	tiny_equal("r15", v->general[R15], 0x99aabbccddeeff00);
	tiny_equal("dr0", v->debug_addresses[0], 0x1122334455667788);
	tiny_equal("xmm5", (uint64_t)memcmp(v->xsave + XMM5_IN_XSAVE, pattern, 16), 0);
	tiny_equal("whether it was started", v->is_started, true);
}

static uint64_t counter(const struct saved *s)
{
	return s->vcpus[0]->general[RAX];
}

/* It stands where the first snapshot stood, and has gone on once it has run. */
static void expect_goes_on(const struct saved *first, struct tiny *t)
{
	struct saved now;
	uint64_t to = counter(first);

	saved_take(&now, t);
	saved_expect_equal(first, &now);
	for (unsigned i = 0; i < TRIES && to == counter(first); i++) {
		tiny_run_us(t, 0, RUN_US);
		saved_free(&now);
		saved_take(&now, t);
		expect_whole(&now);
		to = counter(&now);
	}
	if (to <= counter(first))
		tiny_fail("it counted to %llu before and to %llu after",
			(unsigned long long)counter(first), (unsigned long long)to);
	saved_free(&now);
}

static void take_first(struct saved *ret, struct tiny *t)
{
	tiny_open(t, 1, count, count_end);
	if (gmem_copy_out(&t->memory, TINY_DATA + 0x100, pattern, sizeof(pattern)) < 0)
		tiny_fail("no room for the pattern");
	for (unsigned i = 0; i < TRIES && !le64_load(gmem_ptr(&t->memory, TINY_DATA, 8)); i++)
		tiny_run_us(t, 0, RUN_US);
	saved_take(ret, t);
	expect_whole(ret);
	tiny_run_us(t, 0, RUN_US); /* it goes on as though nothing had been */
}

/* A snapshot of a VM that was restored, restored: as good as the first. */
static void again(struct saved *s, struct tiny *t)
{
	struct saved next;

	saved_take(&next, t);
	saved_free(s);
	*s = next;
	tiny_close(t);
	saved_restore(s, t);
}

int main(void)
{
	struct tiny own, other;
	struct saved first;
	uint64_t began;

	take_first(&first, &own);
	began = clock_now_ns();
	saved_restore(&first, &other);
	printf("a new VM in %llu us, %u MSRs, %u CPUID leaves, %u bytes of XSAVE\n",
		(unsigned long long)(clock_now_ns() - began) / 1000, first.vcpus[0]->n_msrs,
		first.vcpus[0]->n_cpuid, first.vcpus[0]->xsave_bytes);
	expect_goes_on(&first, &other);
	for (unsigned i = 0; i < ROUNDS; i++) {
		saved_reload(&first, i % 2 ? &own : &other);
		expect_goes_on(&first, i % 2 ? &own : &other);
	}
	for (unsigned i = 0; i < ROUNDS / 10; i++) {
		again(&first, &other);
		expect_goes_on(&first, &other);
	}
	saved_free(&first);
	tiny_close(&own);
	tiny_close(&other);
	return 0;
}
