// SPDX-License-Identifier: Apache-2.0
#include "saved.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "base/err.h"
#include "base/snapio.h"

enum { STATE_MAX = 1 << 20 };

static struct arch_vcpu_state *new_state(void)
{
	struct arch_vcpu_state *s = arch_vcpu_state_new();

	if (!s)
		tiny_fail("no memory for a vCPU's state");
	return s;
}

void saved_vcpu_to_bytes(struct arch_vcpu_state *s, struct buf *out)
{
	struct err e = {0};
	struct snapio io;

	snapio_save_to(&io, "vcpu", 1, out);
	arch_vcpu_state_snap(s, &io);
	tiny_must(snapio_end(&io, &e), &e);
}

/* To bytes and back. */
static void pass_vcpu(struct arch_vcpu_state *from, struct arch_vcpu_state *to)
{
	struct err e = {0};
	struct snapio io;
	struct buf bytes;

	buf_init(&bytes, STATE_MAX);
	saved_vcpu_to_bytes(from, &bytes);
	snapio_load_from(&io, "vcpu", 1, bytes.data, bytes.bytes);
	arch_vcpu_state_snap(to, &io);
	tiny_must(snapio_end(&io, &e), &e);
	buf_fini(&bytes);
}

static void pass_vm(struct arch_vm_state *from, struct arch_vm_state *to)
{
	struct err e = {0};
	struct snapio io;
	struct buf bytes;

	buf_init(&bytes, STATE_MAX);
	snapio_save_to(&io, "vm", 1, &bytes);
	arch_vm_state_snap(from, &io);
	tiny_must(snapio_end(&io, &e), &e);
	snapio_load_from(&io, "vm", 1, bytes.data, bytes.bytes);
	arch_vm_state_snap(to, &io);
	tiny_must(snapio_end(&io, &e), &e);
	buf_fini(&bytes);
}

void saved_take(struct saved *s, struct tiny *t)
{
	struct arch_vcpu_state *state = new_state();
	struct arch_vm_state vm;
	struct err e = {0};

	*s = (struct saved){.n_vcpus = t->n_vcpus};
	for (unsigned i = 0; i < t->n_vcpus; i++) {
		tiny_must(hv_vcpu_save(t->vcpus[i], state, &e), &e);
		s->vcpus[i] = new_state();
		pass_vcpu(state, s->vcpus[i]);
	}
	tiny_must(hv_save(t->hv, &vm, &e), &e);
	pass_vm(&vm, &s->vm);
	arch_vcpu_state_free(state);
	s->memory = malloc(TINY_RAM_BYTES);
	if (!s->memory)
		tiny_fail("no memory for the guest's");
	memcpy(s->memory, t->memory.regions[0].host, TINY_RAM_BYTES);
}

void saved_free(struct saved *s)
{
	for (unsigned i = 0; i < s->n_vcpus; i++)
		arch_vcpu_state_free(s->vcpus[i]);
	free(s->memory);
}

static void load(const struct saved *s, struct tiny *t)
{
	struct err e = {0};

	memcpy(t->memory.regions[0].host, s->memory, TINY_RAM_BYTES);
	for (unsigned i = 0; i < s->n_vcpus; i++)
		tiny_must(hv_vcpu_load(t->vcpus[i], s->vcpus[i], &e), &e);
	tiny_must(hv_load(t->hv, &s->vm, &e), &e);
	for (unsigned i = 0; i < s->n_vcpus; i++)
		tiny_must(hv_vcpu_load_clock(t->vcpus[i], s->vcpus[i], &e), &e);
}

void saved_restore(const struct saved *s, struct tiny *t)
{
	const struct gmem_range ram = {0, TINY_RAM_BYTES};
	struct err e = {0};

	*t = (struct tiny){.n_vcpus = s->n_vcpus};
	tiny_must(gmem_init(&t->memory, &ram, 1, &e), &e);
	tiny_open_vm(t);
	for (unsigned i = 0; i < s->n_vcpus; i++)
		tiny_must(hv_vcpu_new(t->hv, i, s->n_vcpus, s->vcpus[i], &t->vcpus[i], &e), &e);
	load(s, t);
}

void saved_reload(const struct saved *s, struct tiny *t)
{
	load(s, t);
}

/* ---- comparing */

/* The bytes without what the clocks' moment changes. */
static void timeless(const struct arch_vcpu_state *s, struct buf *out)
{
	struct arch_vcpu_state *copy = new_state();

	*copy = *s;
	copy->tsc = copy->host_tsc = 0;
	saved_vcpu_to_bytes(copy, out);
	arch_vcpu_state_free(copy);
}

void saved_expect_equal(const struct saved *a, const struct saved *b)
{
	struct buf left, right;

	tiny_equal("the number of vCPUs", b->n_vcpus, a->n_vcpus);
	for (unsigned i = 0; i < a->n_vcpus; i++) {
		buf_init(&left, STATE_MAX);
		buf_init(&right, STATE_MAX);
		timeless(a->vcpus[i], &left);
		timeless(b->vcpus[i], &right);
		tiny_equal("the size of the state", right.bytes, left.bytes);
		for (size_t at = 0; at < left.bytes; at++)
			if (left.data[at] != right.data[at])
				tiny_fail("vCPU %u: byte %zu of its state is 0x%02x, not 0x%02x", i,
					at, right.data[at], left.data[at]);
		buf_fini(&left);
		buf_fini(&right);
	}
}

bool saved_has_tsc_offset(const struct saved *s)
{
	return s->vcpus[0]->tsc != s->vcpus[0]->host_tsc;
}
