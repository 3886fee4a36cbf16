// SPDX-License-Identifier: Apache-2.0
/*
 * A vCPU under KVM: its life, its run loop's one step, and the kick that ends the step.
 *
 * A kick sets immediate_exit, which the next KVM_RUN honours before it enters the guest, and sends
 * a signal, which ends a KVM_RUN that goes on. Both together leave no gap. The flag is taken down
 * when the interruption is reported; whoever kicked has set its reason before.
 */
#include "hv/kvm_int.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"

int hv_vcpu_new(struct hv *hv, unsigned id, unsigned n_vcpus, const struct arch_vcpu_state *saved,
	struct hv_vcpu **ret, struct err *e)
{
	struct hv_vcpu *vcpu = calloc(1, sizeof(*vcpu));
	int r;

	if (!vcpu)
		return err_set(e, -ENOMEM, "no memory for vCPU %u", id);
	vcpu->hv = hv;
	vcpu->id = id;
	vcpu->run = MAP_FAILED;
	vcpu->fd = ioctl(hv->vm_fd, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0) {
		r = kvm_err(e, "KVM_CREATE_VCPU");
		goto fail;
	}
	vcpu->run = mmap(NULL, hv->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		r = kvm_err(e, "mmap of the vCPU's shared page");
		goto fail;
	}
	r = hv_arch_vcpu_init(vcpu, n_vcpus, saved, e);
	if (r < 0)
		goto fail;
	*ret = vcpu;
	return 0;
fail:
	if (r != -ENOTSUP) /* what the host lacks is no one vCPU's fault */
		err_ctx(e, "vCPU %u", id);
	hv_vcpu_free(vcpu);
	return r;
}

void hv_vcpu_free(struct hv_vcpu *vcpu)
{
	int saved = errno;

	if (!vcpu)
		return;
	hv_arch_vcpu_fini(vcpu);
	if (vcpu->run != MAP_FAILED)
		munmap(vcpu->run, vcpu->hv->run_bytes);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	free(vcpu);
	errno = saved;
}

/* ---- kick */

int kvm_kick_signal(void)
{
	return SIGRTMIN;
}

static void on_kick(int signal)
{
	(void)signal; /* its arrival is all that matters: KVM_RUN returns */
}

int hv_vcpu_bind_thread(struct hv_vcpu *vcpu, struct err *e)
{
	struct sigaction action = {.sa_handler = on_kick};
	sigset_t kick;

	sigemptyset(&action.sa_mask);
	sigemptyset(&kick);
	sigaddset(&kick, kvm_kick_signal());
	if (sigaction(kvm_kick_signal(), &action, NULL) < 0)
		return err_sys(e, "sigaction for the kick signal");
	errno = pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	if (errno)
		return err_sys(e, "pthread_sigmask for the kick signal");
	atomic_store(&vcpu->thread, (pid_t)syscall(SYS_gettid));
	return 0;
}

void hv_vcpu_kick(struct hv_vcpu *vcpu)
{
	int saved = errno;
	pid_t thread;

	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	thread = atomic_load(&vcpu->thread);
	if (thread)
		syscall(SYS_tgkill, getpid(), thread, kvm_kick_signal());
	errno = saved;
}

/* ---- exits */

static void exit_interrupted(struct hv_vcpu *vcpu, struct hv_exit *ret)
{
	__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	*ret = (struct hv_exit){.kind = HV_EXIT_INTERRUPTED};
}

static void exit_mmio(struct kvm_run *run, struct hv_exit *ret)
{
	*ret = (struct hv_exit){
		.kind = run->mmio.is_write ? HV_EXIT_MMIO_WRITE : HV_EXIT_MMIO_READ,
		.address = run->mmio.phys_addr,
		.bytes = run->mmio.len,
		.count = 1,
		.data = run->mmio.data,
	};
}

static void exit_pio(struct kvm_run *run, struct hv_exit *ret)
{
	*ret = (struct hv_exit){
		.kind = run->io.direction == KVM_EXIT_IO_OUT ? HV_EXIT_PIO_OUT : HV_EXIT_PIO_IN,
		.address = run->io.port,
		.bytes = run->io.size,
		.count = run->io.count,
		.data = (uint8_t *)run + run->io.data_offset,
	};
}

/* "The instruction's bytes", when KVM tells them. */
static void describe_instruction(const struct kvm_run *run, char *out, size_t room)
{
	const uint8_t *bytes = run->emulation_failure.insn_bytes;
	unsigned n = MIN(run->emulation_failure.insn_size, 15);
	size_t at = 0;

	out[0] = '\0';
	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION ||
		run->emulation_failure.ndata < 1 ||
		!(run->emulation_failure.flags &
			KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		return;
	at += (size_t)snprintf(out, room, ", instruction");
	for (unsigned i = 0; i < n && at + 4 < room; i++)
		at += (size_t)snprintf(out + at, room - at, " %02x", bytes[i]);
}

static const char *suberror_name(unsigned suberror)
{
	switch (suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		return "emulation failure";
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		return "simultaneous exceptions";
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		return "an event could not be delivered";
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
		return "unexpected exit reason";
	}
	return "unknown";
}

static int fail_internal(struct hv_vcpu *vcpu, struct err *e)
{
	char instruction[64];

	describe_instruction(vcpu->run, instruction, sizeof(instruction));
	err_set(e, -EIO, "KVM cannot go on at 0x%llx: internal error %u, %s%s",
		(unsigned long long)hv_arch_position(vcpu), vcpu->run->internal.suberror,
		suberror_name(vcpu->run->internal.suberror), instruction);
	err_object(e, "vCPU %u", vcpu->id);
	return err_remedy(e, "run `supermachine doctor`: this host's KVM may not be able to run "
			     "Linux guests");
}

static int fail_entry(struct hv_vcpu *vcpu, struct err *e)
{
	err_set(e, -EIO, "the processor refused to enter the guest at 0x%llx: reason 0x%llx",
		(unsigned long long)hv_arch_position(vcpu),
		(unsigned long long)vcpu->run->fail_entry.hardware_entry_failure_reason);
	err_object(e, "vCPU %u", vcpu->id);
	return err_remedy(e, "look into the host's kernel log (dmesg)");
}

static int exit_system_event(struct hv_vcpu *vcpu, struct hv_exit *ret, struct err *e)
{
	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		*ret = (struct hv_exit){.kind = HV_EXIT_POWER_OFF};
		return 0;
	case KVM_SYSTEM_EVENT_RESET:
		*ret = (struct hv_exit){.kind = HV_EXIT_RESET};
		return 0;
	}
	err_set(e, -EIO, "unexpected system event %u", vcpu->run->system_event.type);
	return err_object(e, "vCPU %u", vcpu->id);
}

static int exit_of(struct hv_vcpu *vcpu, struct hv_exit *ret, struct err *e)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		exit_mmio(run, ret);
		return 0;
	case KVM_EXIT_IO:
		exit_pio(run, ret);
		return 0;
	case KVM_EXIT_HLT:
		*ret = (struct hv_exit){.kind = HV_EXIT_HALT};
		return 0;
	case KVM_EXIT_SHUTDOWN:
		*ret = (struct hv_exit){.kind = HV_EXIT_SHUTDOWN};
		return 0;
	case KVM_EXIT_INTR:
		exit_interrupted(vcpu, ret);
		return 0;
	case KVM_EXIT_SYSTEM_EVENT:
		return exit_system_event(vcpu, ret, e);
	case KVM_EXIT_INTERNAL_ERROR:
		return fail_internal(vcpu, e);
	case KVM_EXIT_FAIL_ENTRY:
		return fail_entry(vcpu, e);
	}
	err_set(e, -EIO, "unexpected KVM exit %u at 0x%llx", run->exit_reason,
		(unsigned long long)hv_arch_position(vcpu));
	return err_object(e, "vCPU %u", vcpu->id);
}

int hv_vcpu_run(struct hv_vcpu *vcpu, struct hv_exit *ret, struct err *e)
{
	int r;

	vcpu->was_used = true;
	/* EAGAIN: a waiting vCPU was woken without having been started */
	do
		r = ioctl(vcpu->fd, KVM_RUN, 0);
	while (r < 0 && errno == EAGAIN);
	if (r < 0 && errno == EINTR) {
		exit_interrupted(vcpu, ret);
		return 0;
	}
	if (r < 0) {
		kvm_err(e, "KVM_RUN");
		return err_ctx(e, "vCPU %u at 0x%llx", vcpu->id,
			(unsigned long long)hv_arch_position(vcpu));
	}
	return exit_of(vcpu, ret, e);
}
