// SPDX-License-Identifier: Apache-2.0
/*
 * Time across a snapshot: the guest's clocks go on from where they stood, to the tick of its TSC.
 *
 * All vCPUs are set from one reading of the host's TSC, hv_load's, and by the offset that KVM adds
 * to it (KVM_VCPU_TSC_OFFSET, Linux 5.16), so what they were apart they stay apart. To write the
 * TSC itself would be inexact, and KVM ignores a value that is within a second of what it expects,
 * taking it for an attempt to synchronize vCPUs: a guest in its first second would lose its time.
 * Where that must do (old kernels; TSCs that KVM scales, whose offset has another meaning), a value
 * far away is written first.
 */
#include "hv/kvm_x86_64.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "base/err.h"

enum {
	MSR_TSC = 0x10,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_SYSTEM_TIME = 0x4b564d01, /* KVM's clock; bit 0: in use */
	SYSTEM_TIME_IN_USE = 1,
	TOLERANCE_PPM = 250, /* KVM's own; NTP corrects as much */
	PPM = 1000 * 1000,
};

#define FAR_AWAY_TICKS (1ull << 44) /* an hour or more */

static uint64_t between(uint64_t before, uint64_t after)
{
	return before + (after - before) / 2;
}

/* Ticks of the one clock in ticks of the other; signed. Unknown frequencies are taken for equal. */
static uint64_t ticks_at(uint64_t ticks, uint32_t khz, uint32_t host_khz)
{
	if (khz == 0 || host_khz == 0 || khz == host_khz)
		return ticks;
	return (uint64_t)((__int128)(int64_t)ticks * khz / host_khz);
}

/* Of this host; 0 when KVM does not tell. A VM's answer is cheap, but Linux 5.17's. */
static uint32_t host_khz(int vm_fd, int vcpu_fd)
{
	int khz = ioctl(vm_fd, KVM_GET_TSC_KHZ, 0);

	if (khz <= 0 && vcpu_fd >= 0)
		khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);
	return khz > 0 && khz < X86_TSC_KHZ_MAX ? (uint32_t)khz : 0;
}

static bool is_close(uint32_t a, uint32_t b)
{
	uint64_t apart = a > b ? a - b : b - a;

	return apart * PPM <= (uint64_t)b * TOLERANCE_PPM;
}

int kvm_clock_init(struct hv_vcpu *vcpu, const struct arch_vcpu_state *saved, struct err *e)
{
	uint32_t host = host_khz(vcpu->hv->vm_fd, vcpu->fd), khz = saved->tsc_khz;

	if (host == 0 || khz == 0 || is_close(khz, host))
		return 0;
	if (ioctl(vcpu->hv->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) <= 0) {
		err_set(e, -ENOTSUP,
			"the snapshot's time stamp counter runs at %u kHz, this host's at %u kHz, "
			"and its CPU or KVM cannot scale it",
			khz, host);
		err_object(e, "CPU");
		return err_remedy(e, "restore it on a host with such a CPU, or bake it again on "
				     "this one");
	}
	if (ioctl(vcpu->fd, KVM_SET_TSC_KHZ, (unsigned long)khz) < 0)
		return kvm_err(e, "KVM_SET_TSC_KHZ");
	vcpu->arch->is_tsc_scaled = true;
	return 0;
}

/* ---- saving */

static int offset_call(struct hv_vcpu *vcpu, unsigned long call, uint64_t *offset)
{
	struct kvm_device_attr attribute = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)offset,
	};

	return ioctl(vcpu->fd, call, &attribute) < 0 ? -errno : 0;
}

/* The call, or the attribute, is newer than this kernel. */
static bool is_unknown(int r)
{
	return r == -ENOTTY || r == -ENXIO || r == -EINVAL;
}

static int read_tsc(struct hv_vcpu *vcpu, struct arch_vcpu_state *ret, struct err *e)
{
	uint64_t before, offset;
	int r;

	if (!vcpu->arch->is_tsc_scaled && offset_call(vcpu, KVM_GET_DEVICE_ATTR, &offset) == 0) {
		ret->host_tsc = __builtin_ia32_rdtsc();
		ret->tsc = ret->host_tsc + offset;
		return 0;
	}
	before = __builtin_ia32_rdtsc();
	r = kvm_msr_get(vcpu, MSR_TSC, &ret->tsc, e);
	ret->host_tsc = between(before, __builtin_ia32_rdtsc());
	return r;
}

int kvm_clock_save(struct hv_vcpu *vcpu, struct arch_vcpu_state *ret, struct err *e)
{
	int r, khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);

	ret->tsc_khz = khz > 0 && khz < X86_TSC_KHZ_MAX ? (uint32_t)khz : 0;
	r = read_tsc(vcpu, ret, e);
	return r < 0 ? r : kvm_msr_get(vcpu, MSR_TSC_DEADLINE, &ret->tsc_deadline, e);
}

int hv_save(struct hv *hv, struct arch_vm_state *ret, struct err *e)
{
	struct kvm_clock_data clock = {0};
	uint64_t before = __builtin_ia32_rdtsc(), after;

	if (ioctl(hv->vm_fd, KVM_GET_CLOCK, &clock) < 0)
		return kvm_err(e, "KVM_GET_CLOCK");
	after = __builtin_ia32_rdtsc();
	*ret = (struct arch_vm_state){
		.clock_ns = clock.clock,
		.host_tsc =
			clock.flags & KVM_CLOCK_HOST_TSC ? clock.host_tsc : between(before, after),
		.host_tsc_khz = host_khz(hv->vm_fd, -1),
	};
	return 0;
}

/* ---- loading */

int hv_load(struct hv *hv, const struct arch_vm_state *state, struct err *e)
{
	/* no flags: the time that has passed on the wall since is none of the guest's */
	struct kvm_clock_data clock = {.clock = state->clock_ns};
	uint64_t before = __builtin_ia32_rdtsc();

	if (ioctl(hv->vm_fd, KVM_SET_CLOCK, &clock) < 0)
		return kvm_err(e, "KVM_SET_CLOCK");
	hv->arch->resume = (struct kvm_resume){
		.saved_host_tsc = state->host_tsc,
		.saved_host_khz = state->host_tsc_khz,
		.host_tsc = between(before, __builtin_ia32_rdtsc()),
	};
	hv->arch->is_tsc_set = false;
	return 0;
}

/* What the guest's TSC was at hv_save, and is to be at hv_load. */
static uint64_t saved_tsc(const struct kvm_resume *resume, const struct arch_vcpu_state *s)
{
	return s->tsc +
	       ticks_at(resume->saved_host_tsc - s->host_tsc, s->tsc_khz, resume->saved_host_khz);
}

static int write_tsc_now(struct hv_vcpu *vcpu, uint64_t at_load, uint32_t khz, uint32_t host,
	uint64_t ahead, struct err *e)
{
	uint64_t passed = __builtin_ia32_rdtsc() - vcpu->hv->arch->resume.host_tsc;

	return kvm_msr_set(vcpu, MSR_TSC, at_load + ticks_at(passed, khz, host) + ahead, e);
}

/* The first vCPU's counts; the others' values are close to it, so KVM gives them its offset. */
static int write_tsc(struct hv_vcpu *vcpu, uint64_t at_load, uint32_t khz, struct err *e)
{
	struct hv_arch *arch = vcpu->hv->arch;
	uint32_t host = host_khz(vcpu->hv->vm_fd, -1);
	int r = 0;

	pthread_mutex_lock(&arch->lock);
	if (!arch->is_tsc_set)
		r = write_tsc_now(vcpu, at_load, khz, host, FAR_AWAY_TICKS, e);
	if (r == 0)
		r = write_tsc_now(vcpu, at_load, khz, host, 0, e);
	arch->is_tsc_set = r == 0;
	pthread_mutex_unlock(&arch->lock);
	return r;
}

static int load_tsc(struct hv_vcpu *vcpu, const struct arch_vcpu_state *s, struct err *e)
{
	const struct kvm_resume *resume = &vcpu->hv->arch->resume;
	uint64_t at_load = saved_tsc(resume, s), offset = at_load - resume->host_tsc;
	int r = -ENXIO;

	if (!vcpu->arch->is_tsc_scaled)
		r = offset_call(vcpu, KVM_SET_DEVICE_ATTR, &offset);
	if (is_unknown(r))
		return write_tsc(vcpu, at_load, s->tsc_khz, e);
	if (r == 0)
		return 0;
	errno = -r;
	return kvm_err(e, "KVM_SET_DEVICE_ATTR KVM_VCPU_TSC_OFFSET");
}

static bool has_kvm_clock(const struct arch_vcpu_state *s)
{
	for (unsigned i = 0; i < MIN(s->n_msrs, X86_MSRS_MAX); i++)
		if (s->msrs[i].index == MSR_SYSTEM_TIME)
			return s->msrs[i].value & SYSTEM_TIME_IN_USE;
	return false;
}

int hv_vcpu_load_clock(struct hv_vcpu *vcpu, const struct arch_vcpu_state *state, struct err *e)
{
	int r = load_tsc(vcpu, state, e);

	/* absolute, in guest time: only now does it mean what it meant */
	if (r == 0 && state->tsc_deadline)
		r = kvm_msr_set(vcpu, MSR_TSC_DEADLINE, state->tsc_deadline, e);
	/* tells the guest's watchdogs that it stood still; EINVAL: its clock is not on */
	if (r == 0 && has_kvm_clock(state) && ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0) < 0 &&
		errno != EINVAL)
		r = kvm_err(e, "KVM_KVMCLOCK_CTRL");
	return r < 0 ? err_ctx(e, "vCPU %u", vcpu->id) : 0;
}

int kvm_clock_disarm(struct hv_vcpu *vcpu, struct err *e)
{
	return kvm_msr_set(vcpu, MSR_TSC_DEADLINE, 0, e);
}
