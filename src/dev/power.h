// SPDX-License-Identifier: Apache-2.0
/*
 * How the guest turns the machine off or resets it: the sleep control, sleep status and reset
 * registers of hardware-reduced ACPI (ACPI 6.4 §4.8.3.6, §4.8.3.7), one byte of port space each.
 * Stateless, so any vCPU thread may use it without a lock.
 */
#pragma once

#include "base/err.h"

struct bus;

enum {
	POWER_SLEEP_TYPE_OFF = 5, /* SLP_TYP that \_S5 in the ACPI tables must name */
	POWER_RESET_VALUE = 0x5a, /* RESET_VALUE that the FADT must name */
};

enum power_event { POWER_OFF, POWER_RESET };

struct power_ports {
	uint16_t sleep_control;
	uint16_t sleep_status;
	uint16_t reset;
};

struct power {
	/* Called on the vCPU thread that asked; must only note it and return. */
	void (*event)(void *ctx, enum power_event event);
	void *ctx;
};

/* Puts the registers on a port bus; p is borrowed for as long as the bus lives. As bus_add. */
int power_register(struct power *p, struct bus *pio, const struct power_ports *ports,
	struct err *e) MUST_CHECK;
