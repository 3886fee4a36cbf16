// SPDX-License-Identifier: Apache-2.0
/* The IOAPIC as a guest programs it: through its MMIO window. */
#include "dev/ioapic.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <cmocka.h>

#include "dev/bus.h"

enum { BASE = 0xfec00000, EDGES = 20000, PINS = 37 };

struct fixture {
	struct ioapic io;
	struct bus bus;
	_Atomic unsigned n;
	_Atomic uint64_t address;
	_Atomic uint32_t data;
};

static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
	struct fixture *f = ctx;

	f->address = address;
	f->data = data;
	f->n++;
}

static int setup(void **state)
{
	static struct fixture f;
	struct err e = {0};

	memset(&f, 0, sizeof(f));
	bus_init(&f.bus);
	ioapic_init(&f.io, PINS, on_msi, &f);
	*state = &f;
	return ioapic_register(&f.io, &f.bus, BASE, &e);
}

static int teardown(void **state)
{
	ioapic_fini(&((struct fixture *)*state)->io);
	return 0;
}

static uint32_t get(struct fixture *f, uint32_t at)
{
	uint32_t value;

	bus_write(&f->bus, BASE, &at, 4);
	bus_read(&f->bus, BASE + 0x10, &value, 4);
	return value;
}

static void put(struct fixture *f, uint32_t at, uint32_t value)
{
	bus_write(&f->bus, BASE, &at, 4);
	bus_write(&f->bus, BASE + 0x10, &value, 4);
}

static void program(struct fixture *f, unsigned pin, uint32_t low, uint32_t high)
{
	put(f, 0x10 + pin * 2, 1 << 16);
	put(f, 0x11 + pin * 2, high);
	put(f, 0x10 + pin * 2, low);
}

static void tells_what_it_is(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 1) & 0xff, 0x11);
	assert_int_equal(get(f, 1) >> 16, PINS - 1);
	put(f, 0, 0xff000000);
	assert_int_equal(get(f, 0), 0x0f000000);
	for (unsigned pin = 0; pin < PINS; pin++) {
		assert_int_equal(get(f, 0x10 + pin * 2), 1 << 16);
		assert_int_equal(get(f, 0x11 + pin * 2), 0);
	}
	assert_int_equal(get(f, 0x10 + PINS * 2), 0);
	assert_int_equal(get(f, 0xff), 0);
}

static void an_edge_becomes_the_message_of_its_entry(void **state)
{
	struct fixture *f = *state;

	program(f, 5, 0x31, 0x03000000); /* fixed, physical, APIC 3, vector 0x31 */
	ioapic_raise(&f->io, 5);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->address, 0xfee03000);
	assert_int_equal(f->data, 0x31);

	program(f, PINS - 1, 1 << 11 | 1 << 8 | 0x42, 0xff000000); /* logical, lowest priority */
	ioapic_raise(&f->io, PINS - 1);
	assert_int_equal(f->n, 2);
	assert_int_equal(f->address, 0xfeeff00c);
	assert_int_equal(f->data, 0x142);

	program(f, 7, 4 << 8, 0); /* NMI */
	ioapic_raise(&f->io, 7);
	assert_int_equal(f->data, 0x400);
	program(f, 8, 7 << 8, 0); /* ExtINT: nobody to ask for a vector */
	ioapic_raise(&f->io, 8);
	assert_int_equal(f->n, 3);
}

static void a_masked_edge_waits(void **state)
{
	struct fixture *f = *state;

	program(f, 9, 1 << 16 | 0x50, 0);
	ioapic_raise(&f->io, 9);
	ioapic_raise(&f->io, 9);
	assert_int_equal(f->n, 0);
	put(f, 0x10 + 18, 0x50);
	assert_int_equal(f->n, 1);
	assert_int_equal(f->data, 0x50);
	put(f, 0x10 + 18, 0x50); /* nothing is left */
	assert_int_equal(f->n, 1);
	ioapic_raise(&f->io, 9);
	assert_int_equal(f->n, 2);
}

static void read_only_bits_stay_clear(void **state)
{
	struct fixture *f = *state;

	put(f, 0x10, UINT32_MAX & ~0x00010000u);
	assert_int_equal(get(f, 0x10) & (1 << 12 | 1 << 14), 0);
}

static void pins_that_are_not_there_are_ignored(void **state)
{
	struct fixture *f = *state;
	struct irq line = ioapic_irq(&f->io, PINS);
	uint8_t byte = 1;

	irq_raise(&line);
	ioapic_raise(&f->io, 1000);
	put(f, 0x90, 0x55);
	bus_write(&f->bus, BASE + 0x10, &byte, 1); /* narrow: no entry is half written */
	bus_write(&f->bus, BASE + 0x800, &byte, 1);
	assert_int_equal(f->n, 0);
}

static void *raise_many(void *ctx)
{
	for (unsigned i = 0; i < EDGES; i++)
		ioapic_raise(ctx, 4);
	return NULL;
}

/* However masking and edges interleave, the last edge is never lost: after the dust has settled an
 * unmask delivers whatever was raised while masked. */
static void masking_races_lose_no_last_edge(void **state)
{
	struct fixture *f = *state;
	unsigned before;
	pthread_t threads[2];

	program(f, 4, 0x61, 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, raise_many, &f->io), 0);
	for (unsigned i = 0; i < 2000; i++)
		program(f, 4, 0x61, 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	program(f, 4, 1 << 16 | 0x61, 0);
	before = f->n;
	assert_in_range(before, 1, 2 * EDGES);
	ioapic_raise(&f->io, 4);
	put(f, 0x10 + 8, 0x61);
	assert_int_equal(f->n, before + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tells_what_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_edge_becomes_the_message_of_its_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(a_masked_edge_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(read_only_bits_stay_clear, setup, teardown),
		cmocka_unit_test_setup_teardown(
			pins_that_are_not_there_are_ignored, setup, teardown),
		cmocka_unit_test_setup_teardown(masking_races_lose_no_last_edge, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
