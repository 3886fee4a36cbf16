// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "arch/x86_64/state.h"
#include "base/err.h"
#include "base/snapio.h"

enum { CEILING = 1 << 20 };

/* Something in every field, all different, and nothing that the walk refuses. */
static struct arch_vcpu_state *full(void)
{
	struct arch_vcpu_state *s = arch_vcpu_state_new();
	uint8_t *bytes = (uint8_t *)s->general;
	size_t end = offsetof(struct arch_vcpu_state, segments);

	assert_non_null(s);
	for (size_t i = offsetof(struct arch_vcpu_state, general); i < end; i++)
		*bytes++ = (uint8_t)(i * 7 + 1);
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		s->segments[i] = (struct x86_segment){.base = 1000 + i,
			.limit = 2000 + i,
			.selector = (uint16_t)(3000 + i),
			.type = (uint8_t)(15 - i),
			.dpl = i % 4,
			.is_present = i & 1,
			.is_code_or_data = i & 2,
			.is_64bit = i & 4,
			.is_32bit = !(i & 1),
			.has_page_limit = !(i & 2),
			.is_unusable = !(i & 4),
			.avl = i % 3 == 0};
	s->gdt = (struct x86_table){0x1234567890, 0x7f};
	s->idt = (struct x86_table){0x9876543210, 0xfff};
	s->cr0 = 1, s->cr2 = 2, s->cr3 = 3, s->cr4 = 4, s->cr8 = 8, s->efer = 9, s->apic_base = 10;
	s->interrupt_bitmap[3] = 1ull << 63;
	s->debug_addresses[3] = 33;
	s->dr6 = 66, s->dr7 = 77;
	s->events = (struct x86_events){true, 14, true, 0xdeadbeef, true, 0x41, true, 3, true, 2,
		true, true, true, true, true, true};
	s->mp_state = X86_MP_HALTED;
	s->is_started = true;
	s->n_xcrs = X86_XCRS_MAX;
	for (unsigned i = 0; i < X86_XCRS_MAX; i++)
		s->xcrs[i].index = i, s->xcrs[i].value = ~0ull - i;
	s->xsave_bytes = X86_XSAVE_MAX;
	for (unsigned i = 0; i < X86_XSAVE_MAX; i++)
		s->xsave[i] = (uint8_t)(i * 13 + i / 256);
	for (unsigned i = 0; i < X86_LAPIC_BYTES; i++)
		s->lapic[i] = (uint8_t)(i * 3 + i / 256);
	s->n_msrs = X86_MSRS_MAX;
	for (unsigned i = 0; i < X86_MSRS_MAX; i++)
		s->msrs[i] = (struct x86_msr){0xc0000000 + i, 1ull << i % 64};
	s->n_cpuid = X86_CPUIDS;
	for (unsigned i = 0; i < X86_CPUIDS; i++)
		s->cpuid[i] = (struct x86_cpuid){i, i + 1, i % 2, i + 2, i + 3, i + 4, i + 5};
	s->tsc = 5, s->host_tsc = 6, s->tsc_khz = X86_TSC_KHZ_MAX - 1, s->tsc_deadline = 7;
	return s;
}

static void to_bytes(struct arch_vcpu_state *s, struct buf *out)
{
	struct snapio io;

	buf_init(out, CEILING);
	snapio_save_to(&io, "vcpu", 1, out);
	arch_vcpu_state_snap(s, &io);
	assert_int_equal(snapio_end(&io, NULL), 0);
}

static int from_bytes(struct arch_vcpu_state *s, const uint8_t *bytes, size_t n, struct err *e)
{
	struct snapio io;

	snapio_load_from(&io, "vcpu", 1, bytes, n);
	arch_vcpu_state_snap(s, &io);
	return snapio_end(&io, e);
}

/* Saves a state that is not right; loading it must fail and name the field. */
static void expect_refused(struct arch_vcpu_state *s, const char *field)
{
	struct arch_vcpu_state *back = arch_vcpu_state_new();
	struct err e = {0};
	struct buf bytes;

	to_bytes(s, &bytes);
	assert_non_null(back);
	assert_int_equal(from_bytes(back, bytes.data, bytes.bytes, &e), -EBADMSG);
	assert_non_null(strstr(e.cause, field));
	assert_string_not_equal(e.remedy, "");
	buf_fini(&bytes);
	arch_vcpu_state_free(back);
}

static void test_round_trip(void **state)
{
	struct arch_vcpu_state *s = full(), *back = arch_vcpu_state_new();
	struct buf bytes, again;

	(void)state;
	assert_non_null(back);
	memset(back, 1, sizeof(*back)); /* whatever was there is replaced */
	to_bytes(s, &bytes);
	assert_int_equal(from_bytes(back, bytes.data, bytes.bytes, NULL), 0);
	to_bytes(back, &again);
	assert_int_equal(again.bytes, bytes.bytes);
	assert_memory_equal(again.data, bytes.data, bytes.bytes);

	assert_memory_equal(back->general, s->general, sizeof(s->general));
	assert_int_equal(back->rip, s->rip);
	for (unsigned i = 0; i < X86_SEGMENTS; i++) {
		const struct x86_segment *a = &s->segments[i], *b = &back->segments[i];

		assert_int_equal(b->base, a->base);
		assert_int_equal(b->limit, a->limit);
		assert_int_equal(b->selector, a->selector);
		assert_int_equal(b->type, a->type);
		assert_int_equal(b->dpl, a->dpl);
		assert_int_equal(b->is_unusable, a->is_unusable);
		assert_int_equal(b->avl, a->avl);
	}
	assert_int_equal(back->events.error_code, 0xdeadbeef);
	assert_int_equal(back->events.nmis_pending, 2);
	assert_true(back->events.is_triple_fault);
	assert_memory_equal(back->xsave, s->xsave, sizeof(s->xsave));
	assert_memory_equal(back->lapic, s->lapic, sizeof(s->lapic));
	for (unsigned i = 0; i < X86_MSRS_MAX; i++) {
		assert_int_equal(back->msrs[i].index, s->msrs[i].index);
		assert_int_equal(back->msrs[i].value, s->msrs[i].value);
	}
	for (unsigned i = 0; i < X86_CPUIDS; i++) {
		assert_int_equal(back->cpuid[i].has_subleaf, s->cpuid[i].has_subleaf);
		assert_int_equal(back->cpuid[i].edx, s->cpuid[i].edx);
	}
	assert_int_equal(back->tsc_deadline, 7);
	buf_fini(&bytes);
	buf_fini(&again);
	arch_vcpu_state_free(s);
	arch_vcpu_state_free(back);
}

/* A small XSAVE area is followed by zeroes, whatever stood there. */
static void test_small_lists(void **state)
{
	struct arch_vcpu_state *s = full(), *back = full();
	struct buf bytes;

	(void)state;
	s->n_xcrs = s->n_msrs = s->n_cpuid = 0;
	s->xsave_bytes = 4096;
	to_bytes(s, &bytes);
	assert_int_equal(from_bytes(back, bytes.data, bytes.bytes, NULL), 0);
	assert_int_equal(back->n_xcrs + back->n_msrs + back->n_cpuid, 0);
	assert_memory_equal(back->xsave, s->xsave, 4096);
	for (unsigned i = 4096; i < X86_XSAVE_MAX; i++)
		assert_int_equal(back->xsave[i], 0);
	buf_fini(&bytes);
	arch_vcpu_state_free(s);
	arch_vcpu_state_free(back);
}

/* Replaces the first bytes that are `value` right behind the header of a field of 4 bytes. */
static void forge_count(struct buf *bytes, const char *field, uint32_t was, uint32_t is)
{
	struct snapio io;
	struct buf one;
	uint8_t *at;

	buf_init(&one, 64);
	snapio_save_to(&io, "one", 1, &one);
	snapio_u32(&io, field, &was);
	assert_int_equal(snapio_end(&io, NULL), 0);
	at = memmem(bytes->data, bytes->bytes, one.data, one.bytes);
	assert_non_null(at);
	memcpy(at + one.bytes - sizeof(is), &is, sizeof(is));
	buf_fini(&one);
}

static void test_counts(void **state)
{
	static const struct {
		const char *field;
		uint32_t max;
	} counts[] = {{"n_xcrs", X86_XCRS_MAX}, {"xsave_bytes", X86_XSAVE_MAX},
		{"n_msrs", X86_MSRS_MAX}, {"n_cpuid", X86_CPUIDS}};
	static const uint32_t wrong[] = {1, 2, 0x7fffffff, 0x80000000, UINT32_MAX};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
		for (unsigned k = 0; k < ARRAY_LEN(wrong); k++) {
			struct arch_vcpu_state *s = full(), *back = arch_vcpu_state_new();
			uint32_t is = wrong[k] < 3 ? counts[i].max + wrong[k] : wrong[k];
			struct err e = {0};
			struct buf bytes;

			assert_non_null(back);
			to_bytes(s, &bytes);
			forge_count(&bytes, counts[i].field, counts[i].max, is);
			assert_int_equal(from_bytes(back, bytes.data, bytes.bytes, &e), -EBADMSG);
			assert_non_null(strstr(e.cause, counts[i].field));
			/* fewer than follow: the next field is not where it should be */
			forge_count(&bytes, counts[i].field, is, counts[i].max - 1);
			assert_int_equal(from_bytes(back, bytes.data, bytes.bytes, &e), -EBADMSG);
			buf_fini(&bytes);
			arch_vcpu_state_free(s);
			arch_vcpu_state_free(back);
		}
	}
}

static void test_impossible_values(void **state)
{
	struct arch_vcpu_state *s = full();

	(void)state;
	s->mp_state = X86_MP_STATES;
	expect_refused(s, "mp_state");
	s->mp_state = X86_MP_WAITS_FOR_INIT; /* and yet it is said to be started */
	expect_refused(s, "is_started");
	s->mp_state = X86_MP_RUNNABLE;
	s->segments[X86_LDT].type = 16;
	expect_refused(s, "type");
	s->segments[X86_LDT].type = 2;
	s->segments[X86_SS].dpl = 4;
	expect_refused(s, "dpl");
	s->segments[X86_SS].dpl = 3;
	s->events.exception = 32;
	expect_refused(s, "exception");
	s->events.exception = 31;
	s->events.shadow = 4;
	expect_refused(s, "shadow");
	s->events.shadow = 0;
	s->events.nmis_pending = 3;
	expect_refused(s, "nmis_pending");
	s->events.nmis_pending = 0;
	s->tsc_khz = X86_TSC_KHZ_MAX;
	expect_refused(s, "tsc_khz");
	arch_vcpu_state_free(s);
}

/* Whichever byte is wrong or missing: no crash, and what is accepted is within bounds. */
static void test_damage(void **state)
{
	struct arch_vcpu_state *s = full(), *back = arch_vcpu_state_new();
	struct buf bytes;

	(void)state;
	assert_non_null(back);
	s->xsave_bytes = 600;
	s->n_msrs = 4;
	s->n_cpuid = 3;
	to_bytes(s, &bytes);
	for (size_t i = 0; i < bytes.bytes; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			bytes.data[i] ^= (uint8_t)(1u << bit);
			if (from_bytes(back, bytes.data, bytes.bytes, NULL) == 0) {
				assert_true(back->mp_state < X86_MP_STATES);
				assert_true(back->n_msrs <= X86_MSRS_MAX);
				assert_true(back->n_cpuid <= X86_CPUIDS);
				assert_true(back->xsave_bytes <= X86_XSAVE_MAX);
				assert_true(back->n_xcrs <= X86_XCRS_MAX);
			}
			bytes.data[i] ^= (uint8_t)(1u << bit);
		}
		assert_int_equal(from_bytes(back, bytes.data, i, NULL), -EBADMSG);
	}
	assert_int_equal(from_bytes(back, bytes.data, bytes.bytes, NULL), 0);
	buf_fini(&bytes);
	arch_vcpu_state_free(s);
	arch_vcpu_state_free(back);
}

static void test_vm(void **state)
{
	struct arch_vm_state vm = {1, 2, 3}, back = {0};
	struct err e = {0};
	struct snapio io;
	struct buf bytes;

	(void)state;
	buf_init(&bytes, CEILING);
	snapio_save_to(&io, "vm", 1, &bytes);
	arch_vm_state_snap(&vm, &io);
	assert_int_equal(snapio_end(&io, NULL), 0);
	snapio_load_from(&io, "vm", 1, bytes.data, bytes.bytes);
	arch_vm_state_snap(&back, &io);
	assert_int_equal(snapio_end(&io, NULL), 0);
	assert_int_equal(back.clock_ns, 1);
	assert_int_equal(back.host_tsc, 2);
	assert_int_equal(back.host_tsc_khz, 3);

	forge_count(&bytes, "host_tsc_khz", 3, UINT32_MAX);
	snapio_load_from(&io, "vm", 1, bytes.data, bytes.bytes);
	arch_vm_state_snap(&back, &io);
	assert_int_equal(snapio_end(&io, &e), -EBADMSG);
	assert_non_null(strstr(e.cause, "host_tsc_khz"));
	buf_fini(&bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_small_lists),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_impossible_values),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_vm),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
