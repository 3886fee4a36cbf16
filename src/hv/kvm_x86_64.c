// SPDX-License-Identifier: Apache-2.0
/*
 * What KVM wants to know on x86_64: where its own pages lie, that there are local APICs, and the
 * registers of a start, which go through the shared page (KVM_CAP_SYNC_REGS) and are taken over by
 * the first KVM_RUN: that saves three calls.
 */
#include "hv/kvm_x86_64.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "arch/layout.h"
#include "base/err.h"

static int require(struct hv *hv, int capability, const char *name, struct err *e)
{
	if (ioctl(hv->kvm_fd, KVM_CHECK_EXTENSION, capability) > 0)
		return 0;
	err_set(e, -ENOTSUP, "it lacks %s", name);
	err_object(e, "KVM");
	return err_remedy(e, "use a host with Linux 5.10 or later and complete KVM");
}

int hv_arch_open(struct hv *hv, struct err *e)
{
	int r;

	hv->arch = calloc(1, sizeof(*hv->arch));
	if (!hv->arch)
		return err_set(e, -ENOMEM, "no memory for a VM");
	pthread_mutex_init(&hv->arch->lock, NULL);
	r = require(hv, KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", e);
	if (r < 0)
		return r;
	r = require(hv, KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS", e);
	if (r < 0)
		return r;
	/* Hosts without unrestricted guests start vCPUs in a task of these pages: a memory slot,
	 * so it comes with the others, before the interrupt controller. */
	if (ioctl(hv->vm_fd, KVM_SET_TSS_ADDR, LAYOUT_KVM_TSS) < 0)
		return kvm_err(e, "KVM_SET_TSS_ADDR");
	return kvm_msrs_list(hv, e);
}

void hv_arch_close(struct hv *hv)
{
	if (!hv->arch)
		return;
	pthread_mutex_destroy(&hv->arch->lock);
	free(hv->arch->supported);
	free(hv->arch);
}

int hv_irqchip_init(struct hv *hv, struct err *e)
{
	/* args[0]: how many routes to watch for the end of a level interrupt; all ours are edges
	 * and go by KVM_SIGNAL_MSI */
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {0}};

	if (ioctl(hv->vm_fd, KVM_ENABLE_CAP, &split) < 0)
		return kvm_err(e, "KVM_ENABLE_CAP KVM_CAP_SPLIT_IRQCHIP");
	return 0;
}

int hv_arch_vcpu_init(
	struct hv_vcpu *vcpu, unsigned n_vcpus, const struct arch_vcpu_state *saved, struct err *e)
{
	int r = kvm_cpuid_set(vcpu, n_vcpus, saved, e);

	if (r == 0 && saved)
		r = kvm_clock_init(vcpu, saved, e);
	return r;
}

void hv_arch_vcpu_fini(struct hv_vcpu *vcpu)
{
	free(vcpu->arch);
}

uint64_t hv_arch_position(struct hv_vcpu *vcpu)
{
	struct kvm_regs regs;

	return ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rip;
}

/* ---- registers */

struct kvm_segment kvm_segment_of(const struct x86_segment *s)
{
	return (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->selector,
		.type = s->type,
		.present = s->is_present,
		.dpl = s->dpl,
		.db = s->is_32bit,
		.s = s->is_code_or_data,
		.l = s->is_64bit,
		.g = s->has_page_limit,
		.unusable = s->is_unusable,
		.avl = s->avl,
	};
}

struct kvm_dtable kvm_table_of(const struct x86_table *t)
{
	return (struct kvm_dtable){.base = t->base, .limit = t->limit};
}

static struct kvm_regs general(const struct arch_boot_state *s)
{
	return (struct kvm_regs){
		.rax = s->rax,
		.rbx = s->rbx,
		.rcx = s->rcx,
		.rdx = s->rdx,
		.rsi = s->rsi,
		.rdi = s->rdi,
		.rbp = s->rbp,
		.rsp = s->rsp,
		.rip = s->rip,
		.rflags = s->rflags,
	};
}

static struct kvm_sregs special(const struct arch_boot_state *s, bool is_first)
{
	enum { APIC_IS_FIRST = 1 << 8, APIC_ENABLED = 1 << 11 };
	struct kvm_segment data = kvm_segment_of(&s->data);

	return (struct kvm_sregs){
		.cs = kvm_segment_of(&s->cs),
		.ds = data,
		.es = data,
		.fs = data,
		.gs = data,
		.ss = data,
		.tr = kvm_segment_of(&s->tr),
		.ldt = {.unusable = 1},
		.gdt = kvm_table_of(&s->gdt),
		.idt = kvm_table_of(&s->idt),
		.cr0 = s->cr0,
		.cr3 = s->cr3,
		.cr4 = s->cr4,
		.efer = s->efer,
		.apic_base = LAYOUT_LAPIC_BASE | APIC_ENABLED | (is_first ? APIC_IS_FIRST : 0),
	};
}

static void set_registers(struct hv_vcpu *vcpu, const struct arch_boot_state *state)
{
	vcpu->run->s.regs.regs = general(state);
	vcpu->run->s.regs.sregs = special(state, vcpu->id == 0);
	vcpu->run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
}

int hv_vcpu_set_boot(struct hv_vcpu *vcpu, const struct arch_boot_state *state, struct err *e)
{
	int r = kvm_msrs_set(vcpu, state->msrs, state->n_msrs, e);

	if (r == 0 && vcpu->id == 0)
		set_registers(vcpu, state);
	return r;
}

int hv_vcpu_set_running(struct hv_vcpu *vcpu, const struct arch_boot_state *state, struct err *e)
{
	struct kvm_mp_state running = {.mp_state = KVM_MP_STATE_RUNNABLE};
	int r = kvm_msrs_set(vcpu, state->msrs, state->n_msrs, e);

	if (r < 0)
		return r;
	if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &running) < 0)
		return kvm_err(e, "KVM_SET_MP_STATE");
	set_registers(vcpu, state);
	return 0;
}
