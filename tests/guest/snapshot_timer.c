// SPDX-License-Identifier: Apache-2.0
/* A guest sleeps until its APIC's TSC deadline. Saved and restored meanwhile it wakes when its own
 * time has come there, neither at once nor never; and a snapshot from before the deadline was set,
 * loaded in place, has no timer running. */
#include "saved.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/le.h"

enum {
	IDT = 0x30000,
	VECTOR = 0x41,
	GATE_BYTES = 16,
	HANDLER_OFFSET = 0x100,
	GO = TINY_DATA,		   /* nonzero: set the deadline and sleep */
	TICKS = TINY_DATA + 8,	   /* how far ahead */
	DEADLINE = TINY_DATA + 16, /* where the guest tells it */
	WOKEN = TINY_DATA + 24,
	AHEAD_MS = 300,
	LATE_MS = 1500,
	LAY_MS = 1000,
};

GUEST(sleeper, "	mov $0x1b, %ecx\n" /* IA32_APIC_BASE: x2APIC on */
	       "	rdmsr\n"
	       "	or $0xc00, %eax\n"
	       "	wrmsr\n"
	       "	mov $0x80f, %ecx\n" /* spurious vector: software enable */
	       "	mov $0x1ff, %eax\n"
	       "	xor %edx, %edx\n"
	       "	wrmsr\n"
	       "	mov $0x832, %ecx\n" /* timer: TSC deadline, VECTOR */
	       "	mov $0x40041, %eax\n"
	       "	wrmsr\n"
	       "	sti\n"
	       "1:	cmpl $0, 0x20000\n" /* GO */
	       "	je 1b\n"
	       "	rdtsc\n"
	       "	shl $32, %rdx\n"
	       "	or %rdx, %rax\n"
	       "	add 0x20008, %rax\n" /* TICKS */
	       "	mov %rax, 0x20010\n" /* DEADLINE */
	       "	mov %rax, %rdx\n"
	       "	shr $32, %rdx\n"
	       "	mov $0x6e0, %ecx\n" /* IA32_TSC_DEADLINE */
	       "	wrmsr\n"
	       "	hlt\n"
	       "	mov $0xff, %al\n" /* woken without the handler */
	       "	out %al, $0x80\n"
	       "	.org sleeper + 0x100\n" /* HANDLER_OFFSET */
	       "	rdtsc\n"
	       "	shl $32, %rdx\n"
	       "	or %rdx, %rax\n"
	       "	mov %rax, 0x20018\n" /* WOKEN */
	       "	mov $0x41, %al\n"
	       "	out %al, $0x80\n"
	       "	hlt");

/* A 64-bit interrupt gate (Intel SDM vol. 3 §6.14.1). */
static void write_gate(struct tiny *t)
{
	uint8_t *gate = gmem_ptr(&t->memory, IDT + VECTOR * GATE_BYTES, GATE_BYTES);
	const uint64_t handler = TINY_CODE + HANDLER_OFFSET;

	le16_store(gate, (uint16_t)handler);
	le16_store(gate + 2, t->start.cs.selector);
	gate[5] = 0x8e; /* present, ring 0, interrupt gate */
	le16_store(gate + 6, (uint16_t)(handler >> 16));
}

static uint64_t word(struct tiny *t, gpa_t at)
{
	return le64_load(gmem_ptr(&t->memory, at, 8));
}

static void open_sleeper(struct tiny *t)
{
	struct err e = {0};

	tiny_open(t, 1, sleeper, sleeper_end);
	write_gate(t);
	t->start.idt = (struct x86_table){IDT, 256 * GATE_BYTES - 1};
	tiny_must(hv_vcpu_set_boot(t->vcpus[0], &t->start, &e), &e);
}

/* The interrupt must come, not before its time and not much later. */
static void expect_woken(struct tiny *t, const struct saved *s)
{
	uint64_t deadline, woken, late_ms;

	tiny_expect_report(t, 0, VECTOR, 1);
	hv_vcpu_kick(t->vcpus[0]);
	tiny_run(t, 0, HV_EXIT_INTERRUPTED);
	deadline = word(t, DEADLINE);
	woken = word(t, WOKEN);
	if (woken < deadline)
		tiny_fail("it woke %llu ticks early", (unsigned long long)(deadline - woken));
	late_ms = (woken - deadline) / s->vcpus[0]->tsc_khz;
	printf("woken %llu us late\n",
		(unsigned long long)((woken - deadline) * 1000 / s->vcpus[0]->tsc_khz));
	if (saved_has_tsc_offset(s) && late_ms > LATE_MS)
		tiny_fail("it woke %llu ms late", (unsigned long long)late_ms);
}

int main(void)
{
	struct saved awake, asleep;
	struct tiny t;

	open_sleeper(&t);
	tiny_run_us(&t, 0, 5000);
	saved_take(&awake, &t);
	tiny_equal("the deadline before there is one", awake.vcpus[0]->tsc_deadline, 0);

	le64_store(gmem_ptr(&t.memory, TICKS, 8), (uint64_t)awake.vcpus[0]->tsc_khz * AHEAD_MS);
	le64_store(gmem_ptr(&t.memory, GO, 8), 1);
	tiny_run_us(&t, 0, 100 * 1000);
	saved_take(&asleep, &t);
	tiny_equal("what it waits for", asleep.vcpus[0]->mp_state, X86_MP_HALTED);
	tiny_equal("the deadline saved", asleep.vcpus[0]->tsc_deadline, word(&t, DEADLINE));

	/* in place, the timer still running: none may run in what is loaded */
	saved_reload(&awake, &t);
	tiny_run_us(&t, 0, 2 * AHEAD_MS * 1000);
	saved_reload(&asleep, &t);
	expect_woken(&t, &asleep);
	saved_reload(&asleep, &t);
	expect_woken(&t, &asleep);
	/* in place, after the deadline has passed unseen */
	saved_reload(&asleep, &t);
	usleep(2 * AHEAD_MS * 1000);
	saved_reload(&awake, &t);
	tiny_run_us(&t, 0, AHEAD_MS * 1000);
	tiny_close(&t);

	usleep(LAY_MS * 1000);
	saved_restore(&asleep, &t);
	expect_woken(&t, &asleep);
	tiny_close(&t);
	saved_free(&awake);
	saved_free(&asleep);
	return 0;
}
