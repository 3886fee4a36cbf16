// SPDX-License-Identifier: Apache-2.0
/*
 * Model-specific registers. Which of them make up a vCPU's state KVM tells, but for the memory
 * types and a few more that it keeps without listing them. Left out are those that are no state of
 * the guest's, and the time, which is kvm_clock_x86_64.c's.
 */
#include "hv/kvm_x86_64.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"

enum {
	TSC = 0x10,
	KVM_OLD_WALL_CLOCK = 0x11,
	KVM_OLD_SYSTEM_TIME = 0x12,
	TSC_DEADLINE = 0x6e0,
	HYPERV_FIRST = 0x40000000,
	HYPERV_LAST = 0x400001ff,
	KVM_WALL_CLOCK = 0x4b564d00,
};

/* Intel SDM vol. 4; the last is AMD's decode configuration, where Linux turns serializing LFENCE
 * on. */
static const uint32_t unlisted[] = {0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208,
	0x209, 0x20a, 0x20b, 0x20c, 0x20d, 0x20e, 0x20f, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
	0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x2ff, 0x1d9, 0xc0011029};

/*
 * Not state: the clocks; the wall clock's address, since to set it makes KVM write the host's idea
 * of the boot time there, and a guest sets it itself each time it asks; the old name of the system
 * time; and Hyper-V's, which no guest is shown and which cost memory as soon as they are set.
 */
static bool is_left_out(uint32_t index)
{
	switch (index) {
	case TSC:
	case TSC_DEADLINE:
	case KVM_OLD_WALL_CLOCK:
	case KVM_OLD_SYSTEM_TIME:
	case KVM_WALL_CLOCK:
		return true;
	}
	return index >= HYPERV_FIRST && index <= HYPERV_LAST;
}

int kvm_msrs_list(struct hv *hv, struct err *e)
{
	struct {
		struct kvm_msr_list head;
		uint32_t indices[KVM_MSRS_LISTED_MAX];
	} list = {.head.nmsrs = KVM_MSRS_LISTED_MAX};

	if (ioctl(hv->kvm_fd, KVM_GET_MSR_INDEX_LIST, &list) < 0)
		return kvm_err(e, "KVM_GET_MSR_INDEX_LIST");
	hv->arch->n_msrs = list.head.nmsrs;
	memcpy(hv->arch->msrs, list.indices, list.head.nmsrs * sizeof(list.indices[0]));
	return 0;
}

static bool is_listed(const struct hv_arch *arch, uint32_t index)
{
	for (unsigned i = 0; i < arch->n_msrs; i++)
		if (arch->msrs[i] == index)
			return true;
	return false;
}

/* The MSRs to be read, at most KVM_MSRS_LISTED_MAX and those above. */
static unsigned choose(const struct hv_arch *arch, uint32_t *ret)
{
	unsigned n = 0;

	for (unsigned i = 0; i < arch->n_msrs; i++)
		if (!is_left_out(arch->msrs[i]))
			ret[n++] = arch->msrs[i];
	for (unsigned i = 0; i < ARRAY_LEN(unlisted); i++)
		if (!is_listed(arch, unlisted[i]))
			ret[n++] = unlisted[i];
	return n;
}

struct msrs {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[X86_MSRS_MAX];
};

static int keep(struct arch_vcpu_state *ret, const struct kvm_msr_entry *read, struct err *e)
{
	if (ret->n_msrs == X86_MSRS_MAX) {
		err_set(e, -E2BIG, "it has more than %d MSRs to save", X86_MSRS_MAX);
		err_object(e, "KVM");
		return err_remedy(e, "use a newer version of this program");
	}
	ret->msrs[ret->n_msrs++] = (struct x86_msr){.index = read->index, .value = read->data};
	return 0;
}

/* KVM stops at the first MSR that it cannot read, and says how many it read: that one is left out,
 * since this CPU lacks it, and the reading goes on behind it. */
int kvm_msrs_save(struct hv_vcpu *vcpu, struct arch_vcpu_state *ret, struct err *e)
{
	uint32_t indices[KVM_MSRS_LISTED_MAX + ARRAY_LEN(unlisted)];
	unsigned at = 0, n = choose(vcpu->hv->arch, indices);
	struct msrs batch;
	int done, r = 0;

	ret->n_msrs = 0;
	while (at < n) {
		batch.head = (struct kvm_msrs){.nmsrs = MIN(n - at, X86_MSRS_MAX)};
		for (unsigned i = 0; i < batch.head.nmsrs; i++)
			batch.entries[i] = (struct kvm_msr_entry){.index = indices[at + i]};
		done = ioctl(vcpu->fd, KVM_GET_MSRS, &batch);
		if (done < 0)
			return kvm_err(e, "KVM_GET_MSRS");
		for (int i = 0; r == 0 && i < done; i++)
			r = keep(ret, &batch.entries[i], e);
		if (r < 0)
			return r;
		at += (unsigned)done + ((unsigned)done < batch.head.nmsrs);
	}
	return 0;
}

int kvm_msr_get(struct hv_vcpu *vcpu, uint32_t index, uint64_t *ret, struct err *e)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = {.head.nmsrs = 1, .entry.index = index};
	int n = ioctl(vcpu->fd, KVM_GET_MSRS, &one);

	if (n < 0)
		return kvm_err(e, "KVM_GET_MSRS");
	if (n == 0) {
		err_set(e, -ENOTSUP, "it cannot read MSR 0x%x", index);
		return err_object(e, "KVM");
	}
	*ret = one.entry.data;
	return 0;
}

/* KVM has refused to set it. */
static int check_refused(struct hv_vcpu *vcpu, const struct x86_msr *m, struct err *e)
{
	uint64_t is;

	if (kvm_msr_get(vcpu, m->index, &is, NULL) == 0 && is == m->value)
		return 0;
	err_set(e, -EINVAL, "it refuses the value 0x%llx of MSR 0x%x", (unsigned long long)m->value,
		m->index);
	return err_object(e, "KVM");
}

int kvm_msrs_set(struct hv_vcpu *vcpu, const struct x86_msr *msrs, unsigned n, struct err *e)
{
	struct msrs batch;
	unsigned at = 0;
	int done, r;

	while (at < n) {
		batch.head = (struct kvm_msrs){.nmsrs = MIN(n - at, X86_MSRS_MAX)};
		for (unsigned i = 0; i < batch.head.nmsrs; i++)
			batch.entries[i] = (struct kvm_msr_entry){
				.index = msrs[at + i].index, .data = msrs[at + i].value};
		done = ioctl(vcpu->fd, KVM_SET_MSRS, &batch);
		if (done < 0)
			return kvm_err(e, "KVM_SET_MSRS");
		at += (unsigned)done;
		if ((unsigned)done == batch.head.nmsrs)
			continue;
		r = check_refused(vcpu, &msrs[at++], e);
		if (r < 0)
			return r;
	}
	return 0;
}

int kvm_msr_set(struct hv_vcpu *vcpu, uint32_t index, uint64_t value, struct err *e)
{
	const struct x86_msr m = {.index = index, .value = value};

	return kvm_msrs_set(vcpu, &m, 1, e);
}
