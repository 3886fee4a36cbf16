// SPDX-License-Identifier: Apache-2.0
/*
 * The I/O APIC in user space, for a hypervisor that keeps only the local APICs ("split irqchip"):
 * turns an edge on a pin into the message (address, data) that its redirection entry asks for.
 *
 * It does not know who delivers messages. Pins are raised from any thread, registers used from
 * vCPU threads; one mutex covers the registers and is not held while a message is delivered.
 */
#pragma once

#include <pthread.h>

#include "base/err.h"
#include "dev/irq.h"

struct bus;

enum {
	IOAPIC_PINS_MAX = 64,
	IOAPIC_BYTES = 0x1000, /* of MMIO space */
};

/* Delivers one message-signalled interrupt to the local APICs. Any thread. */
typedef void ioapic_msi(void *ctx, uint64_t address, uint32_t data);

struct ioapic {
	pthread_mutex_t lock;
	ioapic_msi *msi;
	void *msi_ctx;
	unsigned n_pins;
	uint8_t select; /* IOREGSEL */
	uint8_t id;
	uint64_t pending; /* bit n: an edge came on pin n while it was masked */
	uint64_t redirection[IOAPIC_PINS_MAX];
};

/* All of 1 … IOAPIC_PINS_MAX pins masked; as few as the machine needs, since an operating system
 * touches each many times while it starts. msi_ctx is borrowed. */
void ioapic_init(struct ioapic *io, unsigned n_pins, ioapic_msi *msi, void *msi_ctx);
void ioapic_fini(struct ioapic *io);

struct snapio;

/* Walks its registers; the number of pins must be the same. No vCPU and no device runs. */
void ioapic_snap(struct ioapic *io, struct snapio *snap);

/* Puts it on the MMIO bus at `base` (0xfec00000 on a PC). As bus_add. */
int ioapic_register(struct ioapic *io, struct bus *mmio, uint64_t base, struct err *e) MUST_CHECK;

/* One edge on a pin; pins that do not exist are ignored. Any thread. */
void ioapic_raise(struct ioapic *io, unsigned pin);

/* The pin as a line for a device. */
struct irq ioapic_irq(struct ioapic *io, unsigned pin);
