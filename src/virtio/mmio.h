// SPDX-License-Identifier: Apache-2.0
/*
 * The virtio-mmio transport, version 2 (virtio 1.2 §4.2): registers to the functions of virtio.h.
 * Runs on vCPU threads; takes the device's lock for everything but notifications and the interrupt
 * and status registers.
 */
#pragma once

#include "base/err.h"

struct bus;
struct virtio_dev;

enum {
	VIRTIO_MMIO_BYTES = 0x200,	 /* of address space that a device needs at least */
	VIRTIO_MMIO_QUEUE_NOTIFY = 0x50, /* offset of the register for virtio_notify_fd */
};

/* Puts the device on the MMIO bus at `base`; `bytes` is VIRTIO_MMIO_BYTES or more. As bus_add. */
int virtio_mmio_register(struct virtio_dev *d, struct bus *mmio, uint64_t base, uint64_t bytes,
	struct err *e) MUST_CHECK;
