// SPDX-License-Identifier: Apache-2.0
/*
 * Which CPU the guest sees, as KVM is told. Asking KVM what it can do costs a quarter of a
 * millisecond where CPUID itself is intercepted, so it is done once, when first needed, and not at
 * all for a snapshot of this very host.
 */
#include "hv/kvm_x86_64.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86_64/cpuid.h"
#include "base/alloc.h"
#include "base/err.h"

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

static struct kvm_cpuid2 *new_list(unsigned n, struct err *e)
{
	struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + n * sizeof(list->entries[0]));

	if (list)
		list->nent = n;
	else
		err_set(e, -ENOMEM, "no memory for the CPUID list");
	return list;
}

static int read_supported(struct hv *hv, struct err *e)
{
	autofree struct kvm_cpuid2 *list = new_list(X86_CPUID_MAX, e);
	struct x86_cpuid *supported;

	if (!list)
		return -ENOMEM;
	if (ioctl(hv->kvm_fd, KVM_GET_SUPPORTED_CPUID, list) < 0)
		return kvm_err(e, "KVM_GET_SUPPORTED_CPUID");
	supported = calloc(list->nent + 1, sizeof(*supported));
	if (!supported)
		return err_set(e, -ENOMEM, "no memory for the CPUID list");
	for (unsigned i = 0; i < list->nent; i++)
		supported[i] = from_kvm(&list->entries[i]);
	hv->arch->n_supported = list->nent;
	hv->arch->supported = supported;
	return 0;
}

/* vCPUs are made by several threads at once; the first asks. */
static int need_supported(struct hv *hv, struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&hv->arch->lock);
	if (!hv->arch->supported)
		r = read_supported(hv, e);
	pthread_mutex_unlock(&hv->arch->lock);
	return r;
}

/* What the policy gives vCPU `id` here; leaves has X86_CPUIDS places. */
static int apply_policy(
	struct hv *hv, unsigned id, unsigned n_vcpus, struct x86_cpuid *leaves, struct err *e)
{
	int n, r = need_supported(hv, e);

	if (r < 0)
		return r;
	memcpy(leaves, hv->arch->supported, hv->arch->n_supported * sizeof(*leaves));
	n = x86_cpuid_policy(leaves, hv->arch->n_supported, X86_CPUIDS, id, n_vcpus);
	return n < 0 ? err_set(e, n, "the CPUID list has no room") : n;
}

/* The list is kept for a snapshot: KVM_GET_CPUID2 would add what the guest has switched on since,
 * and software KVMs what the processor shows it. */
static int set_list(struct hv_vcpu *vcpu, const struct x86_cpuid *leaves, unsigned n, struct err *e)
{
	autofree struct kvm_cpuid2 *list = new_list(n, e);

	vcpu->arch = calloc(1, sizeof(*vcpu->arch) + n * sizeof(*leaves));
	if (!list || !vcpu->arch)
		return err_set(e, -ENOMEM, "no memory for the CPUID list");
	for (unsigned i = 0; i < n; i++)
		list->entries[i] = to_kvm(&leaves[i]);
	memcpy(vcpu->arch->cpuid, leaves, n * sizeof(*leaves));
	vcpu->arch->n_cpuid = n;
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, list) < 0)
		return kvm_err(e, "KVM_SET_CPUID2");
	return 0;
}

static int set_saved(struct hv_vcpu *vcpu, unsigned n_vcpus, struct x86_cpuid *leaves,
	const struct arch_vcpu_state *saved, struct err *e)
{
	int r;

	/* all vCPUs show one CPU: to look at the first is enough */
	if (vcpu->id == 0 && !vcpu->hv->arch->is_same_host) {
		r = apply_policy(vcpu->hv, vcpu->id, n_vcpus, leaves, e);
		if (r >= 0)
			r = x86_cpuid_compare(saved->cpuid, saved->n_cpuid, leaves, (unsigned)r, e);
		if (r < 0)
			return r;
	}
	return set_list(vcpu, saved->cpuid, MIN(saved->n_cpuid, X86_CPUIDS), e);
}

int kvm_cpuid_set(
	struct hv_vcpu *vcpu, unsigned n_vcpus, const struct arch_vcpu_state *saved, struct err *e)
{
	struct x86_cpuid leaves[X86_CPUIDS];
	int n;

	if (saved)
		return set_saved(vcpu, n_vcpus, leaves, saved, e);
	n = apply_policy(vcpu->hv, vcpu->id, n_vcpus, leaves, e);
	return n < 0 ? n : set_list(vcpu, leaves, (unsigned)n, e);
}

void kvm_cpuid_save(const struct hv_vcpu *vcpu, struct arch_vcpu_state *ret)
{
	ret->n_cpuid = vcpu->arch->n_cpuid;
	memcpy(ret->cpuid, vcpu->arch->cpuid, ret->n_cpuid * sizeof(ret->cpuid[0]));
}

void hv_assume_same_host(struct hv *hv)
{
	hv->arch->is_same_host = true;
}
