// SPDX-License-Identifier: Apache-2.0
/* Reads and writes of every width outside RAM come to us whole, and answers reach the guest. */
#include "harness.h"

#include <string.h>

GUEST(widths, "	mov $0x10000000, %rbx\n" /* TINY_MMIO */
	      "	mov $0x1122334455667788, %rax\n"
	      "	mov %al, (%rbx)\n"
	      "	mov %ax, 2(%rbx)\n"
	      "	mov %eax, 4(%rbx)\n"
	      "	mov %rax, 8(%rbx)\n"
	      "	movzbl 16(%rbx), %eax\n"
	      "	out %eax, $0x80\n"
	      "	movzwl 18(%rbx), %eax\n"
	      "	out %eax, $0x80\n"
	      "	mov 20(%rbx), %eax\n"
	      "	out %eax, $0x80\n"
	      "	mov 24(%rbx), %rax\n"
	      "	out %eax, $0x80\n"
	      "	shr $32, %rax\n"
	      "	out %eax, $0x80\n"
	      "	hlt");

static void expect_write(struct tiny *t, unsigned offset, unsigned bytes)
{
	const uint64_t mask = UINT64_MAX >> (64 - 8 * bytes);
	struct hv_exit x = tiny_expect_mmio(t, 0, HV_EXIT_MMIO_WRITE, TINY_MMIO + offset, bytes);

	tiny_equal("what was written", tiny_value(&x), 0x1122334455667788 & mask);
}

static void answer_read(struct tiny *t, unsigned offset, unsigned bytes, uint64_t answer)
{
	struct hv_exit x = tiny_expect_mmio(t, 0, HV_EXIT_MMIO_READ, TINY_MMIO + offset, bytes);

	memcpy(x.data, &answer, bytes);
}

int main(void)
{
	struct tiny t;

	tiny_open(&t, 1, widths, widths_end);
	expect_write(&t, 0, 1);
	expect_write(&t, 2, 2);
	expect_write(&t, 4, 4);
	expect_write(&t, 8, 8);
	answer_read(&t, 16, 1, 0xa1);
	tiny_expect_report(&t, 0, 0xa1, 4);
	answer_read(&t, 18, 2, 0xb1b2);
	tiny_expect_report(&t, 0, 0xb1b2, 4);
	answer_read(&t, 20, 4, 0xc1c2c3c4);
	tiny_expect_report(&t, 0, 0xc1c2c3c4, 4);
	answer_read(&t, 24, 8, 0xd1d2d3d4d5d6d7d8);
	tiny_expect_report(&t, 0, 0xd5d6d7d8, 4);
	tiny_expect_report(&t, 0, 0xd1d2d3d4, 4);
	tiny_close(&t);
	return 0;
}
