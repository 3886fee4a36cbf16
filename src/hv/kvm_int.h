// SPDX-License-Identifier: Apache-2.0
/* A VM and a vCPU as KVM sees them; private to hv/. */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "hv/hv.h"

struct kvm_run;
struct hv_arch;
struct hv_vcpu_arch;

struct hv {
	int kvm_fd; /* borrowed */
	int vm_fd;
	size_t run_bytes; /* of a vCPU's shared page(s) */
	struct hv_arch *arch;
};

struct hv_vcpu {
	struct hv *hv;
	unsigned id;
	int fd;
	struct kvm_run *run;  /* shared with the kernel; the vCPU's thread, and immediate_exit */
	_Atomic pid_t thread; /* 0 until bound; any thread reads */
	bool was_used;	      /* has run or been loaded: nothing can be taken for granted */
	struct hv_vcpu_arch *arch;
};

/* What the architecture adds at each step. */
int hv_arch_open(struct hv *hv, struct err *e) MUST_CHECK;
void hv_arch_close(struct hv *hv);
int hv_arch_vcpu_init(struct hv_vcpu *vcpu, unsigned n_vcpus, const struct arch_vcpu_state *saved,
	struct err *e) MUST_CHECK;
void hv_arch_vcpu_fini(struct hv_vcpu *vcpu);

/* Where the vCPU stands, or 0. */
uint64_t hv_arch_position(struct hv_vcpu *vcpu);

/* err_sys for a failed KVM call, with a remedy where the cause has one. */
int kvm_err(struct err *e, const char *call);

/* The signal that kicks. */
int kvm_kick_signal(void);
