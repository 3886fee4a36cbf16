// SPDX-License-Identifier: Apache-2.0
/*
 * A vCPU's state out of KVM and into it: all but time, which is kvm_clock_x86_64.c's. Any thread,
 * while the vCPU does not run.
 *
 * Each call on a vCPU costs its loading onto a processor and back, so a new vCPU is not told what
 * it is anyway, and the general registers go through the shared page with the first KVM_RUN.
 */
#include "hv/kvm_x86_64.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"

_Static_assert((int)X86_MP_RUNNABLE == KVM_MP_STATE_RUNNABLE &&
		       (int)X86_MP_WAITS_FOR_INIT == KVM_MP_STATE_UNINITIALIZED &&
		       (int)X86_MP_WAITS_FOR_SIPI == KVM_MP_STATE_INIT_RECEIVED &&
		       (int)X86_MP_HALTED == KVM_MP_STATE_HALTED &&
		       (int)X86_MP_SIPI_RECEIVED == KVM_MP_STATE_SIPI_RECEIVED,
	"the states of a vCPU");
_Static_assert(sizeof(struct kvm_lapic_state) == X86_LAPIC_BYTES, "the local APIC's page");
_Static_assert(offsetof(struct kvm_regs, r15) == (X86_GENERAL - 1) * sizeof(uint64_t),
	"the order of the general registers");

/* After a reset (Intel SDM vol. 3 table 9-1). */
enum { DR7_RESET = 0x400, XCR0_RESET = 1 };
#define DR6_RESET 0xffff0ff0u

static int get(struct hv_vcpu *vcpu, unsigned long call, const char *name, void *ret, struct err *e)
{
	return ioctl(vcpu->fd, call, ret) < 0 ? kvm_err(e, name) : 0;
}

static int set(
	struct hv_vcpu *vcpu, unsigned long call, const char *name, const void *in, struct err *e)
{
	if (ioctl(vcpu->fd, call, in) == 0)
		return 0;
	if (errno != EINVAL)
		return kvm_err(e, name);
	err_set(e, -EINVAL, "it refuses what the snapshot holds (%s)", name);
	return err_object(e, "KVM");
}

#define GET(vcpu, call, ret, e) get(vcpu, call, #call, ret, e)
#define SET(vcpu, call, in, e)	set(vcpu, call, #call, in, e)

/* ---- saving */

static struct x86_segment from_segment(const struct kvm_segment *k)
{
	return (struct x86_segment){
		.base = k->base,
		.limit = k->limit,
		.selector = k->selector,
		.type = k->type,
		.dpl = k->dpl,
		.is_present = k->present,
		.is_code_or_data = k->s,
		.is_64bit = k->l,
		.is_32bit = k->db,
		.has_page_limit = k->g,
		.is_unusable = k->unusable,
		.avl = k->avl,
	};
}

static void from_sregs(struct arch_vcpu_state *s, const struct kvm_sregs *k)
{
	s->segments[X86_CS] = from_segment(&k->cs);
	s->segments[X86_DS] = from_segment(&k->ds);
	s->segments[X86_ES] = from_segment(&k->es);
	s->segments[X86_FS] = from_segment(&k->fs);
	s->segments[X86_GS] = from_segment(&k->gs);
	s->segments[X86_SS] = from_segment(&k->ss);
	s->segments[X86_TR] = from_segment(&k->tr);
	s->segments[X86_LDT] = from_segment(&k->ldt);
	s->gdt = (struct x86_table){.base = k->gdt.base, .limit = k->gdt.limit};
	s->idt = (struct x86_table){.base = k->idt.base, .limit = k->idt.limit};
	s->cr0 = k->cr0;
	s->cr2 = k->cr2;
	s->cr3 = k->cr3;
	s->cr4 = k->cr4;
	s->cr8 = k->cr8;
	s->efer = k->efer;
	s->apic_base = k->apic_base;
	for (unsigned i = 0; i < X86_INTERRUPT_WORDS; i++)
		s->interrupt_bitmap[i] = k->interrupt_bitmap[i];
}

static struct x86_events from_events(const struct kvm_vcpu_events *k)
{
	return (struct x86_events){
		.is_exception = k->exception.injected,
		.exception = k->exception.nr,
		.has_error_code = k->exception.has_error_code,
		.error_code = k->exception.error_code,
		.is_interrupt = k->interrupt.injected,
		.interrupt = k->interrupt.nr,
		.is_soft_interrupt = k->interrupt.soft,
		.shadow = k->interrupt.shadow,
		.is_nmi = k->nmi.injected,
		.nmis_pending = k->nmi.pending,
		.is_nmi_masked = k->nmi.masked,
		.is_smm = k->smi.smm,
		.is_smi_pending = k->smi.pending,
		.is_smm_inside_nmi = k->smi.smm_inside_nmi,
		.is_init_latched = k->smi.latched_init,
		.is_triple_fault =
			k->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT && k->triple_fault.pending,
	};
}

/* Registers that wait in the shared page for the next KVM_RUN are given to KVM now. */
static int flush(struct hv_vcpu *vcpu, struct err *e)
{
	struct kvm_run *run = vcpu->run;
	int r = 0;

	if (run->kvm_dirty_regs & KVM_SYNC_X86_SREGS)
		r = SET(vcpu, KVM_SET_SREGS, &run->s.regs.sregs, e);
	if (r == 0 && run->kvm_dirty_regs & KVM_SYNC_X86_REGS)
		r = SET(vcpu, KVM_SET_REGS, &run->s.regs.regs, e);
	if (r == 0)
		run->kvm_dirty_regs = 0;
	return r;
}

/* KVM tells and takes a triple fault that is under way only when asked to (Linux 6.1). Where it
 * cannot, the faulting instruction faults again. Returns whether it can. */
static bool know_triple_faults(struct hv_vcpu *vcpu)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT, .args = {1}};

	return ioctl(vcpu->hv->vm_fd, KVM_ENABLE_CAP, &cap) == 0;
}

/* First the state in which it waits: to ask for it lets a start signal that has come take effect,
 * which changes registers. Then the events, which are asked before cr2 and dr6: what an exception
 * under way has for these is put there. */
static int save_events(struct hv_vcpu *vcpu, struct arch_vcpu_state *s, struct err *e)
{
	struct kvm_mp_state mp;
	struct kvm_vcpu_events events;
	int r = GET(vcpu, KVM_GET_MP_STATE, &mp, e);

	if (r < 0)
		return r;
	if (mp.mp_state >= X86_MP_STATES)
		return err_set(e, -ENOTSUP, "KVM has it in the unknown state %u", mp.mp_state);
	s->mp_state = mp.mp_state;
	s->is_started = x86_is_started(mp.mp_state);
	(void)know_triple_faults(vcpu);
	r = GET(vcpu, KVM_GET_VCPU_EVENTS, &events, e);
	if (r == 0)
		s->events = from_events(&events);
	return r;
}

static int save_registers(struct hv_vcpu *vcpu, struct arch_vcpu_state *s, struct err *e)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	int r = GET(vcpu, KVM_GET_REGS, &regs, e);

	if (r == 0)
		r = GET(vcpu, KVM_GET_SREGS, &sregs, e);
	if (r == 0)
		r = GET(vcpu, KVM_GET_DEBUGREGS, &debug, e);
	if (r < 0)
		return r;
	memcpy(s->general, &regs, sizeof(s->general));
	s->rip = regs.rip;
	s->rflags = regs.rflags;
	from_sregs(s, &sregs);
	for (unsigned i = 0; i < X86_DEBUG_ADDRESSES; i++)
		s->debug_addresses[i] = debug.db[i];
	s->dr6 = debug.dr6;
	s->dr7 = debug.dr7;
	return 0;
}

/* Hosts whose CPU has no XSAVE have no XCRs either. */
static int save_xcrs(struct hv_vcpu *vcpu, struct arch_vcpu_state *s, struct err *e)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = 0};

	s->n_xcrs = 0;
	if (ioctl(vcpu->fd, KVM_GET_XCRS, &xcrs) < 0)
		return errno == EINVAL || errno == ENOTTY ? 0 : kvm_err(e, "KVM_GET_XCRS");
	if (xcrs.nr_xcrs > X86_XCRS_MAX)
		return err_set(
			e, -E2BIG, "KVM has %u XCRs, not at most %d", xcrs.nr_xcrs, X86_XCRS_MAX);
	for (unsigned i = 0; i < xcrs.nr_xcrs; i++) {
		s->xcrs[i].index = xcrs.xcrs[i].xcr;
		s->xcrs[i].value = xcrs.xcrs[i].value;
	}
	s->n_xcrs = xcrs.nr_xcrs;
	return 0;
}

/* KVM_GET_XSAVE2 (Linux 5.17) writes as much as the capability says, its predecessor 4 KiB. */
static int save_xsave(struct hv_vcpu *vcpu, struct arch_vcpu_state *s, struct err *e)
{
	int bytes = ioctl(vcpu->hv->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	int r;

	memset(s->xsave, 0, sizeof(s->xsave));
	if (bytes > X86_XSAVE_MAX)
		return err_set(e, -E2BIG, "the CPU's XSAVE area has %d bytes, not at most %d",
			bytes, X86_XSAVE_MAX);
	if (bytes > 0)
		r = GET(vcpu, KVM_GET_XSAVE2, s->xsave, e);
	else
		r = GET(vcpu, KVM_GET_XSAVE, s->xsave, e);
	if (r == 0)
		s->xsave_bytes = bytes > 0 ? (uint32_t)bytes : sizeof(struct kvm_xsave);
	return r;
}

int hv_vcpu_save(struct hv_vcpu *vcpu, struct arch_vcpu_state *ret, struct err *e)
{
	int r = flush(vcpu, e);

	if (r == 0)
		r = save_events(vcpu, ret, e);
	if (r == 0)
		r = save_registers(vcpu, ret, e);
	if (r == 0)
		r = save_xcrs(vcpu, ret, e);
	if (r == 0)
		r = save_xsave(vcpu, ret, e);
	if (r == 0)
		r = GET(vcpu, KVM_GET_LAPIC, ret->lapic, e);
	if (r == 0)
		r = kvm_msrs_save(vcpu, ret, e);
	if (r == 0)
		r = kvm_clock_save(vcpu, ret, e);
	kvm_cpuid_save(vcpu, ret);
	return r < 0 ? err_ctx(e, "saving vCPU %u", vcpu->id) : 0;
}

/* ---- loading */

static struct kvm_sregs to_sregs(const struct arch_vcpu_state *s)
{
	struct kvm_sregs k = {
		.cs = kvm_segment_of(&s->segments[X86_CS]),
		.ds = kvm_segment_of(&s->segments[X86_DS]),
		.es = kvm_segment_of(&s->segments[X86_ES]),
		.fs = kvm_segment_of(&s->segments[X86_FS]),
		.gs = kvm_segment_of(&s->segments[X86_GS]),
		.ss = kvm_segment_of(&s->segments[X86_SS]),
		.tr = kvm_segment_of(&s->segments[X86_TR]),
		.ldt = kvm_segment_of(&s->segments[X86_LDT]),
		.gdt = kvm_table_of(&s->gdt),
		.idt = kvm_table_of(&s->idt),
		.cr0 = s->cr0,
		.cr2 = s->cr2,
		.cr3 = s->cr3,
		.cr4 = s->cr4,
		.cr8 = s->cr8,
		.efer = s->efer,
		.apic_base = s->apic_base,
	};

	for (unsigned i = 0; i < X86_INTERRUPT_WORDS; i++)
		k.interrupt_bitmap[i] = s->interrupt_bitmap[i];
	return k;
}

static struct kvm_vcpu_events to_events(const struct x86_events *v)
{
	return (struct kvm_vcpu_events){
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW |
			 KVM_VCPUEVENT_VALID_SMM,
		.exception = {.injected = v->is_exception,
			.nr = v->exception,
			.has_error_code = v->has_error_code,
			.error_code = v->error_code},
		.interrupt = {.injected = v->is_interrupt,
			.nr = v->interrupt,
			.soft = v->is_soft_interrupt,
			.shadow = v->shadow},
		.nmi = {.injected = v->is_nmi,
			.pending = v->nmis_pending,
			.masked = v->is_nmi_masked},
		.smi = {.smm = v->is_smm,
			.pending = v->is_smi_pending,
			.smm_inside_nmi = v->is_smm_inside_nmi,
			.latched_init = v->is_init_latched},
		.triple_fault = {.pending = v->is_triple_fault},
	};
}

/* What a vCPU that was used must be rid of before it is told anything: registers on their way, a
 * start signal that has come (to ask takes it up, and what it does is overwritten), and a deadline
 * of its timer, which setting the APIC would otherwise arm again. immediate_exit stays: a kick that
 * came is not lost. */
static int clean(struct hv_vcpu *vcpu, struct err *e)
{
	struct kvm_mp_state mp;
	int r;

	vcpu->run->kvm_dirty_regs = 0;
	if (!vcpu->was_used)
		return 0;
	r = GET(vcpu, KVM_GET_MP_STATE, &mp, e);
	return r < 0 ? r : kvm_clock_disarm(vcpu, e);
}

static int load_xcrs(struct hv_vcpu *vcpu, const struct arch_vcpu_state *s, struct err *e)
{
	struct kvm_xcrs xcrs = {.nr_xcrs = s->n_xcrs};

	if (s->n_xcrs == 0)
		return 0;
	if (!vcpu->was_used && s->n_xcrs == 1 && s->xcrs[0].index == 0 &&
		s->xcrs[0].value == XCR0_RESET)
		return 0;
	for (unsigned i = 0; i < MIN(s->n_xcrs, X86_XCRS_MAX); i++) {
		xcrs.xcrs[i].xcr = s->xcrs[i].index;
		xcrs.xcrs[i].value = s->xcrs[i].value;
	}
	return SET(vcpu, KVM_SET_XCRS, &xcrs, e);
}

static int load_mp_state(struct hv_vcpu *vcpu, const struct arch_vcpu_state *s, struct err *e)
{
	struct kvm_mp_state mp = {.mp_state = s->mp_state};
	unsigned when_new = vcpu->id == 0 ? X86_MP_RUNNABLE : X86_MP_WAITS_FOR_INIT;

	if (!vcpu->was_used && s->mp_state == when_new)
		return 0;
	return SET(vcpu, KVM_SET_MP_STATE, &mp, e);
}

static int load_events(struct hv_vcpu *vcpu, const struct arch_vcpu_state *s, struct err *e)
{
	static const struct x86_events none;
	struct kvm_vcpu_events events = to_events(&s->events);
	struct kvm_vcpu_events quiet = to_events(&none);

	if (!vcpu->was_used && memcmp(&events, &quiet, sizeof(events)) == 0)
		return 0;
	/* set or taken back */
	if (know_triple_faults(vcpu))
		events.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	return SET(vcpu, KVM_SET_VCPU_EVENTS, &events, e);
}

static bool is_debug_reset(const struct arch_vcpu_state *s)
{
	static const uint64_t zeroes[X86_DEBUG_ADDRESSES];

	return s->dr6 == DR6_RESET && s->dr7 == DR7_RESET &&
	       memcmp(s->debug_addresses, zeroes, sizeof(zeroes)) == 0;
}

static int load_debug(struct hv_vcpu *vcpu, const struct arch_vcpu_state *s, struct err *e)
{
	struct kvm_debugregs debug = {.dr6 = s->dr6, .dr7 = s->dr7};

	if (!vcpu->was_used && is_debug_reset(s))
		return 0;
	for (unsigned i = 0; i < X86_DEBUG_ADDRESSES; i++)
		debug.db[i] = s->debug_addresses[i];
	return SET(vcpu, KVM_SET_DEBUGREGS, &debug, e);
}

/* A vCPU that waits for its start must not find them in the shared page when it has started: KVM
 * looks there only then. */
static int load_general(struct hv_vcpu *vcpu, const struct arch_vcpu_state *s, struct err *e)
{
	struct kvm_regs regs = {.rip = s->rip, .rflags = s->rflags};

	memcpy(&regs, s->general, sizeof(s->general));
	if (!x86_is_started(s->mp_state))
		return SET(vcpu, KVM_SET_REGS, &regs, e);
	vcpu->run->s.regs.regs = regs;
	vcpu->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	return 0;
}

/* The order: SREGS switch the APIC into its mode, the APIC's page must find it; the MSRs come
 * after both; XSAVE is checked against XCR0. */
static int load_all(struct hv_vcpu *vcpu, const struct arch_vcpu_state *s, struct err *e)
{
	struct kvm_sregs sregs = to_sregs(s);
	int r = SET(vcpu, KVM_SET_SREGS, &sregs, e);

	if (r == 0)
		r = SET(vcpu, KVM_SET_LAPIC, s->lapic, e);
	if (r == 0)
		r = kvm_msrs_set(vcpu, s->msrs, MIN(s->n_msrs, X86_MSRS_MAX), e);
	if (r == 0)
		r = load_xcrs(vcpu, s, e);
	if (r == 0)
		r = SET(vcpu, KVM_SET_XSAVE, s->xsave, e);
	if (r == 0)
		r = load_mp_state(vcpu, s, e);
	if (r == 0)
		r = load_events(vcpu, s, e);
	if (r == 0)
		r = load_debug(vcpu, s, e);
	if (r == 0)
		r = load_general(vcpu, s, e);
	return r;
}

int hv_vcpu_load(struct hv_vcpu *vcpu, const struct arch_vcpu_state *state, struct err *e)
{
	int r = clean(vcpu, e);

	if (r == 0)
		r = load_all(vcpu, state, e);
	vcpu->was_used = true;
	if (r == 0)
		return 0;
	err_ctx(e, "loading vCPU %u", vcpu->id);
	return err_remedy(e, "the snapshot is damaged, or needs another CPU or KVM than this "
			     "host's: use another one, or bake it again");
}
