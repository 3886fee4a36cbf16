// SPDX-License-Identifier: Apache-2.0
/* The tables that the 64-bit Linux boot protocol wants to find in memory, and the registers it
 * wants to start with. */
#pragma once

#include "arch/arch.h"
#include "arch/kernel_image.h"

/* Everything the zero page has to say. */
struct boot_params_in {
	const struct kernel_image *kernel;
	gpa_t initramfs;
	uint64_t initramfs_bytes;
	size_t cmdline_bytes;
	gpa_t rsdp;
};

/* Writes the zero page with the memory map of g. Returns 0 or -EFAULT. */
int boot_params_write(const struct gmem *g, const struct boot_params_in *in) MUST_CHECK;

/* Writes the random seed that boot_params points to. Returns 0 or -EFAULT. */
int boot_seed_write(const struct gmem *g, const uint8_t seed[ARCH_RNG_SEED_BYTES]) MUST_CHECK;

/* Writes segment descriptors and identity page tables and fills *ret with the registers of a
 * 64-bit ring-0 start at entry. Returns 0 or -EFAULT. */
int boot_state_write(const struct gmem *g, gpa_t entry, struct arch_boot_state *ret) MUST_CHECK;
