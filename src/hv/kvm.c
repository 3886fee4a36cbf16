// SPDX-License-Identifier: Apache-2.0
/*
 * A VM under KVM: creating it, its memory slots, its eventfds and messages. What a vCPU does is in
 * kvm_vcpu.c, what depends on the architecture in kvm_<architecture>.c.
 */
#include "hv/kvm_int.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/err.h"

int kvm_err(struct err *e, const char *call)
{
	int code = err_sys(e, "%s", call);

	err_object(e, "KVM");
	switch (code) {
	case -ENOMEM:
		err_remedy(e, "free memory on the host, or give the VM less");
		break;
	case -EMFILE:
	case -ENFILE:
		err_remedy(e, "raise the limit of open files (ulimit -n)");
		break;
	case -ENOTTY:
	case -EINVAL:
	case -EOPNOTSUPP:
		err_remedy(e, "the host's KVM may be too old or not complete: run "
			      "`supermachine doctor`");
		break;
	}
	return code;
}

static int check_version(int kvm_fd, struct err *e)
{
	int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);

	if (version < 0) {
		err_sys(e, "KVM_GET_API_VERSION");
		err_object(e, "/dev/kvm");
		return err_remedy(e, "this is not the KVM device");
	}
	if (version != KVM_API_VERSION) {
		err_set(e, -ENOTSUP, "it speaks version %d of the KVM interface, not %d", version,
			KVM_API_VERSION);
		err_object(e, "/dev/kvm");
		return err_remedy(e, "use a host with Linux 5.10 or later");
	}
	return 0;
}

static int create_vm(struct hv *hv, struct err *e)
{
	int r;

	do
		r = ioctl(hv->kvm_fd, KVM_CREATE_VM, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return kvm_err(e, "KVM_CREATE_VM");
	hv->vm_fd = r;
	r = ioctl(hv->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (r < 0)
		return kvm_err(e, "KVM_GET_VCPU_MMAP_SIZE");
	hv->run_bytes = (size_t)r;
	return 0;
}

int hv_open(int kvm_fd, struct hv **ret, struct err *e)
{
	struct hv *hv;
	int r;

	r = check_version(kvm_fd, e);
	if (r < 0)
		return r;
	hv = calloc(1, sizeof(*hv));
	if (!hv)
		return err_set(e, -ENOMEM, "no memory for a VM");
	hv->kvm_fd = kvm_fd;
	hv->vm_fd = -1;
	r = create_vm(hv, e);
	if (r == 0)
		r = hv_arch_open(hv, e);
	if (r < 0) {
		hv_close(hv);
		return r;
	}
	*ret = hv;
	return 0;
}

void hv_close(struct hv *hv)
{
	int saved = errno;

	if (!hv)
		return;
	hv_arch_close(hv);
	if (hv->vm_fd >= 0)
		close(hv->vm_fd);
	free(hv);
	errno = saved;
}

int hv_map(struct hv *hv, unsigned slot, uint64_t gpa, void *host, uint64_t bytes, struct err *e)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)host,
	};

	if (ioctl(hv->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
		kvm_err(e, "KVM_SET_USER_MEMORY_REGION");
		return err_ctx(e, "memory slot %u (0x%llx bytes at 0x%llx)", slot,
			(unsigned long long)bytes, (unsigned long long)gpa);
	}
	return 0;
}

int hv_signal_msi(struct hv *hv, uint64_t address, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)address,
		.address_hi = (uint32_t)(address >> 32),
		.data = data,
	};

	/* more than 0: delivered; 0: the guest has its APIC off */
	return ioctl(hv->vm_fd, KVM_SIGNAL_MSI, &msi) < 0 ? -errno : 0;
}

int hv_notify_fd(struct hv *hv, uint64_t gpa, unsigned bytes, bool has_datamatch,
	uint64_t datamatch, int eventfd, struct err *e)
{
	struct kvm_ioeventfd notify = {
		.datamatch = datamatch,
		.addr = gpa,
		.len = bytes,
		.fd = eventfd,
		.flags = has_datamatch ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0,
	};

	if (ioctl(hv->vm_fd, KVM_IOEVENTFD, &notify) < 0) {
		kvm_err(e, "KVM_IOEVENTFD");
		return err_ctx(e, "notification at 0x%llx", (unsigned long long)gpa);
	}
	return 0;
}
