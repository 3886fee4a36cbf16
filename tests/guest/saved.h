// SPDX-License-Identifier: Apache-2.0
/* Snapshots of tiny guests: their vCPUs' and VM's state, through the same bytes that a snapshot's
 * file holds, and a copy of their memory. */
#pragma once

#include "base/buf.h"
#include "harness.h"

struct saved {
	unsigned n_vcpus;
	struct arch_vcpu_state *vcpus[TINY_VCPUS_MAX];
	struct arch_vm_state vm;
	uint8_t *memory;
};

/* All vCPUs must be at rest. */
void saved_take(struct saved *s, struct tiny *t);
void saved_free(struct saved *s);

/* A new VM that is the snapshot. */
void saved_restore(const struct saved *s, struct tiny *t);

/* The VM that was saved, or is a restored one, is the snapshot again. */
void saved_reload(const struct saved *s, struct tiny *t);

/* Appends what a snapshot's file holds of a vCPU. */
void saved_vcpu_to_bytes(struct arch_vcpu_state *s, struct buf *out);

/* The state of both is the same, but for the moment of the clocks. */
void saved_expect_equal(const struct saved *a, const struct saved *b);

/* Whether this KVM keeps an offset between the host's TSC and a guest's. PVM does not. */
bool saved_has_tsc_offset(const struct saved *s);
