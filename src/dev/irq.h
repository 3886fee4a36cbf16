// SPDX-License-Identifier: Apache-2.0
/*
 * An interrupt line as a device sees it: something to pulse. Every line of this machine is
 * edge-triggered, so there is no "lower"; raising twice before the guest looks is one interrupt or
 * two, and devices must be right either way. May be raised from any thread.
 */
#pragma once

struct irq {
	void (*raise)(void *ctx, unsigned line);
	void *ctx;
	unsigned line;
};

static inline void irq_raise(const struct irq *irq)
{
	irq->raise(irq->ctx, irq->line);
}
