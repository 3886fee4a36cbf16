// SPDX-License-Identifier: Apache-2.0
/*
 * Which CPU the guest is shown: what host and hypervisor can do, less what this machine does not
 * give (performance counters, nested virtualization, machine checks, power management, shadow
 * stacks), with the
 * topology of this machine: one socket, one thread a core, APIC ids 0 … n-1.
 */
#pragma once

#include "arch/x86_64/state.h"
#include "base/cc.h"

struct err;

/* Turns the `n` leaves that the hypervisor supports into those of vCPU `id` of n_vcpus, in place.
 * Returns the new number of leaves, or -ENOSPC when more than `room` would be needed. */
int x86_cpuid_policy(struct x86_cpuid *leaves, unsigned n, unsigned room, unsigned id,
	unsigned n_vcpus) MUST_CHECK;

/* Can a guest that was shown `saved` go on where the policy gives `host`? Every feature that it saw
 * must be there: vendor, instructions, XSAVE components and their layout, paravirtual features.
 * What differs from vCPU to vCPU or changes while a guest runs is not compared. Returns 0, or
 * -ENOTSUP with a sentence that names what is missing and what to do. Neither list is trusted. */
int x86_cpuid_compare(const struct x86_cpuid *saved, unsigned n_saved, const struct x86_cpuid *host,
	unsigned n_host, struct err *e) MUST_CHECK;
