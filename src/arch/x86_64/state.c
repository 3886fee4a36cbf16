// SPDX-License-Identifier: Apache-2.0
/*
 * The walk over a vCPU's and a VM's state, which saves and loads it. It bounds what has a bound of
 * its own; whether the processor takes a value is for the hypervisor to find out. The two long
 * lists are one field each, packed little-endian: a thousand small fields would cost a restore more
 * than the system calls that load them.
 */
#include "arch/x86_64/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/arch.h"
#include "base/alloc.h"
#include "base/le.h"
#include "base/snapio.h"

enum { CPUID_BYTES = 28, MSR_BYTES = 12, EXCEPTIONS = 32, SEGMENT_TYPES = 16, RINGS = 4 };

struct arch_vcpu_state *arch_vcpu_state_new(void)
{
	/* Pages of its own: what a heap had of it would stay the process's for good. */
	void *p = mmap(NULL, sizeof(struct arch_vcpu_state), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void arch_vcpu_state_free(struct arch_vcpu_state *s)
{
	int saved = errno;

	if (s)
		munmap(s, sizeof(*s));
	errno = saved;
}

/* The value just loaded must be below `end`. */
static void below(struct snapio *io, const char *name, uint64_t v, uint64_t end)
{
	if (snapio_is_loading(io) && v >= end)
		snapio_fail(io, name, "%llu is not below %llu", (unsigned long long)v,
			(unsigned long long)end);
}

static void snap_words(struct snapio *io, const char *name, uint64_t *words, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		snapio_u64(io, name, &words[i]);
}

static void snap_mp_state(struct snapio *io, struct arch_vcpu_state *s)
{
	snapio_u32(io, "mp_state", &s->mp_state);
	below(io, "mp_state", s->mp_state, X86_MP_STATES);
	snapio_bool(io, "is_started", &s->is_started);
	if (snapio_is_loading(io) && s->is_started != x86_is_started(s->mp_state))
		snapio_fail(io, "is_started", "it contradicts the vCPU's state %u", s->mp_state);
}

static void snap_segment(struct snapio *io, struct x86_segment *s)
{
	snapio_u64(io, "segment.base", &s->base);
	snapio_u32(io, "segment.limit", &s->limit);
	snapio_u16(io, "segment.selector", &s->selector);
	snapio_u8(io, "segment.type", &s->type);
	below(io, "segment.type", s->type, SEGMENT_TYPES);
	snapio_u8(io, "segment.dpl", &s->dpl);
	below(io, "segment.dpl", s->dpl, RINGS);
	snapio_bool(io, "segment.is_present", &s->is_present);
	snapio_bool(io, "segment.is_code_or_data", &s->is_code_or_data);
	snapio_bool(io, "segment.is_64bit", &s->is_64bit);
	snapio_bool(io, "segment.is_32bit", &s->is_32bit);
	snapio_bool(io, "segment.has_page_limit", &s->has_page_limit);
	snapio_bool(io, "segment.is_unusable", &s->is_unusable);
	snapio_bool(io, "segment.avl", &s->avl);
}

static void snap_table(struct snapio *io, struct x86_table *t)
{
	snapio_u64(io, "table.base", &t->base);
	snapio_u16(io, "table.limit", &t->limit);
}

static void snap_registers(struct snapio *io, struct arch_vcpu_state *s)
{
	snap_words(io, "general", s->general, X86_GENERAL);
	snapio_u64(io, "rip", &s->rip);
	snapio_u64(io, "rflags", &s->rflags);
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		snap_segment(io, &s->segments[i]);
	snap_table(io, &s->gdt);
	snap_table(io, &s->idt);
	snapio_u64(io, "cr0", &s->cr0);
	snapio_u64(io, "cr2", &s->cr2);
	snapio_u64(io, "cr3", &s->cr3);
	snapio_u64(io, "cr4", &s->cr4);
	snapio_u64(io, "cr8", &s->cr8);
	snapio_u64(io, "efer", &s->efer);
	snapio_u64(io, "apic_base", &s->apic_base);
	snap_words(io, "interrupt_bitmap", s->interrupt_bitmap, X86_INTERRUPT_WORDS);
	snap_words(io, "debug_addresses", s->debug_addresses, X86_DEBUG_ADDRESSES);
	snapio_u64(io, "dr6", &s->dr6);
	snapio_u64(io, "dr7", &s->dr7);
}

static void snap_events(struct snapio *io, struct x86_events *v)
{
	snapio_bool(io, "is_exception", &v->is_exception);
	snapio_u8(io, "exception", &v->exception);
	below(io, "exception", v->exception, EXCEPTIONS);
	snapio_bool(io, "has_error_code", &v->has_error_code);
	snapio_u32(io, "error_code", &v->error_code);
	snapio_bool(io, "is_interrupt", &v->is_interrupt);
	snapio_u8(io, "interrupt", &v->interrupt);
	snapio_bool(io, "is_soft_interrupt", &v->is_soft_interrupt);
	snapio_u8(io, "shadow", &v->shadow);
	below(io, "shadow", v->shadow, 4);
	snapio_bool(io, "is_nmi", &v->is_nmi);
	snapio_u8(io, "nmis_pending", &v->nmis_pending);
	below(io, "nmis_pending", v->nmis_pending, 3); /* one waits, one is latched */
	snapio_bool(io, "is_nmi_masked", &v->is_nmi_masked);
	snapio_bool(io, "is_smm", &v->is_smm);
	snapio_bool(io, "is_smi_pending", &v->is_smi_pending);
	snapio_bool(io, "is_smm_inside_nmi", &v->is_smm_inside_nmi);
	snapio_bool(io, "is_init_latched", &v->is_init_latched);
	snapio_bool(io, "is_triple_fault", &v->is_triple_fault);
}

static void snap_xsave(struct snapio *io, struct arch_vcpu_state *s)
{
	snapio_count(io, "n_xcrs", &s->n_xcrs, X86_XCRS_MAX);
	for (unsigned i = 0; i < MIN(s->n_xcrs, X86_XCRS_MAX); i++) {
		snapio_u32(io, "xcr.index", &s->xcrs[i].index);
		snapio_u64(io, "xcr.value", &s->xcrs[i].value);
	}
	snapio_count(io, "xsave_bytes", &s->xsave_bytes, X86_XSAVE_MAX);
	snapio_bytes(io, "xsave", s->xsave, MIN(s->xsave_bytes, X86_XSAVE_MAX));
	if (snapio_is_loading(io) && snapio_is_good(io))
		memset(s->xsave + s->xsave_bytes, 0, X86_XSAVE_MAX - s->xsave_bytes);
}

static void pack_msr(uint8_t *p, const struct x86_msr *m)
{
	le32_store(p, m->index);
	le64_store(p + 4, m->value);
}

static void unpack_msr(const uint8_t *p, struct x86_msr *m)
{
	*m = (struct x86_msr){.index = le32_load(p), .value = le64_load(p + 4)};
}

static void snap_msrs(struct snapio *io, struct arch_vcpu_state *s)
{
	uint8_t packed[X86_MSRS_MAX * MSR_BYTES];

	snapio_count(io, "n_msrs", &s->n_msrs, X86_MSRS_MAX);
	if (!snapio_is_good(io))
		return;
	for (unsigned i = 0; !snapio_is_loading(io) && i < s->n_msrs; i++)
		pack_msr(packed + i * MSR_BYTES, &s->msrs[i]);
	snapio_bytes(io, "msrs", packed, s->n_msrs * MSR_BYTES);
	if (!snapio_is_good(io))
		return;
	for (unsigned i = 0; snapio_is_loading(io) && i < s->n_msrs; i++)
		unpack_msr(packed + i * MSR_BYTES, &s->msrs[i]);
}

static void pack_cpuid(uint8_t *p, const struct x86_cpuid *c)
{
	le32_store(p, c->leaf);
	le32_store(p + 4, c->subleaf);
	le32_store(p + 8, c->has_subleaf);
	le32_store(p + 12, c->eax);
	le32_store(p + 16, c->ebx);
	le32_store(p + 20, c->ecx);
	le32_store(p + 24, c->edx);
}

static void unpack_cpuid(struct snapio *io, const uint8_t *p, struct x86_cpuid *c)
{
	below(io, "cpuid", le32_load(p + 8), 2);
	*c = (struct x86_cpuid){
		.leaf = le32_load(p),
		.subleaf = le32_load(p + 4),
		.has_subleaf = le32_load(p + 8),
		.eax = le32_load(p + 12),
		.ebx = le32_load(p + 16),
		.ecx = le32_load(p + 20),
		.edx = le32_load(p + 24),
	};
}

static void snap_cpuid(struct snapio *io, struct arch_vcpu_state *s)
{
	uint8_t packed[X86_CPUIDS * CPUID_BYTES];

	snapio_count(io, "n_cpuid", &s->n_cpuid, X86_CPUIDS);
	if (!snapio_is_good(io))
		return;
	for (unsigned i = 0; !snapio_is_loading(io) && i < s->n_cpuid; i++)
		pack_cpuid(packed + i * CPUID_BYTES, &s->cpuid[i]);
	snapio_bytes(io, "cpuid", packed, s->n_cpuid * CPUID_BYTES);
	if (!snapio_is_good(io))
		return;
	for (unsigned i = 0; snapio_is_loading(io) && i < s->n_cpuid; i++)
		unpack_cpuid(io, packed + i * CPUID_BYTES, &s->cpuid[i]);
}

void arch_vcpu_state_snap(struct arch_vcpu_state *s, struct snapio *io)
{
	snap_mp_state(io, s);
	snap_registers(io, s);
	snap_events(io, &s->events);
	snap_xsave(io, s);
	snapio_bytes(io, "lapic", s->lapic, sizeof(s->lapic));
	snap_msrs(io, s);
	snap_cpuid(io, s);
	snapio_u64(io, "tsc", &s->tsc);
	snapio_u64(io, "host_tsc", &s->host_tsc);
	snapio_u32(io, "tsc_khz", &s->tsc_khz);
	below(io, "tsc_khz", s->tsc_khz, X86_TSC_KHZ_MAX);
	snapio_u64(io, "tsc_deadline", &s->tsc_deadline);
}

void arch_vm_state_snap(struct arch_vm_state *s, struct snapio *io)
{
	snapio_u64(io, "clock_ns", &s->clock_ns);
	snapio_u64(io, "host_tsc", &s->host_tsc);
	snapio_u32(io, "host_tsc_khz", &s->host_tsc_khz);
	below(io, "host_tsc_khz", s->host_tsc_khz, X86_TSC_KHZ_MAX);
}
