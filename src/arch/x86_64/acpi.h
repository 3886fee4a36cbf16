// SPDX-License-Identifier: Apache-2.0
/*
 * ACPI tables just large enough for Linux: a hardware-reduced machine (no PM timer, no SCI) with
 * its vCPUs, one IOAPIC, the virtio-mmio devices (LNRO0005), the serial port, sleep and reset
 * registers, and the VM generation ID with the event device that announces its change.
 */
#pragma once

#include "arch/plan.h"
#include "base/cc.h"

struct acpi_machine {
	unsigned n_vcpus;
	const struct virtio_mmio_slot *slots;
	unsigned n_slots;
};

/* Writes RSDP, XSDT, FADT, MADT and DSDT, the RSDP first, as they are to be seen at guest address
 * gpa (16-byte aligned). Returns the bytes used or -ENOSPC. */
int64_t acpi_write(void *at, size_t room, gpa_t gpa, const struct acpi_machine *m) MUST_CHECK;
