// SPDX-License-Identifier: Apache-2.0
#include "floor_state.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int floor_must(int r, const char *what)
{
	if (r >= 0)
		return r;
	(void)!write(2, "floor: ", 7);
	(void)!write(2, what, strlen(what));
	(void)!write(2, "\n", 1);
	_exit(1);
}

/* Keeps those of the host's list that can be read and set here: hosts list more than they have. */
static void save_msrs(int kvm, int vcpu, struct floor_msrs *ret)
{
	static struct {
		struct kvm_msr_list head;
		__u32 indices[1024];
	} list = {.head.nmsrs = 1024};
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = {.head.nmsrs = 1};

	floor_must(ioctl(kvm, KVM_GET_MSR_INDEX_LIST, &list), "KVM_GET_MSR_INDEX_LIST");
	for (unsigned i = 0; i < list.head.nmsrs && ret->head.nmsrs < FLOOR_MSRS_MAX; i++) {
		one.entry = (struct kvm_msr_entry){.index = list.indices[i]};
		if (ioctl(vcpu, KVM_GET_MSRS, &one) == 1 && ioctl(vcpu, KVM_SET_MSRS, &one) == 1)
			ret->entries[ret->head.nmsrs++] = one.entry;
	}
}

void floor_state_save(int kvm, int vm, int vcpu, struct floor_state *s)
{
	s->cpuid.head.nent = FLOOR_CPUID_MAX;
	floor_must(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &s->cpuid), "KVM_GET_SUPPORTED_CPUID");
	save_msrs(kvm, vcpu, &s->msrs);
	floor_state_read(vm, vcpu, s);
}

void floor_state_read(int vm, int vcpu, struct floor_state *s)
{
	floor_must(ioctl(vcpu, KVM_GET_MP_STATE, &s->mp_state), "KVM_GET_MP_STATE");
	floor_must(ioctl(vcpu, KVM_GET_REGS, &s->regs), "KVM_GET_REGS");
	floor_must(ioctl(vcpu, KVM_GET_SREGS, &s->sregs), "KVM_GET_SREGS");
	floor_must(ioctl(vcpu, KVM_GET_LAPIC, &s->lapic), "KVM_GET_LAPIC");
	floor_must(ioctl(vcpu, KVM_GET_FPU, &s->fpu), "KVM_GET_FPU");
	floor_must(ioctl(vcpu, KVM_GET_DEBUGREGS, &s->debugregs), "KVM_GET_DEBUGREGS");
	floor_must(ioctl(vcpu, KVM_GET_VCPU_EVENTS, &s->events), "KVM_GET_VCPU_EVENTS");
	floor_must(ioctl(vm, KVM_GET_CLOCK, &s->clock), "KVM_GET_CLOCK");
	s->clock.flags = 0;
	if (ioctl(vcpu, KVM_GET_MSRS, &s->msrs) != (int)s->msrs.head.nmsrs)
		floor_must(-1, "KVM_GET_MSRS");
}

/* The local APIC needs its base (in the special registers), the deadline timer's MSR needs the
 * local APIC: hence this order. */
void floor_state_restore(int vm, int vcpu, const struct floor_state *s)
{
	floor_must(ioctl(vcpu, KVM_SET_CPUID2, &s->cpuid), "KVM_SET_CPUID2");
	floor_must(ioctl(vcpu, KVM_SET_SREGS, &s->sregs), "KVM_SET_SREGS");
	floor_must(ioctl(vcpu, KVM_SET_REGS, &s->regs), "KVM_SET_REGS");
	floor_must(ioctl(vcpu, KVM_SET_FPU, &s->fpu), "KVM_SET_FPU");
	floor_must(ioctl(vcpu, KVM_SET_DEBUGREGS, &s->debugregs), "KVM_SET_DEBUGREGS");
	floor_must(ioctl(vcpu, KVM_SET_LAPIC, &s->lapic), "KVM_SET_LAPIC");
	if (ioctl(vcpu, KVM_SET_MSRS, &s->msrs) != (int)s->msrs.head.nmsrs)
		floor_must(-1, "KVM_SET_MSRS");
	floor_must(ioctl(vcpu, KVM_SET_VCPU_EVENTS, &s->events), "KVM_SET_VCPU_EVENTS");
	floor_must(ioctl(vcpu, KVM_SET_MP_STATE, &s->mp_state), "KVM_SET_MP_STATE");
	floor_must(ioctl(vm, KVM_SET_CLOCK, &s->clock), "KVM_SET_CLOCK");
}
