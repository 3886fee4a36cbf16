// SPDX-License-Identifier: Apache-2.0
/*
 * A vCPU's TSC is the host's plus an offset that can be read and set to the tick; a write of the
 * TSC itself is not exact, and not obeyed at all when it is within a second of what KVM expects.
 */
#include "kvm.h"

#include <x86intrin.h>

enum { MSR_TSC = 0x10, TICKS_APART = 1000 * 1000 };

static int attribute(int vcpu, unsigned long call, uint64_t *offset)
{
	struct kvm_device_attr a = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)offset,
	};

	return ioctl(vcpu, call, &a);
}

static uint64_t offset_of(int vcpu)
{
	uint64_t offset;

	kvm_must("KVM_GET_DEVICE_ATTR", attribute(vcpu, KVM_GET_DEVICE_ATTR, &offset));
	return offset;
}

static void write_tsc(int vcpu, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = {.head.nmsrs = 1, .entry = {.index = MSR_TSC, .data = value}};

	if (kvm_must("KVM_SET_MSRS", ioctl(vcpu, KVM_SET_MSRS, &one)) != 1) {
		fprintf(stderr, "the TSC cannot be written\n");
		exit(1);
	}
}

static void skip(const char *why)
{
	printf("skipped: %s\n", why);
	exit(EXIT_SKIPPED);
}

int main(void)
{
	int kvm = kvm_device();
	int vm = kvm_must("KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, 0));
	int vcpu = kvm_must("KVM_CREATE_VCPU", ioctl(vm, KVM_CREATE_VCPU, 0));
	uint64_t offset, wanted;

	if (attribute(vcpu, KVM_GET_DEVICE_ATTR, &offset) < 0)
		skip("this kernel has no TSC offsets (Linux 5.16 has)");
	if (offset == 0)
		skip("this KVM shows guests the host's TSC as it is");

	wanted = 12345 - __rdtsc();
	kvm_must("KVM_SET_DEVICE_ATTR", attribute(vcpu, KVM_SET_DEVICE_ATTR, &wanted));
	offset = offset_of(vcpu);
	if (offset != wanted) {
		fprintf(stderr, "the offset is 0x%llx, not 0x%llx\n", (unsigned long long)offset,
			(unsigned long long)wanted);
		return 1;
	}
	/* far from what is expected: obeyed, though not to the tick */
	write_tsc(vcpu, 1ull << 50);
	wanted = offset_of(vcpu);
	if (wanted + __rdtsc() < 1ull << 50) {
		fprintf(stderr, "a TSC far away was not written\n");
		return 1;
	}
	/* near: whether it is obeyed depends on the kernel, which is why offsets are used */
	write_tsc(vcpu, wanted + __rdtsc() + TICKS_APART);
	printf("a near TSC was %s\n", offset_of(vcpu) == wanted ? "ignored" : "obeyed");
	return 0;
}
