// SPDX-License-Identifier: Apache-2.0
/*
 * Can this KVM run real guests? There are software KVMs that create VMs, answer every call, and
 * then emulate kernel code with an emulator that lacks what every kernel uses. So a VM with one
 * vCPU in 64-bit ring 0 does what a kernel does first: SSE moves and lock cmpxchg16b.
 */
#include "hv/kvm_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "arch/x86_64/state.h"
#include "base/err.h"
#include "base/le.h"

/* The guest's physical memory, one to one with its virtual */
enum {
	MEMORY_BYTES = 0x8000,
	PML4 = 0x1000,
	PDPT = 0x2000,
	PD = 0x3000,
	CODE = 0x4000,
	DATA = 0x5000, /* zeroes; where the guest's instructions work */

	REPORT_PORT = 0xf4,
	REPORT_SSE = 1,	     /* about to use SSE */
	REPORT_EXCHANGE = 2, /* about to use lock cmpxchg16b */
	REPORT_DONE = 3,     /* all results were right */
	REPORT_WRONG = 0xff, /* an instruction gave a wrong result */
	EXITS_MAX = 8,
	TIMEOUT_S = 1,
	RETRY_NS = 10 * 1000 * 1000,
};

extern const uint8_t probe_guest[], probe_guest_end[];
__asm__(".pushsection .rodata.probe_guest, \"a\"\n"
	"probe_guest:\n"
	"	mov $1, %al\n" /* REPORT_SSE */
	"	out %al, $0xf4\n"
	"	mov $0x0123456789abcdef, %rax\n"
	"	movq %rax, %xmm0\n"
	"	paddq %xmm0, %xmm0\n"
	"	movdqa %xmm0, 0x5000\n"
	"	add %rax, %rax\n"
	"	cmp %rax, 0x5000\n"
	"	jne 1f\n"
	"	mov $2, %al\n" /* REPORT_EXCHANGE */
	"	out %al, $0xf4\n"
	"	xor %eax, %eax\n" /* expected: what 0x5010 holds; new: 7:9 */
	"	xor %edx, %edx\n"
	"	mov $7, %ebx\n"
	"	mov $9, %ecx\n"
	"	lock cmpxchg16b 0x5010\n"
	"	jne 1f\n"
	"	cmpq $9, 0x5018\n"
	"	jne 1f\n"
	"	mov $3, %al\n" /* REPORT_DONE */
	"	out %al, $0xf4\n"
	"1:	mov $0xff, %al\n" /* REPORT_WRONG */
	"	out %al, $0xf4\n"
	"	hlt\n"
	"probe_guest_end:\n"
	".popsection\n");

static const char *step_name(unsigned report)
{
	switch (report) {
	case REPORT_SSE:
		return "an SSE instruction";
	case REPORT_EXCHANGE:
		return "lock cmpxchg16b";
	}
	return "the first instruction";
}

/* One 2 MiB page, and the code. */
static void fill_memory(uint8_t *memory)
{
	enum { PRESENT = 1 << 0, WRITE = 1 << 1, LARGE = 1 << 7 };

	le64_store(memory + PML4, PDPT | PRESENT | WRITE);
	le64_store(memory + PDPT, PD | PRESENT | WRITE);
	le64_store(memory + PD, PRESENT | WRITE | LARGE);
	memcpy(memory + CODE, probe_guest, (size_t)(probe_guest_end - probe_guest));
}

/* 64-bit ring 0 with SSE on (Intel SDM vol. 3 §2.5); segments need no table to lie in. */
static const struct arch_boot_state start = {
	.rip = CODE,
	.rflags = 1 << 1,
	.cr0 = 1u << 31 | 1 << 5 | 1 << 4 | 1 << 1 | 1 << 0, /* PG NE ET MP PE */
	.cr3 = PML4,
	.cr4 = 1 << 10 | 1 << 9 | 1 << 5, /* OSXMMEXCPT OSFXSR PAE */
	.efer = 1 << 10 | 1 << 8,	  /* LMA LME */
	.cs = {.limit = UINT32_MAX,
		.selector = 8,
		.type = 0xb,
		.is_present = true,
		.is_code_or_data = true,
		.is_64bit = true,
		.has_page_limit = true},
	.data = {.limit = UINT32_MAX,
		.selector = 16,
		.type = 3,
		.is_present = true,
		.is_code_or_data = true,
		.is_32bit = true,
		.has_page_limit = true},
	.tr = {.limit = 0x67, .selector = 24, .type = 0xb, .is_present = true},
};

/* A timer that kicks this thread, again and again once it has expired, so that no guest can hold
 * it. The kernel's struct sigevent is spelled out: the C libraries name its last field
 * differently. */
static int start_timer(int *ret_timer, struct err *e)
{
	struct {
		uint64_t value;
		int32_t signal, notify, thread, pad[11];
	} event = {0, kvm_kick_signal(), 4 /* SIGEV_THREAD_ID */, (int)syscall(SYS_gettid), {0}};
	const struct itimerspec times = {.it_value = {TIMEOUT_S, 0}, .it_interval = {0, RETRY_NS}};
	int timer;

	if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) < 0)
		return err_sys(e, "timer_create");
	if (syscall(SYS_timer_settime, timer, 0, &times, NULL) < 0) {
		err_sys(e, "timer_settime");
		syscall(SYS_timer_delete, timer);
		return -EIO;
	}
	*ret_timer = timer;
	return 0;
}

static int refuse(struct err *e, unsigned report, const char *why)
{
	err_set(e, -ENOTSUP, "it cannot run Linux guests, it stopped at %s (%s)", step_name(report),
		why);
	err_object(e, "/dev/kvm");
	return err_remedy(e, "this is a software KVM or an incomplete one: use a host whose "
			     "processor virtualizes (VT-x, AMD-V), or the emulated host");
}

/* Runs the guest until it has reported the end, or anything else happened. */
static int watch(struct hv_vcpu *vcpu, struct err *e)
{
	struct err inner = {0};
	struct hv_exit exit;
	unsigned report = 0, said;

	for (unsigned i = 0; i < EXITS_MAX; i++) {
		if (hv_vcpu_run(vcpu, &exit, &inner) < 0)
			return refuse(e, report, inner.cause);
		if (exit.kind == HV_EXIT_INTERRUPTED)
			return refuse(e, report, "no result within a second");
		if (exit.kind == HV_EXIT_SHUTDOWN)
			return refuse(e, report, "triple fault");
		if (exit.kind != HV_EXIT_PIO_OUT || exit.address != REPORT_PORT)
			return refuse(e, report, "unexpected exit");
		said = *(const uint8_t *)exit.data;
		if (said == REPORT_DONE)
			return 0;
		if (said == REPORT_WRONG)
			return refuse(e, report, "wrong result");
		report = said;
	}
	return refuse(e, report, "too many exits");
}

static int run_guest(struct hv_vcpu *vcpu, struct err *e)
{
	int r, timer = -1;

	r = hv_vcpu_set_boot(vcpu, &start, e);
	if (r < 0)
		return r;
	r = hv_vcpu_bind_thread(vcpu, e);
	if (r < 0)
		return r;
	r = start_timer(&timer, e);
	if (r < 0)
		return r;
	r = watch(vcpu, e);
	syscall(SYS_timer_delete, timer);
	return r;
}

static int build_and_run(struct hv *hv, uint8_t *memory, struct err *e)
{
	struct hv_vcpu *vcpu;
	int r;

	r = hv_map(hv, 0, 0, memory, MEMORY_BYTES, e);
	if (r < 0)
		return r;
	r = hv_irqchip_init(hv, e);
	if (r < 0)
		return r;
	r = hv_vcpu_new(hv, 0, 1, NULL, &vcpu, e);
	if (r < 0)
		return r;
	r = run_guest(vcpu, e);
	hv_vcpu_free(vcpu);
	return r;
}

int hv_probe(int kvm_fd, struct err *e)
{
	uint8_t *memory;
	struct hv *hv;
	int r;

	memory = mmap(
		NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return err_sys(e, "mmap of the test guest's memory");
	fill_memory(memory);
	r = hv_open(kvm_fd, &hv, e);
	if (r == 0) {
		r = build_and_run(hv, memory, e);
		hv_close(hv);
	}
	munmap(memory, MEMORY_BYTES);
	return r;
}
