// SPDX-License-Identifier: Apache-2.0
/* The saved state of the floor program's vCPU: what a restore has to set, in the order in which it
 * must be set. Saved and restored by one build of one program, so its form is nobody else's. */
#pragma once

#include <linux/kvm.h>

enum {
	FLOOR_CPUID_MAX = 128,
	FLOOR_MSRS_MAX = 128,
};

struct floor_cpuid {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[FLOOR_CPUID_MAX];
};

struct floor_msrs {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[FLOOR_MSRS_MAX];
};

struct floor_state {
	struct floor_cpuid cpuid;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_lapic_state lapic;
	struct floor_msrs msrs;
	struct kvm_fpu fpu;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct kvm_clock_data clock;
};

/* These end the program when a call fails. */
void floor_state_save(int kvm, int vm, int vcpu, struct floor_state *s);

/* Reads again what floor_state_save has read once, and nothing that need not be. */
void floor_state_read(int vm, int vcpu, struct floor_state *s);
void floor_state_restore(int vm, int vcpu, const struct floor_state *s);

/* Ends the program with exit status 1 and a word on stderr, when r is negative. */
int floor_must(int r, const char *what);
