// SPDX-License-Identifier: Apache-2.0
/* x86_64 registers as data; each hypervisor backend translates them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct x86_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint8_t type;
	uint8_t dpl;
	bool is_present, is_code_or_data, is_64bit, is_32bit, has_page_limit, is_unusable;
};

struct x86_table {
	uint64_t base;
	uint16_t limit;
};

struct x86_msr {
	uint32_t index;
	uint64_t value;
};

enum { X86_BOOT_MSRS_MAX = 8 };

/* What vCPU 0 starts with. The MSRs are for every vCPU: they are what firmware would have set. */
struct arch_boot_state {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
	uint64_t rip, rflags;
	uint64_t cr0, cr3, cr4, efer;
	struct x86_segment cs, data; /* data: ds, es, fs, gs, ss */
	struct x86_segment tr;
	struct x86_table gdt, idt;
	struct x86_msr msrs[X86_BOOT_MSRS_MAX];
	unsigned n_msrs;
};

/* One CPUID leaf. */
struct x86_cpuid {
	uint32_t leaf;
	uint32_t subleaf;
	bool has_subleaf; /* the subleaf matters */
	uint32_t eax, ebx, ecx, edx;
};
