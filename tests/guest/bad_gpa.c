// SPDX-License-Identifier: Apache-2.0
/* A guest that reaches outside its RAM reaches us and nothing else: no crash, no host memory. */
#include "harness.h"

#include <string.h>

GUEST(outside, "	mov $0x200000, %rbx\n" /* the first byte after RAM */
	       "	movb $1, (%rbx)\n"
	       "	mov $0x3ffffff8, %rbx\n" /* the last that the tables map */
	       "	mov (%rbx), %rax\n"
	       "	out %eax, $0x80\n"
	       "	mov $0x1ffffc, %rbx\n" /* half in RAM, half outside */
	       "	movl $0x44332211, (%rbx)\n"
	       "	mov (%rbx), %rax\n"
	       "	out %eax, $0x80\n"
	       "	shr $32, %rax\n"
	       "	out %eax, $0x80\n"
	       "	hlt");

int main(void)
{
	struct tiny t;
	struct hv_exit x;

	tiny_open(&t, 1, outside, outside_end);
	x = tiny_expect_mmio(&t, 0, HV_EXIT_MMIO_WRITE, TINY_RAM_BYTES, 1);
	tiny_equal("what was written", tiny_value(&x), 1);
	x = tiny_expect_mmio(&t, 0, HV_EXIT_MMIO_READ, 0x3ffffff8, 8);
	memset(x.data, 0xff, 8);
	tiny_expect_report(&t, 0, 0xffffffff, 4);
	x = tiny_expect_mmio(&t, 0, HV_EXIT_MMIO_READ, TINY_RAM_BYTES, 4);
	memset(x.data, 0xee, 4);
	tiny_expect_report(&t, 0, 0x44332211, 4);
	tiny_expect_report(&t, 0, 0xeeeeeeee, 4);
	tiny_close(&t);
	return 0;
}
