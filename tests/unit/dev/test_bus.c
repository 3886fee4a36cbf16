// SPDX-License-Identifier: Apache-2.0
/* Look-ups at the edges of ranges, and what registration refuses. */
#include "dev/bus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

struct probe {
	uint64_t offset;
	unsigned bytes;
	unsigned reads, writes;
	uint64_t written;
};

static void probe_read(void *ctx, uint64_t offset, void *ret_data, unsigned bytes)
{
	struct probe *p = ctx;

	p->offset = offset;
	p->bytes = bytes;
	p->reads++;
	memset(ret_data, 0x5a, bytes);
}

static void probe_write(void *ctx, uint64_t offset, const void *data, unsigned bytes)
{
	struct probe *p = ctx;

	p->offset = offset;
	p->bytes = bytes;
	p->writes++;
	p->written = 0;
	memcpy(&p->written, data, bytes);
}

static const struct bus_ops ops = {probe_read, probe_write};

static void add(struct bus *b, uint64_t base, uint64_t bytes, struct probe *p)
{
	struct err e = {0};

	assert_int_equal(bus_add(b, base, bytes, &ops, p, "probe", &e), 0);
}

static void finds_each_of_many_ranges(void **state)
{
	static struct probe probes[BUS_RANGES_MAX];
	static struct bus b;
	uint32_t value;

	(void)state;
	bus_init(&b);
	/* Added from the outside in, so that sorting matters. */
	for (unsigned i = 0; i < BUS_RANGES_MAX; i++) {
		unsigned at = i % 2 ? BUS_RANGES_MAX - 1 - i / 2 : i / 2;

		add(&b, 0x1000 + at * 0x100, 0x100, &probes[at]);
	}
	bus_freeze(&b);
	for (unsigned i = 0; i < BUS_RANGES_MAX; i++) {
		assert_true(bus_read(&b, 0x1000 + i * 0x100 + 0xfc, &value, 4));
		assert_int_equal(probes[i].reads, 1);
		assert_int_equal(probes[i].offset, 0xfc);
		assert_int_equal(value, 0x5a5a5a5a);
	}
}

static void unmapped_reads_are_ones_and_writes_are_ignored(void **state)
{
	struct probe p = {0};
	struct bus b;
	uint64_t value = 0;

	(void)state;
	bus_init(&b);
	assert_false(bus_read(&b, 0, &value, 8));
	assert_true(value == UINT64_MAX);

	add(&b, 0x1000, 0x10, &p);
	value = 0;
	assert_false(bus_read(&b, 0xfff, &value, 1));
	assert_int_equal(value, 0xff);
	assert_false(bus_read(&b, 0x1010, &value, 1));
	assert_false(bus_write(&b, 0x1010, &value, 1));
	assert_int_equal(p.reads + p.writes, 0);
	assert_true(bus_read(&b, 0x1000, &value, 1));
	assert_true(bus_write(&b, 0x100f, &value, 1));
	assert_int_equal(p.offset, 0xf);
}

static void straddling_an_edge_is_unmapped(void **state)
{
	struct probe low = {0}, high = {0};
	struct bus b;
	uint32_t value = 0;

	(void)state;
	bus_init(&b);
	add(&b, 0x1000, 0x10, &low);
	add(&b, 0x1010, 0x10, &high);
	assert_false(bus_read(&b, 0xffe, &value, 4));
	assert_int_equal(value, UINT32_MAX);
	assert_false(bus_read(&b, 0x100e, &value, 4));
	assert_false(bus_write(&b, 0x101e, &value, 4));
	assert_int_equal(low.reads + high.reads + high.writes, 0);
	assert_true(bus_read(&b, 0x100c, &value, 4));
	assert_true(bus_read(&b, 0x1010, &value, 4));
}

static void the_top_of_the_address_space_is_usable(void **state)
{
	struct probe p = {0};
	struct err e = {0};
	struct bus b;
	uint64_t value = 0;

	(void)state;
	bus_init(&b);
	add(&b, UINT64_MAX - 0xf, 0x10, &p);
	assert_true(bus_read(&b, UINT64_MAX, &value, 1));
	assert_int_equal(p.offset, 0xf);
	assert_false(bus_read(&b, UINT64_MAX, &value, 2));
	assert_int_equal(bus_add(&b, UINT64_MAX, 2, &ops, &p, "x", &e), -EINVAL);
}

static void impossible_lengths_are_unmapped(void **state)
{
	struct probe p = {0};
	struct bus b;
	uint8_t value[16] = {0};

	(void)state;
	bus_init(&b);
	add(&b, 0, 0x100, &p);
	assert_false(bus_read(&b, 0, value, 0));
	assert_false(bus_read(&b, 0, value, 9));
	assert_false(bus_write(&b, 0, value, 16));
	assert_int_equal(p.reads + p.writes, 0);
	assert_int_equal(value[8], 0);
}

static void refuses_what_cannot_be(void **state)
{
	struct probe p = {0};
	struct err e = {0};
	static struct bus b;

	(void)state;
	bus_init(&b);
	add(&b, 0x1000, 0x100, &p);
	assert_int_equal(bus_add(&b, 0x10ff, 1, &ops, &p, "late", &e), -EEXIST);
	assert_string_equal(e.object, "late");
	assert_non_null(strstr(e.cause, "probe"));
	assert_int_equal(bus_add(&b, 0xfff, 2, &ops, &p, "late", &e), -EEXIST);
	assert_int_equal(bus_add(&b, 0, UINT64_MAX, &ops, &p, "late", &e), -EEXIST);
	assert_int_equal(bus_add(&b, 0x2000, 0, &ops, &p, "late", &e), -EINVAL);
	for (unsigned i = 1; i < BUS_RANGES_MAX; i++)
		add(&b, 0x10000 + i * 16, 16, &p);
	assert_int_equal(bus_add(&b, 0x2000, 1, &ops, &p, "late", &e), -ENOSPC);
	bus_init(&b);
	bus_freeze(&b);
	assert_int_equal(bus_add(&b, 0x2000, 1, &ops, &p, "late", &e), -EBUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_each_of_many_ranges),
		cmocka_unit_test(unmapped_reads_are_ones_and_writes_are_ignored),
		cmocka_unit_test(straddling_an_edge_is_unmapped),
		cmocka_unit_test(the_top_of_the_address_space_is_usable),
		cmocka_unit_test(impossible_lengths_are_unmapped),
		cmocka_unit_test(refuses_what_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
