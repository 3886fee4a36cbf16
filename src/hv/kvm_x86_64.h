// SPDX-License-Identifier: Apache-2.0
/* What the x86_64 files of the KVM backend share. */
#pragma once

#include <pthread.h>

#include "arch/x86_64/state.h"
#include "hv/kvm_int.h"

struct kvm_dtable;
struct kvm_segment;

enum { KVM_MSRS_LISTED_MAX = 480 };

/* The moment from which the guest's clocks go on: set by hv_load, read by hv_vcpu_load_clock. */
struct kvm_resume {
	uint64_t saved_host_tsc; /* at the moment of saving, of the host that saved */
	uint32_t saved_host_khz;
	uint64_t host_tsc; /* at the moment of loading, here */
};

struct hv_arch {
	pthread_mutex_t lock;	     /* supported while it is read; is_tsc_set */
	struct x86_cpuid *supported; /* what host and KVM can do; NULL until asked for */
	unsigned n_supported;
	bool is_same_host; /* the saved CPU needs no comparison */
	struct kvm_resume resume;
	bool is_tsc_set; /* the first vCPU's, since hv_load; where it is written, not offset */
	unsigned n_msrs;
	uint32_t msrs[KVM_MSRS_LISTED_MAX]; /* those that KVM names */
};

struct hv_vcpu_arch {
	bool is_tsc_scaled; /* its TSC is not as fast as the host's */
	unsigned n_cpuid;
	struct x86_cpuid cpuid[]; /* what KVM was told to show the guest */
};

/* ---- kvm_x86_64.c */

/* Registers in our words. */
struct kvm_segment kvm_segment_of(const struct x86_segment *s);
struct kvm_dtable kvm_table_of(const struct x86_table *t);

/* ---- kvm_cpuid_x86_64.c */

/* Shows the guest the CPU of the policy or, with `saved`, that of the snapshot. Makes vcpu->arch.
 */
int kvm_cpuid_set(struct hv_vcpu *vcpu, unsigned n_vcpus, const struct arch_vcpu_state *saved,
	struct err *e) MUST_CHECK;
void kvm_cpuid_save(const struct hv_vcpu *vcpu, struct arch_vcpu_state *ret);

/* ---- kvm_msrs_x86_64.c */

/* Asks KVM which MSRs there are. */
int kvm_msrs_list(struct hv *hv, struct err *e) MUST_CHECK;

/* All but the clocks. */
int kvm_msrs_save(struct hv_vcpu *vcpu, struct arch_vcpu_state *ret, struct err *e) MUST_CHECK;

/* One that KVM refuses is fine if it has the value already. */
int kvm_msrs_set(
	struct hv_vcpu *vcpu, const struct x86_msr *msrs, unsigned n, struct err *e) MUST_CHECK;

int kvm_msr_get(struct hv_vcpu *vcpu, uint32_t index, uint64_t *ret, struct err *e) MUST_CHECK;
int kvm_msr_set(struct hv_vcpu *vcpu, uint32_t index, uint64_t value, struct err *e) MUST_CHECK;

/* ---- kvm_clock_x86_64.c */

/* Makes a new vCPU's TSC as fast as the saved one was, or says why that cannot be. */
int kvm_clock_init(
	struct hv_vcpu *vcpu, const struct arch_vcpu_state *saved, struct err *e) MUST_CHECK;
int kvm_clock_save(struct hv_vcpu *vcpu, struct arch_vcpu_state *ret, struct err *e) MUST_CHECK;

/* Stops the APIC's deadline timer. */
int kvm_clock_disarm(struct hv_vcpu *vcpu, struct err *e) MUST_CHECK;
