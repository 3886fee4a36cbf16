// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "mem/gmem.h"

#define MIB 0x100000ull
#define GIB 0x40000000ull

/* Two adjacent regions, a hole, a third. */
static const struct gmem_range ranges[] = {
	{0, 4 * MIB},
	{4 * MIB, 1 * MIB},
	{4 * GIB, 2 * MIB},
};

static void setup(struct gmem *g)
{
	struct err e = {0};

	assert_int_equal(gmem_init(g, ranges, ARRAY_LEN(ranges), &e), 0);
}

static void test_init(void **state)
{
	autogmem struct gmem g = {0};

	(void)state;
	setup(&g);
	assert_int_equal(g.n, 3);
	assert_int_equal(g.total, 7 * MIB);
	for (unsigned i = 0; i < g.n; i++) {
		assert_int_equal((uintptr_t)g.regions[i].host % (2 * MIB), 0);
		/* both ends can be written */
		g.regions[i].host[0] = 1;
		g.regions[i].host[g.regions[i].bytes - 1] = 1;
	}
}

static void test_init_refuses(void **state)
{
	static const struct {
		struct gmem_range r[2];
		unsigned n;
	} bad[] = {
		{{{0, 0}}, 1},
		{{{0, 4095}}, 1},
		{{{1, 4096}}, 1},
		{{{0, 8192}, {4096, 4096}}, 2},
		{{{8192, 4096}, {0, 4096}}, 2},
		{{{UINT64_MAX - 4095, 4096}}, 1},
		{{{0, 4096}}, 0},
		{{{0, 4096}}, GMEM_REGIONS_MAX + 1},
	};
	struct gmem g = {.total = 42};
	struct err e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		e = (struct err){0};
		assert_int_equal(gmem_init(&g, bad[i].r, bad[i].n, &e), -EINVAL);
		assert_int_equal(e.code, -EINVAL);
		assert_int_equal(g.total, 42);
	}
}

static void test_init_too_much(void **state)
{
	const struct gmem_range huge = {0, 1ull << 62};
	struct gmem g = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(gmem_init(&g, &huge, 1, &e), -ENOMEM);
	assert_true(e.remedy[0]);
}

static void test_ptr(void **state)
{
	autogmem struct gmem g = {0};

	(void)state;
	setup(&g);
	assert_ptr_equal(gmem_ptr(&g, 0, 1), g.regions[0].host);
	assert_ptr_equal(gmem_ptr(&g, 5, 4 * MIB - 5), g.regions[0].host + 5);
	assert_null(gmem_ptr(&g, 5, 4 * MIB - 4)); /* crosses into the next */
	assert_ptr_equal(gmem_ptr(&g, 5 * MIB - 1, 1), g.regions[1].host + MIB - 1);
	assert_null(gmem_ptr(&g, 5 * MIB - 1, 2));
	assert_null(gmem_ptr(&g, 5 * MIB, 1));
	assert_null(gmem_ptr(&g, 5 * MIB, 0));
	assert_non_null(gmem_ptr(&g, 4 * GIB, 0));
	assert_null(gmem_ptr(&g, 4 * GIB - 1, 2));
	assert_null(gmem_ptr(&g, 1, UINT64_MAX));
	assert_null(gmem_ptr(&g, UINT64_MAX, 1));
	assert_null(gmem_ptr(&g, 4 * GIB + MIB, UINT64_MAX - MIB));
}

static void test_copy(void **state)
{
	autogmem struct gmem g = {0};
	const char text[] = "crosses a border";
	char back[sizeof(text)];

	(void)state;
	setup(&g);
	assert_int_equal(gmem_copy_out(&g, 4 * MIB - 7, text, sizeof(text)), 0);
	assert_memory_equal(g.regions[0].host + 4 * MIB - 7, text, 7);
	assert_memory_equal(g.regions[1].host, text + 7, sizeof(text) - 7);
	assert_int_equal(gmem_copy_in(&g, back, 4 * MIB - 7, sizeof(back)), 0);
	assert_string_equal(back, text);
}

static void test_copy_refuses(void **state)
{
	autogmem struct gmem g = {0};
	char bytes[16] = "0123456789abcde";

	(void)state;
	setup(&g);
	/* nothing is copied when the end is outside */
	assert_int_equal(gmem_copy_out(&g, 5 * MIB - 8, bytes, sizeof(bytes)), -EFAULT);
	assert_int_equal(g.regions[1].host[MIB - 8], 0);
	assert_int_equal(gmem_copy_in(&g, bytes, 5 * MIB - 8, sizeof(bytes)), -EFAULT);
	assert_string_equal(bytes, "0123456789abcde");
	assert_int_equal(gmem_copy_in(&g, bytes, UINT64_MAX - 3, 8), -EFAULT);
	assert_int_equal(gmem_copy_in(&g, bytes, 4 * GIB - 8, 16), -EFAULT);
	assert_int_equal(gmem_copy_in(&g, bytes, 123 * GIB, 0), 0);
}

static bool is_resident(const void *page)
{
	unsigned char in_core = 0;

	assert_int_equal(mincore((void *)(uintptr_t)page, (size_t)getpagesize(), &in_core), 0);
	return in_core & 1;
}

static void test_discard(void **state)
{
	autogmem struct gmem g = {0};
	size_t page = (size_t)getpagesize();
	uint8_t *host;

	(void)state;
	setup(&g);
	host = g.regions[0].host;
	madvise(host, 4 * MIB, MADV_NOHUGEPAGE);
	memset(host, 0xaa, 4 * page);
	/* only the two pages in the middle lie wholly inside */
	assert_int_equal(gmem_discard(&g, 1, 3 * page), 2 * (int64_t)page);
	assert_true(is_resident(host));
	assert_false(is_resident(host + page));
	assert_false(is_resident(host + 2 * page));
	assert_int_equal(host[0], 0xaa);
	assert_int_equal(host[page], 0);
	assert_int_equal(host[3 * page], 0xaa);
	assert_int_equal(gmem_discard(&g, 10, page - 10), 0);
	assert_int_equal(gmem_discard(&g, 5 * MIB - page, 2 * page), -EFAULT);
	assert_int_equal(gmem_discard(&g, 4 * MIB - page, 2 * page), 2 * (int64_t)page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_init),
		cmocka_unit_test(test_init_refuses),
		cmocka_unit_test(test_init_too_much),
		cmocka_unit_test(test_ptr),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_copy_refuses),
		cmocka_unit_test(test_discard),
	};

	return cmocka_run_group_tests_name("gmem", tests, NULL, NULL);
}
