// SPDX-License-Identifier: Apache-2.0
/* Bare KVM for the programs that check what we assume of it: no layer of ours is between. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { EXIT_SKIPPED = 77, GUEST_BYTES = 0x10000, GUEST_CODE = 0x1000 };

static inline int kvm_device(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("skipped: /dev/kvm: %s\n", strerror(errno));
		exit(EXIT_SKIPPED);
	}
	return fd;
}

/* The call must succeed; returns what it returned. */
static inline int kvm_must(const char *name, int r)
{
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", name, strerror(errno));
		exit(1);
	}
	return r;
}

static inline void *kvm_memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

static inline void kvm_slot(int vm, unsigned slot, uint64_t gpa, void *host, size_t bytes)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)host,
	};

	kvm_must("KVM_SET_USER_MEMORY_REGION", ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
}

static inline void kvm_split_irqchip(int vm)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_SPLIT_IRQCHIP};

	kvm_must("KVM_CAP_SPLIT_IRQCHIP", ioctl(vm, KVM_ENABLE_CAP, &cap));
}

static inline struct kvm_run *kvm_run_page(int kvm, int vcpu)
{
	int bytes = kvm_must("KVM_GET_VCPU_MMAP_SIZE", ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	void *p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

	if (p == MAP_FAILED) {
		perror("mmap of the vCPU");
		exit(1);
	}
	return p;
}

/* vCPU 0 in real mode at GUEST_CODE, flat: for a few instructions. */
static inline void kvm_real_mode(int vcpu)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = GUEST_CODE, .rflags = 2};

	kvm_must("KVM_GET_SREGS", ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	kvm_must("KVM_SET_SREGS", ioctl(vcpu, KVM_SET_SREGS, &sregs));
	kvm_must("KVM_SET_REGS", ioctl(vcpu, KVM_SET_REGS, &regs));
}
