// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "arch/x86_64/cpuid.h"

enum { ROOM = 32 };

/* A host that has everything; all ones where a leaf is of no interest. */
static unsigned host(struct x86_cpuid *l, uint32_t vendor_ebx)
{
	static const struct {
		uint32_t leaf, subleaf;
		bool has_subleaf;
	} leaves[] = {{0}, {1}, {4, 0, true}, {4, 3, true}, {4, 4, true}, {5}, {6}, {7, 0, true},
		{7, 1, true}, {0xa}, {0xb, 0, true}, {0xb, 1, true}, {0x14, 0, true},
		{0x1f, 0, true}, {0x40000000}, {0x40000001}, {0x40000010}, {0x80000001},
		{0x80000008}, {0x8000000a}, {0x8000001d, 3, true}, {0x8000001e}};
	unsigned n = ARRAY_LEN(leaves);

	for (unsigned i = 0; i < n; i++) {
		memset(&l[i], 0xff, sizeof(l[i]));
		l[i].leaf = leaves[i].leaf;
		l[i].subleaf = leaves[i].subleaf;
		l[i].has_subleaf = leaves[i].has_subleaf;
	}
	l[0].ebx = vendor_ebx;
	l[2].eax = 0xfc004121; /* first level data */
	l[3].eax = 0xfffff163; /* third level, shared by all */
	l[4].eax = 0;
	return n;
}

enum { INTEL = 0x756e6547, AMD = 0x68747541 };

static const struct x86_cpuid *find(const struct x86_cpuid *l, int n, uint32_t leaf, uint32_t sub)
{
	for (int i = 0; i < n; i++)
		if (l[i].leaf == leaf && l[i].subleaf == sub)
			return &l[i];
	return NULL;
}

static void test_features(void **state)
{
	struct x86_cpuid l[ROOM];
	int n = x86_cpuid_policy(l, host(l, INTEL), ROOM, 1, 3);
	const struct x86_cpuid *c = find(l, n, 1, 0);

	(void)state;
	assert_int_equal(c->ebx >> 24, 1);	  /* its APIC id */
	assert_int_equal(c->ebx >> 16 & 0xff, 4); /* ids of one package, a power of two */
	assert_int_equal(c->ecx >> 31 & 1, 1);	  /* hypervisor */
	assert_int_equal(c->ecx >> 24 & 1, 1);	  /* TSC deadline */
	assert_int_equal(c->ecx >> 21 & 1, 1);	  /* x2APIC is kept */
	assert_int_equal(c->ecx >> 5 & 1, 0);	  /* VMX */
	assert_int_equal(c->ecx >> 3 & 1, 0);	  /* MONITOR */
	assert_int_equal(c->edx >> 28 & 1, 1);	  /* several in a package */
	assert_int_equal(find(l, n, 7, 0)->ebx >> 2 & 1, 0); /* SGX */
	assert_int_equal(find(l, n, 7, 0)->ecx >> 7 & 1, 0); /* shadow stacks */
	assert_int_equal(find(l, n, 7, 1)->ebx, UINT32_MAX);
	assert_int_equal(find(l, n, 0xa, 0)->eax, 0);
	assert_int_equal(find(l, n, 6, 0)->eax, 4);
	assert_non_null(find(l, n, 0x40000001, 0));
	assert_null(find(l, n, 0x40000010, 0));
	assert_null(find(l, n, 0x1f, 0));
}

static void test_deadline_and_hypervisor_are_set(void **state)
{
	struct x86_cpuid l[ROOM];
	unsigned n = host(l, INTEL);

	(void)state;
	l[1].ecx = l[1].edx = 0;
	assert_true(x86_cpuid_policy(l, n, ROOM, 0, 1) > 0);
	assert_int_equal(l[1].ecx, 1u << 31 | 1u << 24);
	assert_int_equal(l[1].edx, 0);
}

static void test_topology(void **state)
{
	struct x86_cpuid l[ROOM];
	int n = x86_cpuid_policy(l, host(l, INTEL), ROOM, 5, 6);

	(void)state;
	assert_int_equal(find(l, n, 0xb, 0)->eax, 0);
	assert_int_equal(find(l, n, 0xb, 0)->ebx, 1);
	assert_int_equal(find(l, n, 0xb, 0)->ecx, 0x100);
	assert_int_equal(find(l, n, 0xb, 1)->eax, 3); /* 6 cores need 3 bits */
	assert_int_equal(find(l, n, 0xb, 1)->ebx, 6);
	assert_int_equal(find(l, n, 0xb, 1)->ecx, 0x201);
	assert_int_equal(find(l, n, 0xb, 2)->ecx, 2);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(find(l, n, 0xb, i)->edx, 5);
	/* caches: the first level is its own, the third is shared, 8 ids in the package */
	assert_int_equal(find(l, n, 4, 0)->eax, 7u << 26 | 0x121);
	assert_int_equal(find(l, n, 4, 3)->eax, 7u << 26 | 7 << 14 | 0x3163);
	assert_int_equal(find(l, n, 4, 4)->eax, 0);
}

static void test_amd(void **state)
{
	struct x86_cpuid l[ROOM];
	int n = x86_cpuid_policy(l, host(l, AMD), ROOM, 2, 4);

	(void)state;
	assert_int_equal(find(l, n, 0x80000001, 0)->ecx >> 2 & 1, 0); /* SVM */
	assert_int_equal(find(l, n, 0x80000001, 0)->ecx >> 1 & 1, 1); /* CmpLegacy */
	assert_int_equal(find(l, n, 0x80000008, 0)->ecx & 0xff, 3);
	assert_int_equal(find(l, n, 0x80000008, 0)->ecx >> 12 & 0xf, 2);
	assert_int_equal(find(l, n, 0x8000000a, 0)->eax, 0);
	assert_int_equal(find(l, n, 0x8000001e, 0)->eax, 2);
	assert_int_equal(find(l, n, 0x8000001e, 0)->ebx, 2);
	assert_int_equal(find(l, n, 0x8000001e, 0)->ecx, 0);
}

static void test_one_vcpu(void **state)
{
	struct x86_cpuid l[ROOM];
	int n = x86_cpuid_policy(l, host(l, AMD), ROOM, 0, 1);

	(void)state;
	assert_int_equal(find(l, n, 1, 0)->edx >> 28 & 1, 0);
	assert_int_equal(find(l, n, 1, 0)->ebx >> 16, 1);
	assert_int_equal(find(l, n, 0x80000001, 0)->ecx >> 1 & 1, 0);
	assert_int_equal(find(l, n, 0xb, 1)->eax, 0);
}

static void test_room(void **state)
{
	struct x86_cpuid l[ROOM];
	unsigned n = host(l, INTEL);

	(void)state;
	assert_int_equal(x86_cpuid_policy(l, n, n + 2, 0, 1), -ENOSPC);
	/* a CPU without leaf 0xb gets none */
	l[10].leaf = l[11].leaf = 2;
	n = (unsigned)x86_cpuid_policy(l, n, n, 0, 1);
	assert_null(find(l, (int)n, 0xb, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_deadline_and_hypervisor_are_set),
		cmocka_unit_test(test_topology),
		cmocka_unit_test(test_amd),
		cmocka_unit_test(test_one_vcpu),
		cmocka_unit_test(test_room),
	};

	return cmocka_run_group_tests_name("cpuid", tests, NULL, NULL);
}
