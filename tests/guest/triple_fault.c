// SPDX-License-Identifier: Apache-2.0
/* A guest whose faults have no handlers ends in HV_EXIT_SHUTDOWN, not in ours. */
#include "harness.h"

GUEST(fault, "	mov $1, %al\n"
	     "	out %al, $0x80\n"
	     "	ud2"); /* the IDT is empty */

int main(void)
{
	struct tiny t;

	tiny_open(&t, 1, fault, fault_end);
	tiny_expect_report(&t, 0, 1, 1);
	tiny_run(&t, 0, HV_EXIT_SHUTDOWN);
	tiny_close(&t);
	return 0;
}
