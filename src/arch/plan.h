// SPDX-License-Identifier: Apache-2.0
/*
 * The virtio-mmio plan: which device sits at which address and on which interrupt line. It is the
 * single source for the MMIO bus, for the ACPI tables and for the device tree.
 *
 * Slot 0 is the vsock device, then the block devices (layers, then volumes), then the entropy
 * source and the balloon. Every slot after the first has its interrupt moved up by one: that skips
 * the serial port, which has the line after the first.
 */
#pragma once

#include "base/cc.h"
#include "mem/gpa.h"

enum virtio_slot_kind {
	VIRTIO_SLOT_VSOCK,
	VIRTIO_SLOT_BLOCK,
	VIRTIO_SLOT_RNG,
	VIRTIO_SLOT_BALLOON,
};

struct virtio_mmio_slot {
	enum virtio_slot_kind kind;
	gpa_t base;
	unsigned irq; /* x86_64: GSI = IOAPIC pin; aarch64: INTID */
};

enum {
	VIRTIO_MMIO_FIXED = 3, /* vsock, rng, balloon */
	VIRTIO_MMIO_BLOCKS_MAX = 32,
	VIRTIO_MMIO_SLOTS_MAX = VIRTIO_MMIO_BLOCKS_MAX + VIRTIO_MMIO_FIXED,
};

/* Writes the plan for n_blocks block devices. Returns the number of entries (n_blocks + 3),
 * -E2BIG for more than VIRTIO_MMIO_BLOCKS_MAX, or -ENOSPC when `room` is too small (then nothing
 * is written). */
int virtio_mmio_plan(unsigned n_blocks, struct virtio_mmio_slot *slots, unsigned room) MUST_CHECK;
