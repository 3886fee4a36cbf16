// SPDX-License-Identifier: Apache-2.0
/* A write with the right value at the right address signals the eventfd without an exit; any other
 * write there still exits. */
#include "harness.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"

GUEST(notify, "	mov $0x10000050, %rbx\n" /* TINY_MMIO + 0x50 */
	      "	movl $1, (%rbx)\n"	 /* the eventfd's */
	      "	mov $1, %al\n"
	      "	out %al, $0x80\n"
	      "	movl $2, (%rbx)\n" /* another value */
	      "	movl $1, (%rbx)\n"
	      "	movl $1, (%rbx)\n"
	      "	movb $1, (%rbx)\n" /* another width */
	      "	mov $2, %al\n"
	      "	out %al, $0x80\n"
	      "	hlt");

static void expect_count(int fd, uint64_t wanted)
{
	uint64_t n = 0;

	if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		tiny_fail("the eventfd cannot be read");
	tiny_equal("the number of notifications", n, wanted);
}

int main(void)
{
	struct tiny t;
	struct err e = {0};
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	tiny_open(&t, 1, notify, notify_end);
	if (hv_notify_fd(t.hv, TINY_MMIO + 0x50, 4, true, 1, fd, &e) < 0)
		tiny_fail("%s", e.cause);
	if (hv_notify_fd(t.hv, TINY_MMIO + 0x50, 4, true, 1, fd, &e) != -EEXIST)
		tiny_fail("the same notification was taken twice");
	tiny_expect_report(&t, 0, 1, 1);
	expect_count(fd, 1);
	tiny_expect_mmio(&t, 0, HV_EXIT_MMIO_WRITE, TINY_MMIO + 0x50, 4);
	tiny_expect_mmio(&t, 0, HV_EXIT_MMIO_WRITE, TINY_MMIO + 0x50, 1);
	expect_count(fd, 2);
	tiny_expect_report(&t, 0, 2, 1);
	expect_count(fd, 0);
	tiny_close(&t);
	close(fd);
	return 0;
}
