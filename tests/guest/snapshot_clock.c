// SPDX-License-Identifier: Apache-2.0
/*
 * The guest's time stamp counter neither jumps nor goes back over a snapshot, however long it lay:
 * the guest reads it all the time and keeps the widest gap. It is less than a second old, where KVM
 * takes a write of the TSC for an attempt to synchronize vCPUs. With the argument "written" the
 * kernel is made to look like one that has no TSC offsets.
 */
#include "saved.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/le.h"

enum { FIRST_RUN_MS = 600, LAY_MS = 1500, RUN_MS = 50, GAP_MS = 700, SHIFT = 12345 };

GUEST(watch, "	rdtsc\n"
	     "	shl $32, %rdx\n"
	     "	or %rdx, %rax\n"
	     "	mov %rax, %rbx\n" /* the last reading */
	     "	xor %esi, %esi\n" /* the widest gap */
	     "1:	rdtsc\n"
	     "	shl $32, %rdx\n"
	     "	or %rdx, %rax\n"
	     "	mov %rax, %rcx\n"
	     "	sub %rbx, %rcx\n"
	     "	jb 2f\n"
	     "	cmp %rcx, %rsi\n"
	     "	cmovb %rcx, %rsi\n"
	     "	mov %rax, %rbx\n"
	     "	mov %rsi, 0x20000\n" /* TINY_DATA */
	     "	mov %rbx, 0x20008\n"
	     "	jmp 1b\n"
	     "2:	mov $0xfe, %al\n" /* it went back */
	     "	out %al, $0x80\n"
	     "	hlt");

static void forbid_tsc_offsets(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)KVM_SET_DEVICE_ATTR, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)KVM_GET_DEVICE_ATTR, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENXIO),
	};
	const struct sock_fprog filter = {ARRAY_LEN(code), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		tiny_fail("seccomp: %s", strerror(errno));
}

static uint64_t ms_of(const struct saved *s, uint64_t ticks)
{
	return ticks / s->vcpus[0]->tsc_khz;
}

/* The first reading after the snapshot was close to the last before, and clocks agree. */
static void expect_no_jump(const struct saved *before, struct tiny *t)
{
	uint64_t last = le64_load(before->memory + TINY_DATA + 8), gap, now;
	struct saved after;

	tiny_run_us(t, 0, RUN_MS * 1000);
	saved_take(&after, t);
	gap = ms_of(before, le64_load(after.memory + TINY_DATA));
	now = le64_load(after.memory + TINY_DATA + 8);
	printf("widest gap %llu ms; %llu ms of TSC and %llu ms of clock went by\n",
		(unsigned long long)gap, (unsigned long long)ms_of(before, now - last),
		(unsigned long long)(after.vm.clock_ns - before->vm.clock_ns) / 1000000);
	if (now <= last)
		tiny_fail("the TSC stands still");
	if (gap > GAP_MS)
		tiny_fail("the TSC jumped by %llu ms", (unsigned long long)gap);
	if (after.vm.clock_ns - before->vm.clock_ns > GAP_MS * 1000000ull)
		tiny_fail("KVM's clock jumped");
	saved_free(&after);
}

static void skip_without_offsets(void)
{
	struct saved s;
	struct tiny t;

	tiny_open(&t, 1, watch, watch_end);
	saved_take(&s, &t);
	if (!saved_has_tsc_offset(&s)) {
		printf("skipped: this KVM shows guests the host's TSC as it is\n");
		exit(EXIT_SKIPPED);
	}
	saved_free(&s);
	tiny_close(&t);
}

/* vCPUs that were apart are as far apart as they were, to the tick. */
static void expect_distance_kept(bool has_offsets)
{
	struct saved before, after;
	uint64_t was, is;
	struct tiny t;

	tiny_open(&t, 2, watch, watch_end);
	tiny_run_us(&t, 0, RUN_MS * 1000);
	saved_take(&before, &t);
	tiny_close(&t);
	before.vcpus[1]->tsc += SHIFT;
	saved_restore(&before, &t);
	saved_take(&after, &t);
	was = before.vcpus[1]->tsc - before.vcpus[1]->host_tsc -
	      (before.vcpus[0]->tsc - before.vcpus[0]->host_tsc);
	is = after.vcpus[1]->tsc - after.vcpus[1]->host_tsc -
	     (after.vcpus[0]->tsc - after.vcpus[0]->host_tsc);
	if (has_offsets) {
		tiny_equal("the distance of two vCPUs' TSCs", was, SHIFT);
		tiny_equal("the same, restored", is, SHIFT);
	}
	saved_free(&before);
	saved_free(&after);
	tiny_close(&t);
}

int main(int argc, char **argv)
{
	bool is_written = argc > 1 && strcmp(argv[1], "written") == 0;
	struct saved s;
	struct tiny t;

	skip_without_offsets();
	if (is_written)
		forbid_tsc_offsets();
	tiny_open(&t, 1, watch, watch_end);
	tiny_run_us(&t, 0, FIRST_RUN_MS * 1000);
	saved_take(&s, &t);
	usleep(LAY_MS * 1000);
	saved_reload(&s, &t);
	expect_no_jump(&s, &t);
	tiny_close(&t);

	usleep(LAY_MS * 1000);
	saved_restore(&s, &t);
	expect_no_jump(&s, &t);
	tiny_close(&t);
	saved_free(&s);
	expect_distance_kept(!is_written);
	return 0;
}
