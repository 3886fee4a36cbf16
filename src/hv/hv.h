// SPDX-License-Identifier: Apache-2.0
/*
 * The hypervisor: one VM, its memory, its vCPUs, its interrupts. Which implementation stands behind
 * it is chosen when linking. It knows no device and does not own guest memory.
 *
 * Order of building, which is also the fast one (memory slots before anything that KVM registers
 * on its I/O bus): hv_open, every hv_map, hv_irqchip_init, hv_vcpu_new for ids 0 … n-1,
 * hv_notify_fd. They are called from one thread before the vCPUs run, but for hv_vcpu_new and all
 * of hv_vcpu_*, which belong to the vCPU's thread (all vCPUs at once is fine); hv_signal_msi and
 * hv_vcpu_kick may be called from any thread, and what saves or loads state from any while the vCPU
 * does not run. Every failure is -errno with an err that names the call and the remedy.
 */
#pragma once

#include "base/cc.h"

struct arch_boot_state;
struct arch_vcpu_state;
struct arch_vm_state;
struct err;
struct hv;
struct hv_vcpu;

enum { HV_VCPUS_MAX = 16 };

/* Tells whether real Linux guests can run behind kvm_fd (borrowed): builds a VM and runs a handful
 * of 64-bit ring-0 instructions in it, SSE and `lock cmpxchg16b` among them. Takes milliseconds and
 * never more than about a second. Returns 0; -ENOTSUP with a sentence that says what failed; or
 * what hv_open returns. Call it in a process that runs no VM of its own. */
int hv_probe(int kvm_fd, struct err *e) MUST_CHECK;

/* A new VM without memory or vCPUs. kvm_fd, an open /dev/kvm, is borrowed until the last
 * hv_vcpu_new has returned. */
int hv_open(int kvm_fd, struct hv **ret, struct err *e) MUST_CHECK;

/* Ends the VM; its vCPUs must have been freed. NULL is fine. May sleep some milliseconds. */
void hv_close(struct hv *hv);

/* Backs guest-physical [gpa, gpa + bytes) by host memory, which must outlive the VM. Slots are
 * numbered from 0. */
int hv_map(struct hv *hv, unsigned slot, uint64_t gpa, void *host, uint64_t bytes,
	struct err *e) MUST_CHECK;

/* Local APICs in the kernel, no IOAPIC, no PIC, no PIT: the IOAPIC is a device of ours that
 * delivers by hv_signal_msi. After every hv_map, before the first hv_vcpu_new. */
int hv_irqchip_init(struct hv *hv, struct err *e) MUST_CHECK;

/* vCPU `id` of n_vcpus. 0 is the boot processor; the others wait in the kernel, inside
 * hv_vcpu_run, until the guest starts them. Shows the guest the CPU that the policy allows; with
 * `saved`, the one that the guest of a snapshot was shown, and -ENOTSUP with a sentence that names
 * the features when this host lacks some. */
int hv_vcpu_new(struct hv *hv, unsigned id, unsigned n_vcpus, const struct arch_vcpu_state *saved,
	struct hv_vcpu **ret, struct err *e) MUST_CHECK;
void hv_vcpu_free(struct hv_vcpu *vcpu);

/* Says that every `saved` comes from this very host since it was booted, so that hv_vcpu_new need
 * not compare CPUs: to ask KVM what it can do takes a quarter of a millisecond where CPUID is
 * intercepted. Before the first hv_vcpu_new. */
void hv_assume_same_host(struct hv *hv);

/* State at cold boot, for every vCPU: vCPU 0 gets the registers, all get the firmware's MSRs. */
int hv_vcpu_set_boot(
	struct hv_vcpu *vcpu, const struct arch_boot_state *state, struct err *e) MUST_CHECK;

/* Starts a vCPU that waits for the guest's start signal as though it had come, at the registers
 * given. For guests that bring no start code of their own. */
int hv_vcpu_set_running(
	struct hv_vcpu *vcpu, const struct arch_boot_state *state, struct err *e) MUST_CHECK;

/* Binds the calling thread to the vCPU, so that kicks reach it. Before the first hv_vcpu_run on
 * that thread. Kicks that came earlier are not lost. */
int hv_vcpu_bind_thread(struct hv_vcpu *vcpu, struct err *e) MUST_CHECK;

enum hv_exit_kind {
	HV_EXIT_MMIO_READ,   /* answer into data before the next run */
	HV_EXIT_MMIO_WRITE,  /* data holds what was written */
	HV_EXIT_PIO_IN,	     /* as MMIO_READ; count > 1 for `rep ins` */
	HV_EXIT_PIO_OUT,     /* as MMIO_WRITE; count > 1 for `rep outs` */
	HV_EXIT_INTERRUPTED, /* a kick or another signal */
	HV_EXIT_HALT,	     /* halted with nothing in the kernel to wake it (no irqchip) */
	HV_EXIT_SHUTDOWN,  /* triple fault: x86 for "reset me" or for a kernel that crashed badly */
	HV_EXIT_POWER_OFF, /* asked of the hypervisor itself (PSCI on aarch64) */
	HV_EXIT_RESET,
};

struct hv_exit {
	enum hv_exit_kind kind;
	uint32_t bytes;	  /* of one access: 1, 2, 4 or 8 */
	uint32_t count;	  /* accesses of that size in data, one after the other; MMIO: 1 */
	uint64_t address; /* guest-physical address, or port */
	void *data;	  /* bytes * count bytes, valid until the next hv_vcpu_run */
};

/* Runs the guest until something needs us. Returns 0 with *ret set. A vCPU that cannot go on
 * (entry refused, instruction that could not be emulated, failed call) returns a negative code
 * and an err that says where and why: it must not be run again. */
int hv_vcpu_run(struct hv_vcpu *vcpu, struct hv_exit *ret, struct err *e) MUST_CHECK;

/* Makes hv_vcpu_run return HV_EXIT_INTERRUPTED soon: the run that goes on now or, if none does, the
 * next one. Set the reason first, then kick. Any thread; not after hv_vcpu_free. */
void hv_vcpu_kick(struct hv_vcpu *vcpu);

/* Delivers a message-signalled interrupt. Returns 0, also when the guest's APIC is not enabled and
 * takes nothing; -errno otherwise. Any thread. */
int hv_signal_msi(struct hv *hv, uint64_t address, uint32_t data) MUST_CHECK;

/* From now on a guest write of `bytes` bytes (0: of any size) at gpa signals eventfd (borrowed)
 * instead of leaving the guest; only the value datamatch if has_datamatch. After every hv_map. */
int hv_notify_fd(struct hv *hv, uint64_t gpa, unsigned bytes, bool has_datamatch,
	uint64_t datamatch, int eventfd, struct err *e) MUST_CHECK;

/* ---- state, for snapshots. A vCPU whose state is saved or loaded must be outside hv_vcpu_run, and
 * its last exit, if it ran, must have been HV_EXIT_INTERRUPTED, so that no access is half done;
 * then these may be called from any thread, for several vCPUs at once. */

/* Saving: first every vCPU, then what they share, all at rest meanwhile. Changes nothing: the vCPU
 * may run on. */
int hv_vcpu_save(struct hv_vcpu *vcpu, struct arch_vcpu_state *ret, struct err *e) MUST_CHECK;
int hv_save(struct hv *hv, struct arch_vm_state *ret, struct err *e) MUST_CHECK;

/* Loading, in this order: hv_vcpu_load of every vCPU (all but time), as early as one likes; then,
 * at the very end, hv_load, from which moment the guest's clocks go on where they stood when saved,
 * and hv_vcpu_load_clock of every vCPU before it runs. Works on vCPUs that hv_vcpu_new made with
 * this state as `saved` and that are new, or ran. A kick that came is kept. After a failure the
 * vCPU must not run; it may be loaded again. */
int hv_vcpu_load(
	struct hv_vcpu *vcpu, const struct arch_vcpu_state *state, struct err *e) MUST_CHECK;
int hv_load(struct hv *hv, const struct arch_vm_state *state, struct err *e) MUST_CHECK;
int hv_vcpu_load_clock(
	struct hv_vcpu *vcpu, const struct arch_vcpu_state *state, struct err *e) MUST_CHECK;
