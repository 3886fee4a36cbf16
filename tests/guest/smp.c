// SPDX-License-Identifier: Apache-2.0
/* The second vCPU waits until the first starts it by INIT and SIPI, then runs at the address that
 * was given, in real mode; both have the APIC ids that the tables promise. */
#include "harness.h"

#include <pthread.h>
#include <string.h>

#include "base/err.h"

enum { AP_CODE = 0x8000 }; /* start-up vector 8 */

GUEST(first, "	mov $0x1b, %ecx\n" /* IA32_APIC_BASE: x2APIC on */
	     "	rdmsr\n"
	     "	or $0xc00, %eax\n"
	     "	wrmsr\n"
	     "	mov $0x802, %ecx\n" /* x2APIC id */
	     "	rdmsr\n"
	     "	out %eax, $0x80\n"
	     "	mov $0x830, %ecx\n" /* interrupt command; destination 1 */
	     "	mov $1, %edx\n"
	     "	mov $0x4500, %eax\n" /* INIT, assert */
	     "	wrmsr\n"
	     "	mov $0x4608, %eax\n" /* start up at vector 8 */
	     "	wrmsr\n"
	     "	mov $2, %al\n"
	     "	out %al, $0x80\n"
	     "	hlt");

GUEST(second, ".code16\n"
	      "	mov $1, %eax\n"
	      "	cpuid\n"
	      "	shr $24, %ebx\n" /* initial APIC id */
	      "	mov %bl, %al\n"
	      "	out %al, $0x80\n"
	      "	mov %cs, %ax\n"
	      "	out %ax, $0x80\n"
	      "	hlt\n"
	      ".code64");

static void *run_second(void *p)
{
	struct tiny *t = p;

	tiny_expect_report(t, 1, 1, 1);
	tiny_expect_report(t, 1, AP_CODE >> 4, 2);
	return NULL;
}

/* Before it is started it only waits: a kick brings it back, nothing was run. */
static void expect_waiting(struct tiny *t)
{
	hv_vcpu_kick(t->vcpus[1]);
	tiny_run(t, 1, HV_EXIT_INTERRUPTED);
}

int main(void)
{
	struct tiny t;
	pthread_t thread;

	tiny_open(&t, 2, first, first_end);
	if (gmem_copy_out(&t.memory, AP_CODE, second, (size_t)(second_end - second)) < 0)
		tiny_fail("no room for the second vCPU's code");
	expect_waiting(&t);
	if (pthread_create(&thread, NULL, run_second, &t) != 0)
		tiny_fail("no second thread");
	tiny_expect_report(&t, 0, 0, 4);
	tiny_expect_report(&t, 0, 2, 1);
	pthread_join(thread, NULL);
	tiny_close(&t);
	return 0;
}
