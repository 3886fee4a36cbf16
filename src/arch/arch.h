// SPDX-License-Identifier: Apache-2.0
/*
 * What an architecture supplies: where RAM lies, how a kernel is laid out in it, what the first
 * vCPU's registers are. Everything is plain data in guest memory or in structs; nothing here knows
 * a hypervisor. No function keeps state; any thread may call them.
 */
#pragma once

#include "arch/plan.h"
#include "base/cc.h"
#include "mem/gmem.h"

struct arch_boot_state; /* arch/<architecture>/state.h: the first vCPU's registers */
struct arch_vcpu_state; /* likewise: all that a vCPU is, for a snapshot */
struct arch_vm_state;	/* what the vCPUs share: the clock */
struct err;
struct snapio;

enum {
	ARCH_RAM_RANGES_MAX = 2,
	ARCH_CMDLINE_MAX = 2047, /* without its NUL: COMMAND_LINE_SIZE of Linux on x86 */
	ARCH_RNG_SEED_BYTES = 64,
	ARCH_GENERATION_ID_BYTES = 16,
};

/* Where `bytes` bytes of RAM (whole pages, not 0) lie. Returns the number of ranges. */
unsigned arch_ram_ranges(uint64_t bytes, struct gmem_range ret[ARCH_RAM_RANGES_MAX]);

/* What a cold boot is made of. All pointers and descriptors are borrowed. */
struct arch_boot {
	int kernel_fd;		  /* ELF vmlinux or bzImage, a regular file */
	const int *initramfs_fds; /* concatenated in order, each part on a 4-byte boundary */
	unsigned n_initramfs;
	const void *archive; /* one more part, from memory; may be NULL */
	size_t archive_bytes;
	const char *cmdline; /* comes after the machine's own words; cmdline_bytes counts no NUL */
	size_t cmdline_bytes;
	unsigned n_vcpus;
	const struct virtio_mmio_slot *slots; /* the plan */
	unsigned n_slots;
	uint8_t rng_seed[ARCH_RNG_SEED_BYTES]; /* random bytes for the guest's generator */
	uint8_t generation_id[ARCH_GENERATION_ID_BYTES];
};

/* Puts kernel, initramfs, command line and tables into g, which must be fresh (all zeroes) and laid
 * out by arch_ram_ranges, and gives the first vCPU's registers. Errors name the object ("kernel",
 * "initramfs", "memory", …) and the remedy. */
int arch_load_boot(const struct gmem *g, const struct arch_boot *in,
	struct arch_boot_state *ret_state, struct err *e) MUST_CHECK;

/* Where an initramfs of `bytes` bytes goes in the RAM that begins at ram_base and has ram_bytes in
 * one piece, above a kernel that ends at kernel_end: page-aligned, as high as allowed. Returns 0
 * when it does not fit. */
gpa_t arch_initramfs_gpa(gpa_t ram_base, uint64_t ram_bytes, gpa_t kernel_end, uint64_t bytes);

/* ---- state, for snapshots */

/* Heap-allocated, zeroed: they are large. NULL when memory is short. */
struct arch_vcpu_state *arch_vcpu_state_new(void);
void arch_vcpu_state_free(struct arch_vcpu_state *s);

/* Walk every field of a vCPU, and of the VM. Counts and sizes are bounded when loaded; what a value
 * means to the CPU is for the hypervisor to refuse. */
void arch_vcpu_state_snap(struct arch_vcpu_state *s, struct snapio *io);
void arch_vm_state_snap(struct arch_vm_state *s, struct snapio *io);
