// SPDX-License-Identifier: Apache-2.0
/*
 * With immediate_exit set KVM_RUN executes no guest instruction, yet completes the input that the
 * last exit asked for; so a stopped vCPU's registers are whole. Without it the guest goes on.
 */
#include "kvm.h"

static void expect(const char *what, uint64_t got, uint64_t wanted)
{
	if (got == wanted)
		return;
	fprintf(stderr, "%s is 0x%llx, not 0x%llx\n", what, (unsigned long long)got,
		(unsigned long long)wanted);
	exit(1);
}

static void expect_interrupted(int vcpu)
{
	int r = ioctl(vcpu, KVM_RUN, 0);

	expect("KVM_RUN's result with immediate_exit", (uint64_t)r, (uint64_t)-1);
	expect("errno", (uint64_t)errno, EINTR);
}

static struct kvm_regs registers(int vcpu)
{
	struct kvm_regs regs;

	kvm_must("KVM_GET_REGS", ioctl(vcpu, KVM_GET_REGS, &regs));
	return regs;
}

int main(void)
{
	static const uint8_t code[] = {
		0xe4, 0x80, /* in $0x80, %al */
		0xe6, 0x81, /* out %al, $0x81 */
		0xf4,	    /* hlt */
	};
	int kvm = kvm_device();
	int vm = kvm_must("KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, 0));
	uint8_t *memory = kvm_memory(GUEST_BYTES);
	struct kvm_run *run;
	int vcpu;

	kvm_slot(vm, 0, 0, memory, GUEST_BYTES);
	kvm_split_irqchip(vm);
	vcpu = kvm_must("KVM_CREATE_VCPU", ioctl(vm, KVM_CREATE_VCPU, 0));
	run = kvm_run_page(kvm, vcpu);
	memcpy(memory + GUEST_CODE, code, sizeof(code));
	kvm_real_mode(vcpu);

	run->immediate_exit = 1;
	expect_interrupted(vcpu);
	expect("rip before the first instruction", registers(vcpu).rip, GUEST_CODE);

	run->immediate_exit = 0;
	kvm_must("KVM_RUN", ioctl(vcpu, KVM_RUN, 0));
	expect("the exit", run->exit_reason, KVM_EXIT_IO);
	expect("the direction", run->io.direction, KVM_EXIT_IO_IN);
	*((uint8_t *)run + run->io.data_offset) = 0x5a;

	run->immediate_exit = 1;
	expect_interrupted(vcpu);
	expect("al after the input was completed", registers(vcpu).rax & 0xff, 0x5a);
	expect("rip after the input was completed", registers(vcpu).rip, GUEST_CODE + 2);

	run->immediate_exit = 0;
	kvm_must("KVM_RUN", ioctl(vcpu, KVM_RUN, 0));
	expect("the exit", run->exit_reason, KVM_EXIT_IO);
	expect("what was put out", *((uint8_t *)run + run->io.data_offset), 0x5a);
	return 0;
}
