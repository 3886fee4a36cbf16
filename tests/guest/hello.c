// SPDX-License-Identifier: Apache-2.0
/* A guest runs, and what it writes to a port arrives in order. */
#include "harness.h"

GUEST(hello, "	mov $'h', %al\n"
	     "	out %al, $0x80\n"
	     "	mov $0x6968, %ax\n"
	     "	out %ax, $0x80\n"
	     "	mov $0x0a216968, %eax\n"
	     "	out %eax, $0x80\n"
	     "	in $0x80, %al\n"
	     "	out %al, $0x80\n"
	     "	in $0x80, %eax\n"
	     "	out %eax, $0x80\n"
	     "	hlt");

int main(void)
{
	struct tiny t;
	struct hv_exit x;

	tiny_open(&t, 1, hello, hello_end);
	tiny_expect_report(&t, 0, 'h', 1);
	tiny_expect_report(&t, 0, 0x6968, 2);
	tiny_expect_report(&t, 0, 0x0a216968, 4);
	x = tiny_run(&t, 0, HV_EXIT_PIO_IN);
	tiny_equal("the width", x.bytes, 1);
	*(uint8_t *)x.data = 0x5a;
	tiny_expect_report(&t, 0, 0x5a, 1);
	x = tiny_run(&t, 0, HV_EXIT_PIO_IN);
	tiny_equal("the width", x.bytes, 4);
	*(uint32_t *)x.data = 0xdeadbeef;
	tiny_expect_report(&t, 0, 0xdeadbeef, 4);
	tiny_close(&t);
	return 0;
}
