// SPDX-License-Identifier: Apache-2.0
/*
 * What KVM wants to know on x86_64: where its own pages lie, which CPU the guest sees, the local
 * APICs, and registers. The registers of a start go through the shared page (KVM_CAP_SYNC_REGS)
 * and are taken over by the first KVM_RUN, which saves three calls.
 */
#include "hv/kvm_int.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/layout.h"
#include "arch/x86_64/cpuid.h"
#include "arch/x86_64/state.h"
#include "base/alloc.h"
#include "base/err.h"

struct hv_arch {
	unsigned n;
	struct x86_cpuid supported[]; /* what host and KVM can do */
};

static int require(struct hv *hv, int capability, const char *name, struct err *e)
{
	if (ioctl(hv->kvm_fd, KVM_CHECK_EXTENSION, capability) > 0)
		return 0;
	err_set(e, -ENOTSUP, "it lacks %s", name);
	err_object(e, "KVM");
	return err_remedy(e, "use a host with Linux 5.10 or later and complete KVM");
}

static struct x86_cpuid from_kvm(const struct kvm_cpuid_entry2 *k)
{
	return (struct x86_cpuid){
		.leaf = k->function,
		.subleaf = k->index,
		.has_subleaf = k->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.eax = k->eax,
		.ebx = k->ebx,
		.ecx = k->ecx,
		.edx = k->edx,
	};
}

static struct kvm_cpuid_entry2 to_kvm(const struct x86_cpuid *c)
{
	return (struct kvm_cpuid_entry2){
		.function = c->leaf,
		.index = c->subleaf,
		.flags = c->has_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = c->eax,
		.ebx = c->ebx,
		.ecx = c->ecx,
		.edx = c->edx,
	};
}

static size_t cpuid_bytes(unsigned n)
{
	return sizeof(struct kvm_cpuid2) + n * sizeof(struct kvm_cpuid_entry2);
}

static int read_supported_cpuid(struct hv *hv, struct err *e)
{
	autofree struct kvm_cpuid2 *list = calloc(1, cpuid_bytes(X86_CPUID_MAX));

	if (!list)
		return err_set(e, -ENOMEM, "no memory for the CPUID list");
	list->nent = X86_CPUID_MAX;
	if (ioctl(hv->kvm_fd, KVM_GET_SUPPORTED_CPUID, list) < 0)
		return kvm_err(e, "KVM_GET_SUPPORTED_CPUID");
	hv->arch = malloc(sizeof(*hv->arch) + list->nent * sizeof(struct x86_cpuid));
	if (!hv->arch)
		return err_set(e, -ENOMEM, "no memory for the CPUID list");
	hv->arch->n = list->nent;
	for (unsigned i = 0; i < list->nent; i++)
		hv->arch->supported[i] = from_kvm(&list->entries[i]);
	return 0;
}

int hv_arch_open(struct hv *hv, struct err *e)
{
	int r;

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
	return read_supported_cpuid(hv, e);
}

void hv_arch_close(struct hv *hv)
{
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

int hv_arch_vcpu_init(struct hv_vcpu *vcpu, unsigned n_vcpus, struct err *e)
{
	const struct hv_arch *arch = vcpu->hv->arch;
	unsigned room = arch->n + X86_CPUID_EXTRA;
	autofree struct x86_cpuid *leaves = calloc(room, sizeof(*leaves));
	autofree struct kvm_cpuid2 *list = calloc(1, cpuid_bytes(room));
	int n;

	if (!leaves || !list)
		return err_set(e, -ENOMEM, "no memory for the CPUID list");
	memcpy(leaves, arch->supported, arch->n * sizeof(*leaves));
	n = x86_cpuid_policy(leaves, arch->n, room, vcpu->id, n_vcpus);
	if (n < 0)
		return err_set(e, n, "the CPUID list has no room");
	for (int i = 0; i < n; i++)
		list->entries[i] = to_kvm(&leaves[i]);
	list->nent = (unsigned)n;
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, list) < 0)
		return kvm_err(e, "KVM_SET_CPUID2");
	return 0;
}

uint64_t hv_arch_position(struct hv_vcpu *vcpu)
{
	struct kvm_regs regs;

	return ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rip;
}

/* ---- registers */

static struct kvm_segment segment(const struct x86_segment *s)
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
	};
}

static struct kvm_dtable table(const struct x86_table *t)
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
	struct kvm_segment data = segment(&s->data);

	return (struct kvm_sregs){
		.cs = segment(&s->cs),
		.ds = data,
		.es = data,
		.fs = data,
		.gs = data,
		.ss = data,
		.tr = segment(&s->tr),
		.ldt = {.unusable = 1},
		.gdt = table(&s->gdt),
		.idt = table(&s->idt),
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

static int set_msrs(struct hv_vcpu *vcpu, const struct arch_boot_state *state, struct err *e)
{
	autofree struct kvm_msrs *msrs = NULL;
	int n;

	if (state->n_msrs == 0)
		return 0;
	msrs = calloc(1, sizeof(*msrs) + state->n_msrs * sizeof(msrs->entries[0]));
	if (!msrs)
		return err_set(e, -ENOMEM, "no memory for the list of MSRs");
	msrs->nmsrs = state->n_msrs;
	for (unsigned i = 0; i < state->n_msrs; i++) {
		msrs->entries[i].index = state->msrs[i].index;
		msrs->entries[i].data = state->msrs[i].value;
	}
	n = ioctl(vcpu->fd, KVM_SET_MSRS, msrs);
	if (n < 0)
		return kvm_err(e, "KVM_SET_MSRS");
	if ((unsigned)n < state->n_msrs) {
		err_set(e, -EINVAL, "KVM refuses the value 0x%llx of MSR 0x%x",
			(unsigned long long)state->msrs[n].value, state->msrs[n].index);
		return err_object(e, "vCPU %u", vcpu->id);
	}
	return 0;
}

int hv_vcpu_set_boot(struct hv_vcpu *vcpu, const struct arch_boot_state *state, struct err *e)
{
	int r = set_msrs(vcpu, state, e);

	if (r == 0 && vcpu->id == 0)
		set_registers(vcpu, state);
	return r;
}

int hv_vcpu_set_running(struct hv_vcpu *vcpu, const struct arch_boot_state *state, struct err *e)
{
	struct kvm_mp_state running = {.mp_state = KVM_MP_STATE_RUNNABLE};
	int r = set_msrs(vcpu, state, e);

	if (r < 0)
		return r;
	if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &running) < 0)
		return kvm_err(e, "KVM_SET_MP_STATE");
	set_registers(vcpu, state);
	return 0;
}
