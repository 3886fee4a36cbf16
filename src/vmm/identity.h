// SPDX-License-Identifier: Apache-2.0
/*
 * What the hypervisor itself must not let two clones share: the VM generation ID. The rest of a
 * clone's identity (random numbers, clock, names) is given to it by the library through the agent.
 */
#pragma once

#include "base/err.h"

struct gmem;
struct ioapic;

/* A new ID in guest memory. Before the vCPUs run. */
int identity_renew(const struct gmem *memory, struct err *e) MUST_CHECK;

/* Tells the guest that it has changed, by the device's interrupt (ACPI 6.4 §5.6.6: Notify 0x80). */
void identity_announce(struct ioapic *ioapic);
