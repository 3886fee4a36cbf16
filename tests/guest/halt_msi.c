// SPDX-License-Identifier: Apache-2.0
/* A halted guest waits inside the kernel; a message-signalled interrupt wakes it and runs the
 * handler of the message's vector. */
#include "harness.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/le.h"

enum { IDT = 0x30000, VECTOR = 0x41, GATE_BYTES = 16, HANDLER_OFFSET = 0x100 };

GUEST(halt, "	mov $0x1b, %ecx\n" /* IA32_APIC_BASE: x2APIC on */
	    "	rdmsr\n"
	    "	or $0xc00, %eax\n"
	    "	wrmsr\n"
	    "	mov $0x80f, %ecx\n" /* spurious vector: software enable */
	    "	mov $0x1ff, %eax\n"
	    "	xor %edx, %edx\n"
	    "	wrmsr\n"
	    "	mov $1, %al\n"
	    "	out %al, $0x80\n"
	    "	sti\n"
	    "	hlt\n"
	    "	mov $0xff, %al\n" /* woken without the handler */
	    "	out %al, $0x80\n"
	    "	.org halt + 0x100\n" /* HANDLER_OFFSET */
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

static void *send_later(void *p)
{
	struct tiny *t = p;

	usleep(50 * 1000);
	if (hv_signal_msi(t->hv, 0xfee00000, VECTOR) < 0) /* to APIC 0, fixed, edge */
		tiny_fail("the message was refused");
	return NULL;
}

int main(void)
{
	struct tiny t;
	pthread_t thread;

	tiny_open(&t, 1, halt, halt_end);
	write_gate(&t);
	t.start.idt = (struct x86_table){IDT, 256 * GATE_BYTES - 1};
	if (hv_vcpu_set_boot(t.vcpus[0], &t.start, NULL) < 0)
		tiny_fail("the registers were refused");
	/* to an APIC that is off: taken, not delivered, no error */
	tiny_equal("an early message", (uint64_t)hv_signal_msi(t.hv, 0xfee00000, VECTOR), 0);
	tiny_expect_report(&t, 0, 1, 1);
	if (pthread_create(&thread, NULL, send_later, &t) != 0)
		tiny_fail("no second thread");
	tiny_expect_report(&t, 0, VECTOR, 1);
	pthread_join(thread, NULL);
	tiny_close(&t);
	return 0;
}
