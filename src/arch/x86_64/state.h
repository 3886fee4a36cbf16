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
	bool avl; /* the descriptor's bit for the operating system */
};

struct x86_table {
	uint64_t base;
	uint16_t limit;
};

struct x86_msr {
	uint32_t index;
	uint64_t value;
};

enum {
	X86_BOOT_MSRS_MAX = 8,
	X86_CPUID_MAX = 160, /* leaves that a list may hold */
	X86_CPUID_EXTRA = 4, /* room that the policy may need beyond what it was given */
	X86_CPUIDS = X86_CPUID_MAX + X86_CPUID_EXTRA,
	X86_MSRS_MAX = 256,
	X86_XCRS_MAX = 4,
	X86_XSAVE_MAX = 16384, /* with AMX the area has some 11 KiB */
	X86_LAPIC_BYTES = 1024,
	X86_GENERAL = 16,
	X86_DEBUG_ADDRESSES = 4,
	X86_INTERRUPT_WORDS = 256 / 64,
	X86_TSC_KHZ_MAX = 100 * 1000 * 1000,
};

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

/* What a vCPU waits for, if anything (Intel SDM vol. 3 §8.4 "MP initialization"). The numbers are
 * those of snapshots. */
enum x86_mp_state {
	X86_MP_RUNNABLE,
	X86_MP_WAITS_FOR_INIT, /* not started since it was made or reset */
	X86_MP_WAITS_FOR_SIPI, /* INIT has come, the start address has not */
	X86_MP_HALTED,
	X86_MP_SIPI_RECEIVED,
	X86_MP_STATES,
};

static inline bool x86_is_started(uint32_t mp_state)
{
	return mp_state != X86_MP_WAITS_FOR_INIT && mp_state != X86_MP_WAITS_FOR_SIPI;
}

enum x86_segment_name {
	X86_CS,
	X86_DS,
	X86_ES,
	X86_FS,
	X86_GS,
	X86_SS,
	X86_TR,
	X86_LDT,
	X86_SEGMENTS,
};

/* Events on their way into the vCPU: raised, and not yet taken by the guest. */
struct x86_events {
	bool is_exception; /* being delivered */
	uint8_t exception;
	bool has_error_code;
	uint32_t error_code;
	bool is_interrupt; /* being delivered */
	uint8_t interrupt;
	bool is_soft_interrupt;
	uint8_t shadow; /* interrupts wait for one instruction: bit 0 after mov ss, 1 after sti */
	bool is_nmi;	/* being delivered */
	uint8_t nmis_pending;
	bool is_nmi_masked;
	bool is_smm, is_smi_pending, is_smm_inside_nmi, is_init_latched;
	bool is_triple_fault;
};

/* All that a vCPU is, for a snapshot. Counts may be 0 where the host has no such thing. */
struct arch_vcpu_state {
	uint32_t mp_state; /* enum x86_mp_state */
	bool is_started;   /* neither waits for INIT nor for SIPI */

	uint64_t general[X86_GENERAL]; /* rax rbx rcx rdx rsi rdi rsp rbp r8 … r15 */
	uint64_t rip, rflags;
	struct x86_segment segments[X86_SEGMENTS];
	struct x86_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
	uint64_t interrupt_bitmap[X86_INTERRUPT_WORDS];
	uint64_t debug_addresses[X86_DEBUG_ADDRESSES]; /* dr0 … dr3 */
	uint64_t dr6, dr7;
	struct x86_events events;

	uint32_t n_xcrs;
	struct {
		uint32_t index;
		uint64_t value;
	} xcrs[X86_XCRS_MAX];
	uint32_t xsave_bytes;
	uint8_t xsave[X86_XSAVE_MAX]; /* zeroes after xsave_bytes */
	uint8_t lapic[X86_LAPIC_BYTES];

	uint32_t n_msrs; /* the TSC and its deadline are not among them */
	struct x86_msr msrs[X86_MSRS_MAX];
	uint32_t n_cpuid; /* what the guest was shown */
	struct x86_cpuid cpuid[X86_CPUIDS];

	/* Its time stamp counter was `tsc` when the host's was host_tsc; without scaling the
	 * difference is the offset that the hypervisor adds. */
	uint64_t tsc, host_tsc;
	uint32_t tsc_khz;      /* 0: not known */
	uint64_t tsc_deadline; /* of its APIC timer; 0: none */
};

/* The moment at which the clocks were read, all vCPUs at rest. */
struct arch_vm_state {
	uint64_t clock_ns;     /* the paravirtual clock */
	uint64_t host_tsc;     /* at that moment */
	uint32_t host_tsc_khz; /* of the host that saved; 0: not known */
};
