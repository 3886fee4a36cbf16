// SPDX-License-Identifier: Apache-2.0
/*
 * What a memory slot costs before and after something was registered on KVM's I/O bus. Measured
 * and told, not judged: from Linux 6.18 on the second is some ten times the first or more, which
 * is why memory slots come first.
 */
#include "kvm.h"

#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 20 };

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void add_notification(int vm)
{
	struct kvm_ioeventfd notify = {.addr = 0x10000000, .len = 4, .fd = eventfd(0, EFD_CLOEXEC)};

	kvm_must("KVM_IOEVENTFD", ioctl(vm, KVM_IOEVENTFD, &notify));
	close(notify.fd);
}

/* Microseconds that the memory slot took. */
static double measure(int kvm, void *memory, int is_late)
{
	int vm = kvm_must("KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, 0));
	double from, took;

	if (is_late)
		add_notification(vm);
	from = now_us();
	kvm_slot(vm, 0, 0, memory, GUEST_BYTES);
	took = now_us() - from;
	if (!is_late)
		add_notification(vm);
	close(vm);
	return took;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	double first[ROUNDS], late[ROUNDS];
	int kvm = kvm_device();
	void *memory = kvm_memory(GUEST_BYTES);

	for (int i = 0; i < ROUNDS; i++) {
		first[i] = measure(kvm, memory, 0);
		late[i] = measure(kvm, memory, 1);
	}
	qsort(first, ROUNDS, sizeof(first[0]), by_value);
	qsort(late, ROUNDS, sizeof(late[0]), by_value);
	printf("memory slot first: %.0f us; after an ioeventfd: %.0f us (medians of %d)\n",
		first[ROUNDS / 2], late[ROUNDS / 2], ROUNDS);
	return 0;
}
