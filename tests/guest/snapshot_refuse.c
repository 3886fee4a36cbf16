// SPDX-License-Identifier: Apache-2.0
/* A snapshot that does not fit this host, or whose registers no processor takes, is refused with a
 * sentence; whatever a file holds, loading it returns, and the VM can be loaded again. */
#include "saved.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "base/err.h"
#include "base/snapio.h"

enum {
	ROUNDS = 400,
	FLIPS = 2,
	STATE_MAX = 1 << 20,
	PAGING = 31,
	XSAVE_MXCSR = 24,
	XSAVE_HEADER = 512
};

GUEST(spin, "1:	jmp 1b");

static struct x86_cpuid *leaf(struct arch_vcpu_state *s, uint32_t leaf)
{
	for (unsigned i = 0; i < s->n_cpuid; i++)
		if (s->cpuid[i].leaf == leaf)
			return &s->cpuid[i];
	tiny_fail("no CPUID leaf 0x%x", leaf);
}

static void expect_sentence(const struct err *e, const char *word)
{
	char sentence[800];

	err_sentence(e, sentence, sizeof(sentence));
	printf("%s\n", sentence);
	if (!strstr(sentence, word))
		tiny_fail("no \"%s\" in the sentence", word);
	if (!e->remedy[0])
		tiny_fail("no remedy in the sentence");
}

/* A VM with `state` as its vCPU; which call must refuse it, and with which code. */
static void expect_refused(
	const struct saved *s, const struct arch_vcpu_state *state, int when_new, const char *word)
{
	struct hv_vcpu *vcpu = NULL;
	struct err e = {0};
	struct tiny t = {0};
	const struct gmem_range ram = {0, TINY_RAM_BYTES};
	int r;

	tiny_must(gmem_init(&t.memory, &ram, 1, &e), &e);
	tiny_open_vm(&t);
	r = hv_vcpu_new(t.hv, 0, s->n_vcpus, state, &vcpu, &e);
	tiny_equal("hv_vcpu_new's result", (uint64_t)r, (uint64_t)when_new);
	if (r == 0)
		tiny_equal("hv_vcpu_load's result", (uint64_t)hv_vcpu_load(vcpu, state, &e),
			(uint64_t)-EINVAL);
	expect_sentence(&e, word);
	hv_vcpu_free(vcpu);
	tiny_close(&t);
}

static void refuse_cpus(const struct saved *s, struct arch_vcpu_state *bad)
{
	*bad = *s->vcpus[0];
	leaf(bad, 0)->ebx ^= 0x20;
	expect_refused(s, bad, -ENOTSUP, "unknown CPU");
	*bad = *s->vcpus[0];
	leaf(bad, 7)->ebx |= 1u << 27 | 1u << 26; /* no processor has AVX-512ER any more */
	expect_refused(s, bad, -ENOTSUP, "AVX-512PF and AVX-512ER");
	*bad = *s->vcpus[0];
	bad->tsc_khz = bad->tsc_khz / 2;
	expect_refused(s, bad, -ENOTSUP, "kHz");
}

static void refuse_values(const struct saved *s, struct arch_vcpu_state *bad)
{
	*bad = *s->vcpus[0];
	bad->cr0 = 1u << PAGING; /* paging without protection */
	expect_refused(s, bad, 0, "KVM_SET_SREGS");
	*bad = *s->vcpus[0];
	memset(bad->xsave + XSAVE_MXCSR, 0xff, 4);
	memset(bad->xsave + XSAVE_HEADER, 0xff, 8);
	expect_refused(s, bad, 0, "KVM_SET_XSAVE");
	*bad = *s->vcpus[0];
	bad->msrs[bad->n_msrs++] = (struct x86_msr){.index = 0x12345678, .value = 1};
	expect_refused(s, bad, 0, "0x12345678");
}

/* Loads a state whose bytes were damaged. Returns whether anything refused it. */
static bool is_refused(
	const struct saved *s, struct tiny *t, const struct buf *bytes, struct arch_vcpu_state *bad)
{
	struct err e = {0};
	struct snapio io;
	int r;

	snapio_load_from(&io, "vcpu", 1, bytes->data, bytes->bytes);
	arch_vcpu_state_snap(bad, &io);
	r = snapio_end(&io, &e);
	if (r == 0)
		r = hv_vcpu_load(t->vcpus[0], bad, &e);
	if (r == 0)
		r = hv_load(t->hv, &s->vm, &e);
	if (r == 0)
		r = hv_vcpu_load_clock(t->vcpus[0], bad, &e);
	if (r < 0 && !e.cause[0])
		tiny_fail("refused without a cause");
	return r < 0;
}

/* Bits turned at random; the same ones each time. */
static void load_nonsense(const struct saved *s, struct tiny *t, struct arch_vcpu_state *bad)
{
	unsigned n_refused = 0;
	struct buf bytes;

	srandom(1);
	for (unsigned i = 0; i < ROUNDS; i++) {
		buf_init(&bytes, STATE_MAX);
		saved_vcpu_to_bytes(s->vcpus[0], &bytes);
		for (unsigned flip = 0; flip < FLIPS; flip++)
			bytes.data[(size_t)random() % bytes.bytes] ^= (uint8_t)(1u << random() % 8);
		n_refused += is_refused(s, t, &bytes, bad);
		buf_fini(&bytes);
	}
	printf("%u of %u damaged states were refused\n", n_refused, ROUNDS);
	if (n_refused == 0)
		tiny_fail("none of them was");
}

int main(void)
{
	struct arch_vcpu_state *bad = arch_vcpu_state_new();
	struct saved s;
	struct tiny t;

	if (!bad)
		tiny_fail("no memory");
	tiny_open(&t, 1, spin, spin_end);
	tiny_run_us(&t, 0, 2000);
	saved_take(&s, &t);
	refuse_cpus(&s, bad);
	refuse_values(&s, bad);
	load_nonsense(&s, &t, bad);
	saved_reload(&s, &t);
	tiny_run_us(&t, 0, 2000);
	saved_free(&s);
	arch_vcpu_state_free(bad);
	tiny_close(&t);
	return 0;
}
