// SPDX-License-Identifier: Apache-2.0
/*
 * KVM has what the hypervisor layer builds on: the capabilities, a split irqchip that wants no
 * routes, messages without routes, eventfds on MMIO writes, sixteen vCPUs.
 */
#include "kvm.h"

#include <sys/eventfd.h>

static const struct {
	int number;
	int least;
	const char *name;
} capabilities[] = {
	{KVM_CAP_SPLIT_IRQCHIP, 1, "KVM_CAP_SPLIT_IRQCHIP"},
	{KVM_CAP_SIGNAL_MSI, 1, "KVM_CAP_SIGNAL_MSI"},
	{KVM_CAP_IOEVENTFD, 1, "KVM_CAP_IOEVENTFD"},
	{KVM_CAP_IMMEDIATE_EXIT, 1, "KVM_CAP_IMMEDIATE_EXIT"},
	{KVM_CAP_SYNC_REGS, KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS, "KVM_CAP_SYNC_REGS"},
	{KVM_CAP_TSC_DEADLINE_TIMER, 1, "KVM_CAP_TSC_DEADLINE_TIMER"},
	{KVM_CAP_MAX_VCPUS, 16, "KVM_CAP_MAX_VCPUS"},
	{KVM_CAP_NR_MEMSLOTS, 32, "KVM_CAP_NR_MEMSLOTS"},
};

static int check_capabilities(int kvm)
{
	int missing = 0;

	for (unsigned i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		int has = ioctl(kvm, KVM_CHECK_EXTENSION, capabilities[i].number);

		if (has >= capabilities[i].least)
			continue;
		fprintf(stderr, "%s is %d, at least %d is needed\n", capabilities[i].name, has,
			capabilities[i].least);
		missing++;
	}
	return missing;
}

static void check_vm(int kvm)
{
	int vm = kvm_must("KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, 0));
	struct kvm_msi message = {.address_lo = 0xfee00000, .data = 0x40};
	struct kvm_ioeventfd notify = {
		.addr = 0x10000000,
		.len = 4,
		.fd = eventfd(0, EFD_CLOEXEC),
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	kvm_must("KVM_SET_TSS_ADDR", ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000));
	kvm_slot(vm, 0, 0, kvm_memory(GUEST_BYTES), GUEST_BYTES);
	kvm_split_irqchip(vm);
	for (int i = 0; i < 16; i++)
		kvm_must("KVM_CREATE_VCPU", ioctl(vm, KVM_CREATE_VCPU, i));
	/* the APIC is off: the message is taken and not delivered, which is no error */
	kvm_must("KVM_SIGNAL_MSI", ioctl(vm, KVM_SIGNAL_MSI, &message));
	kvm_must("KVM_IOEVENTFD", ioctl(vm, KVM_IOEVENTFD, &notify));
}

int main(void)
{
	int kvm = kvm_device();
	int missing = check_capabilities(kvm);

	check_vm(kvm);
	return missing ? 1 : 0;
}
