// SPDX-License-Identifier: Apache-2.0
/*
 * Which CPU the guest is shown: what host and hypervisor can do, less what this machine does not
 * give (performance counters, nested virtualization, machine checks, power management), with the
 * topology of this machine: one socket, one thread a core, APIC ids 0 … n-1.
 */
#pragma once

#include "arch/x86_64/state.h"
#include "base/cc.h"

enum {
	X86_CPUID_MAX = 160, /* leaves that a list may hold */
	X86_CPUID_EXTRA = 4, /* room that the policy may need beyond what it was given */
};

/* Turns the `n` leaves that the hypervisor supports into those of vCPU `id` of n_vcpus, in place.
 * Returns the new number of leaves, or -ENOSPC when more than `room` would be needed. */
int x86_cpuid_policy(struct x86_cpuid *leaves, unsigned n, unsigned room, unsigned id,
	unsigned n_vcpus) MUST_CHECK;
