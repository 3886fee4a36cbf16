// SPDX-License-Identifier: Apache-2.0
#include "arch/plan.h"

#include <errno.h>

#include "arch/layout.h"

_Static_assert(LAYOUT_IRQ_BASE + VIRTIO_MMIO_SLOTS_MAX < LAYOUT_IOAPIC_PINS,
	"every slot has a pin of its own");

static enum virtio_slot_kind kind_of(unsigned slot, unsigned n_blocks)
{
	if (slot == 0)
		return VIRTIO_SLOT_VSOCK;
	if (slot <= n_blocks)
		return VIRTIO_SLOT_BLOCK;
	return slot == n_blocks + 1 ? VIRTIO_SLOT_RNG : VIRTIO_SLOT_BALLOON;
}

int virtio_mmio_plan(unsigned n_blocks, struct virtio_mmio_slot *slots, unsigned room)
{
	unsigned n;

	if (n_blocks > VIRTIO_MMIO_BLOCKS_MAX)
		return -E2BIG;
	n = n_blocks + VIRTIO_MMIO_FIXED;
	if (room < n)
		return -ENOSPC;
	for (unsigned i = 0; i < n; i++)
		slots[i] = (struct virtio_mmio_slot){
			.kind = kind_of(i, n_blocks),
			.base = LAYOUT_VIRTIO_MMIO_BASE + i * LAYOUT_VIRTIO_MMIO_STRIDE,
			/* the line after the first is the serial port's */
			.irq = LAYOUT_IRQ_BASE + (i ? i + 1 : 0),
		};
	return (int)n;
}
