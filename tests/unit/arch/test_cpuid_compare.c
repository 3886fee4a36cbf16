// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86_64/cpuid.h"
#include "base/err.h"

enum { VENDOR, F1, F7, F7_1, XCR0, XSAVES, AVX, OPMASK, PKRU, CET_U, KVM, AMD, POWER, SIZES, N };

/* A processor of today; each test takes something away. */
static void cpu(struct x86_cpuid l[N])
{
	static const struct x86_cpuid leaves[N] = {
		[VENDOR] = {.leaf = 0, .ebx = 0x756e6547, .ecx = 0x6c65746e, .edx = 0x49656e69},
		[F1] = {.leaf = 1,
			.eax = 0x806f8,
			.ebx = 0x800,
			.ecx = 0xf7ffffff,
			.edx = 0xbfebfbff},
		[F7] = {7, 0, true, .eax = 2, .ebx = 0xf1bf2fbb, .ecx = 0x1b415fee,
			.edx = 0xbdd14410},
		[F7_1] = {7, 1, true, .eax = 0x30},
		[XCR0] = {0xd, 0, true, .eax = 0x2e7, .ebx = 0x240, .ecx = 0xa88},
		[XSAVES] = {0xd, 1, true, .eax = 0xf, .ecx = 0x800},
		[AVX] = {0xd, 2, true, .eax = 256, .ebx = 576},
		[OPMASK] = {0xd, 5, true, .eax = 64, .ebx = 1088},
		[PKRU] = {0xd, 9, true, .eax = 8, .ebx = 2688},
		[CET_U] = {0xd, 11, true, .eax = 16, .ecx = 1},
		[KVM] = {.leaf = 0x40000001, .eax = 0x1007efb},
		[AMD] = {.leaf = 0x80000001, .ecx = 0x121, .edx = 0x2c100800},
		[POWER] = {.leaf = 0x80000007, .edx = 0x100},
		[SIZES] = {.leaf = 0x80000008, .eax = 0x3934, .ebx = 0x200},
	};

	memcpy(l, leaves, sizeof(leaves));
}

static void expect_fine(const struct x86_cpuid *saved, const struct x86_cpuid *host)
{
	struct err e = {0};

	assert_int_equal(x86_cpuid_compare(saved, N, host, N, &e), 0);
	assert_string_equal(e.cause, "");
}

static void expect_cause(
	const struct x86_cpuid *saved, const struct x86_cpuid *host, const char *cause)
{
	struct err e = {0};

	assert_int_equal(x86_cpuid_compare(saved, N, host, N, &e), -ENOTSUP);
	assert_string_equal(e.cause, cause);
	assert_string_equal(e.object, "CPU");
	assert_non_null(strstr(e.remedy, "bake it again"));
}

static void test_same_and_better(void **state)
{
	struct x86_cpuid a[N], b[N];

	(void)state;
	cpu(a);
	cpu(b);
	expect_fine(a, b);
	b[F7].ecx = b[F7].edx = UINT32_MAX; /* more than the snapshot saw */
	b[KVM].eax = UINT32_MAX;
	expect_fine(a, b);
}

static void test_names(void **state)
{
	struct x86_cpuid a[N], b[N];

	(void)state;
	cpu(a);
	cpu(b);
	b[F7].ebx &= ~(1u << 30);
	expect_cause(
		a, b, "the snapshot was taken with AVX-512BW, which this host's CPU or KVM lacks");
	b[F7].ebx &= ~(1u << 16);
	expect_cause(a, b,
		"the snapshot was taken with AVX-512F and AVX-512BW, which this host's CPU or KVM "
		"lacks");
	b[F1].ecx &= ~(1u << 28);
	b[KVM].eax &= ~(1u << 3);
	expect_cause(a, b,
		"the snapshot was taken with AVX, AVX-512F, AVX-512BW and KVM's clock, which this "
		"host's CPU or KVM lacks");
	b[F7].ebx = 0;
	expect_cause(a, b,
		"the snapshot was taken with AVX, FSGSBASE, TSC_ADJUST, BMI1, HLE and 19 more, "
		"which "
		"this host's CPU or KVM lacks");
}

static void test_each_leaf(void **state)
{
	static const struct {
		unsigned leaf, reg, bit;
		const char *name;
	} cases[] = {{F1, 3, 26, "SSE2"}, {F7, 2, 22, "RDPID"}, {F7, 3, 4, "FSRM"},
		{F7_1, 0, 4, "AVX-VNNI"}, {XCR0, 0, 5, "AVX-512 mask state"},
		{XSAVES, 0, 3, "XSAVES"}, {XSAVES, 2, 11, "CET user state"}, {AMD, 2, 5, "LZCNT"},
		{AMD, 3, 27, "RDTSCP"}, {POWER, 3, 8, "an invariant TSC"},
		{SIZES, 1, 9, "WBNOINVD"}, {KVM, 0, 24, "KVM's stable clock"},
		{F7, 3, 14, "SERIALIZE"}, {F1, 2, 4, "CPUID 0x1.0 ECX bit 4"}};
	char cause[256];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct x86_cpuid a[N], b[N];
		uint32_t *regs[4];

		cpu(a);
		cpu(b);
		regs[0] = &b[cases[i].leaf].eax, regs[1] = &b[cases[i].leaf].ebx;
		regs[2] = &b[cases[i].leaf].ecx, regs[3] = &b[cases[i].leaf].edx;
		*regs[cases[i].reg] &= ~(1u << cases[i].bit);
		snprintf(cause, sizeof(cause),
			"the snapshot was taken with %s, which this host's CPU or KVM lacks",
			cases[i].name);
		expect_cause(a, b, cause);
	}
}

static void test_what_is_not_compared(void **state)
{
	struct x86_cpuid a[N], b[N];

	(void)state;
	cpu(a);
	cpu(b);
	b[F1].ecx &= ~(1u << 27 | 1u << 3 | 1u << 31); /* OSXSAVE, MONITOR, hypervisor */
	b[F1].edx &= ~(1u << 9 | 1u << 28);	       /* APIC, hyper-threading */
	b[F1].ebx = 0x7000000;			       /* APIC id */
	b[F1].eax = 0x50657;			       /* model */
	b[F7].ecx &= ~(1u << 4);		       /* OSPKE */
	b[F7].ebx &= ~(1u << 6 | 1u << 13);	       /* what is gone */
	b[XCR0].ebx = 0xa88;			       /* size now */
	b[SIZES].eax = 0x302e;
	expect_fine(a, b);
}

static void test_vendor(void **state)
{
	struct x86_cpuid a[N], b[N];

	(void)state;
	cpu(a);
	cpu(b);
	b[VENDOR].ebx = 0x68747541, b[VENDOR].edx = 0x69746e65, b[VENDOR].ecx = 0x444d4163;
	expect_cause(a, b, "the snapshot was taken on an Intel CPU, this host's is AMD");
	expect_cause(b, a, "the snapshot was taken on an AMD CPU, this host's is Intel");
	memset(&a[VENDOR].ebx, 0xff, 12);
	expect_cause(a, b, "the snapshot was taken on an unknown CPU, this host's is AMD");
}

static void test_layout(void **state)
{
	struct x86_cpuid a[N], b[N];

	(void)state;
	cpu(a);
	cpu(b);
	b[PKRU].ebx = 2432;
	expect_cause(a, b,
		"the snapshot's CPU saves component 9 of XSAVE in 8 bytes at 2688, this host's in "
		"8 "
		"at 2432");
	cpu(b);
	b[CET_U].eax = 24;
	expect_cause(a, b,
		"the snapshot's CPU saves component 11 of XSAVE in 16 bytes at 0, this host's in "
		"24 "
		"at 0");
	/* a component that the guest was not shown may lie anywhere */
	cpu(b);
	a[XCR0].eax &= ~(1u << 9);
	b[PKRU].ebx = 2432;
	expect_fine(a, b);
}

/* Lists of strangers: empty, without the leaves, all ones. */
static void test_odd_lists(void **state)
{
	struct x86_cpuid a[N], b[N];
	struct err e = {0};

	(void)state;
	cpu(a);
	cpu(b);
	assert_int_equal(x86_cpuid_compare(a, 0, b, N, &e), -ENOTSUP);
	assert_int_equal(x86_cpuid_compare(b, 1, b, 1, &e), 0);
	assert_int_equal(x86_cpuid_compare(b, N, b, 1, &e), -ENOTSUP);
	assert_true(strlen(e.cause) < sizeof(e.cause) - 1);
	for (unsigned i = 0; i < N; i++) {
		a[i] = b[i];
		a[i].eax = a[i].ecx = a[i].edx = a[i].ebx = UINT32_MAX;
	}
	a[VENDOR] = b[VENDOR];
	assert_int_equal(x86_cpuid_compare(a, N, b, N, &e), -ENOTSUP);
	assert_true(strlen(e.cause) < sizeof(e.cause) - 1);
	assert_non_null(strstr(e.cause, "lacks"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_and_better),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_each_leaf),
		cmocka_unit_test(test_what_is_not_compared),
		cmocka_unit_test(test_vendor),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_odd_lists),
	};

	return cmocka_run_group_tests_name("cpuid_compare", tests, NULL, NULL);
}
