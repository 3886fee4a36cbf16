// SPDX-License-Identifier: Apache-2.0
/* Saved state of the I/O APIC and the serial port, used through their registers before and after.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../base/snap_edit.h"
#include "base/alloc.h"
#include "base/snapio.h"
#include "dev/bus.h"
#include "dev/ioapic.h"
#include "dev/serial_16550.h"

enum { APIC = 0xfec00000, PINS = 37, UART = 0x3f8, STATE_MAX = 4096, MASKED = 1 << 16 };
enum { DATA = 0, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct machine {
	struct ioapic apic;
	struct serial serial;
	struct bus mmio, pio;
	uint32_t msi[64];
	unsigned n_msi, n_irq;
	char out[256];
	size_t out_n;
};

static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
	struct machine *m = ctx;

	(void)address;
	m->msi[m->n_msi++] = data;
}

static void on_irq(void *ctx, unsigned line)
{
	struct machine *m = ctx;

	(void)line;
	m->n_irq++;
}

static void on_output(void *ctx, const void *data, size_t bytes)
{
	struct machine *m = ctx;

	memcpy(m->out + m->out_n, data, bytes);
	m->out_n += bytes;
}

static void machine_init(struct machine *m, unsigned n_pins)
{
	struct err e = {0};

	memset(m, 0, sizeof(*m));
	bus_init(&m->mmio);
	bus_init(&m->pio);
	ioapic_init(&m->apic, n_pins, on_msi, m);
	serial_init(&m->serial, &(struct irq){on_irq, m, 4}, on_output, m);
	assert_int_equal(ioapic_register(&m->apic, &m->mmio, APIC, &e), 0);
	assert_int_equal(serial_register(&m->serial, &m->pio, UART, &e), 0);
}

static void machine_fini(struct machine *m)
{
	ioapic_fini(&m->apic);
	serial_fini(&m->serial);
}

static void put(struct machine *m, uint32_t at, uint32_t value)
{
	assert_true(bus_write(&m->mmio, APIC, &at, 4));
	assert_true(bus_write(&m->mmio, APIC + 0x10, &value, 4));
}

static uint32_t get(struct machine *m, uint32_t at)
{
	uint32_t value;

	assert_true(bus_write(&m->mmio, APIC, &at, 4));
	assert_true(bus_read(&m->mmio, APIC + 0x10, &value, 4));
	return value;
}

static uint8_t in(struct machine *m, unsigned at)
{
	uint8_t value = 0;

	assert_true(bus_read(&m->pio, UART + at, &value, 1));
	return value;
}

static void out(struct machine *m, unsigned at, uint8_t value)
{
	assert_true(bus_write(&m->pio, UART + at, &value, 1));
}

/* One of the two, by what it is. */
static void walk(struct machine *m, bool is_apic, struct snapio *io)
{
	if (is_apic)
		ioapic_snap(&m->apic, io);
	else
		serial_snap(&m->serial, io);
}

static struct buf save(struct machine *m, bool is_apic)
{
	struct snapio io;
	struct err e = {0};
	struct buf b;

	buf_init(&b, STATE_MAX);
	snapio_save_to(&io, is_apic ? "ioapic" : "serial", 1, &b);
	walk(m, is_apic, &io);
	assert_int_equal(snapio_end(&io, &e), 0);
	return b;
}

static int load(struct machine *m, bool is_apic, const struct buf *b, size_t bytes, struct err *e)
{
	/* A copy of the exact size, so that a sanitizer sees what is read beyond it. */
	autofree uint8_t *exact = malloc(bytes ? bytes : 1);
	struct snapio io;

	memcpy(exact, b->data, bytes);
	memset(e, 0, sizeof(*e));
	snapio_load_from(&io, is_apic ? "ioapic" : "serial", 1, exact, bytes);
	walk(m, is_apic, &io);
	return snapio_end(&io, e);
}

static void refused(struct machine *m, bool is_apic, struct buf *b, const char *field, unsigned nth,
	uint64_t value, const char *cause)
{
	uint32_t bytes = 0;
	uint8_t was[8], *at = snap_field(b, field, nth, &bytes);
	struct err e;

	assert_non_null(at);
	memcpy(was, at, bytes);
	assert_true(snap_edit(b, field, nth, value));
	assert_int_equal(load(m, is_apic, b, b->bytes, &e), -EBADMSG);
	if (!strstr(e.cause, cause))
		fail_msg("\"%s\" does not say \"%s\"", e.cause, cause);
	assert_true(e.object[0] && e.remedy[0]);
	memcpy(at, was, bytes);
}

/* --- I/O APIC --- */

/* Pin 3 delivers, pin 4 is masked and has an edge waiting, the last one is programmed. */
static void use_apic(struct machine *m)
{
	put(m, 0, 5u << 24);
	put(m, 0x11 + 6, 0x02000000);
	put(m, 0x10 + 6, 0x31);
	put(m, 0x10 + 8, MASKED | 0x41);
	put(m, 0x10 + (PINS - 1) * 2, 0x51);
	ioapic_raise(&m->apic, 4);
	ioapic_raise(&m->apic, 3);
	assert_int_equal(m->n_msi, 1);
}

static void assert_apic_is_reset(struct machine *m)
{
	assert_int_equal(get(m, 0), 0);
	for (unsigned pin = 0; pin < PINS; pin++) {
		assert_int_equal(get(m, 0x10 + pin * 2), MASKED);
		assert_int_equal(get(m, 0x11 + pin * 2), 0);
	}
	/* Nothing waits either. */
	m->n_msi = 0;
	for (unsigned pin = 0; pin < PINS; pin++)
		put(m, 0x10 + pin * 2, 0x20);
	assert_int_equal(m->n_msi, 0);
}

static void an_edge_that_waits_is_kept(void **state)
{
	static struct machine a, b;
	struct buf saved;
	struct err e;

	(void)state;
	machine_init(&a, PINS);
	machine_init(&b, PINS);
	use_apic(&a);
	(void)get(&a, 0x10 + 6); /* leaves the window on this register */
	saved = save(&a, true);
	put(&b, 0x10 + 20, 0x99); /* what was there is forgotten */
	assert_int_equal(load(&b, true, &saved, saved.bytes, &e), 0);
	assert_int_equal(b.apic.select, 0x10 + 6);
	for (unsigned at = 0; at < 0x10 + PINS * 2; at++)
		assert_int_equal(get(&b, at), get(&a, at));
	assert_int_equal(b.n_msi, 0);
	put(&b, 0x10 + 8, 0x41);
	assert_int_equal(b.n_msi, 1);
	assert_int_equal(b.msi[0], 0x41);
	put(&b, 0x10 + 8, 0x41);
	assert_int_equal(b.n_msi, 1); /* once */
	ioapic_raise(&b.apic, PINS - 1);
	assert_int_equal(b.msi[1], 0x51);
	buf_fini(&saved);
	machine_fini(&a);
	machine_fini(&b);
}

static void an_apic_that_cannot_be(void **state)
{
	static struct machine a, b;
	struct buf saved;
	struct err e;

	(void)state;
	machine_init(&a, PINS);
	machine_init(&b, PINS);
	use_apic(&a);
	saved = save(&a, true);
	refused(&b, true, &saved, "n_pins", 0, PINS + 1, "had 38 pins, the one here has 37");
	refused(&b, true, &saved, "n_pins", 0, UINT32_MAX, "pins");
	assert_apic_is_reset(&b);
	refused(&b, true, &saved, "ioapic_id", 0, 0x10, "identity");
	refused(&b, true, &saved, "pending", 0, 1ull << PINS, "more than 37 pins");
	refused(&b, true, &saved, "pending", 0, UINT64_MAX, "more than 37 pins");
	refused(&b, true, &saved, "pending", 0, 1 << 3, "not masked");
	refused(&b, true, &saved, "redirection", 36, 1 << 12 | 0x51, "read-only");
	refused(&b, true, &saved, "redirection", 0, UINT64_MAX, "read-only");
	assert_apic_is_reset(&b);
	for (size_t n = 0; n < saved.bytes; n++)
		assert_int_equal(load(&b, true, &saved, n, &e), -EBADMSG);
	assert_apic_is_reset(&b);
	assert_int_equal(load(&b, true, &saved, saved.bytes, &e), 0);
	buf_fini(&saved);
	machine_fini(&a);
	machine_fini(&b);
	/* A machine with fewer. */
	machine_init(&a, PINS - 1);
	machine_init(&b, PINS);
	saved = save(&a, true);
	assert_int_equal(load(&b, true, &saved, saved.bytes, &e), -EBADMSG);
	assert_non_null(strstr(e.cause, "36 pins"));
	buf_fini(&saved);
	machine_fini(&a);
	machine_fini(&b);
}

static void all_pins_that_there_may_be(void **state)
{
	static struct machine a, b;
	struct buf saved;
	struct err e;

	(void)state;
	machine_init(&a, IOAPIC_PINS_MAX);
	machine_init(&b, IOAPIC_PINS_MAX);
	ioapic_raise(&a.apic, 63);
	saved = save(&a, true);
	assert_int_equal(load(&b, true, &saved, saved.bytes, &e), 0);
	put(&b, 0x10 + 63 * 2, 0x77);
	assert_int_equal(b.n_msi, 1);
	buf_fini(&saved);
	machine_fini(&a);
	machine_fini(&b);
}

/* --- Serial port --- */

/* Input typed ahead that has gone round its ring, output of half a line, interrupts on. */
static void use_serial(struct machine *m)
{
	char typed[SERIAL_INPUT_ROOM];

	memset(typed, 'x', sizeof(typed));
	assert_int_equal(serial_input(&m->serial, typed, 50), 50);
	for (unsigned i = 0; i < 50; i++)
		in(m, DATA);
	assert_int_equal(serial_input(&m->serial, "typed ahead, this is", 20), 20);
	out(m, LCR, 0x80);
	out(m, DATA, 12);
	out(m, IER, 3);
	out(m, LCR, 0x1b);
	out(m, MCR, 0x0b);
	out(m, SCR, 0xa5);
	out(m, IIR, 1);
	out(m, IER, 5);
	out(m, DATA, 'h');
	out(m, DATA, 'i');
}

static void what_is_typed_ahead_is_kept(void **state)
{
	static const unsigned same[] = {IER, LCR, MCR, MSR, SCR, IIR, LSR};
	static struct machine a, b;
	struct buf saved;
	struct err e;
	unsigned n_irq;

	(void)state;
	machine_init(&a, PINS);
	machine_init(&b, PINS);
	use_serial(&a);
	n_irq = a.n_irq;
	assert_int_equal(a.out_n, 0);
	saved = save(&a, false);
	assert_int_equal(a.out_n, 2); /* handed on, not saved */
	out(&b, DATA, '!');
	assert_int_equal(load(&b, false, &saved, saved.bytes, &e), 0);
	assert_int_equal(b.out_n, 1);
	assert_int_equal(b.out[0], '!');
	assert_int_equal(b.n_irq, 0); /* the edge was before */
	for (unsigned i = 0; i < ARRAY_LEN(same); i++)
		assert_int_equal(in(&b, same[i]), in(&a, same[i]));
	out(&b, LCR, 0x80);
	assert_int_equal(in(&b, DATA), 12);
	assert_int_equal(in(&b, IER), 3);
	out(&b, LCR, 3);
	for (const char *c = "typed ahead, this is"; *c; c++)
		assert_int_equal(in(&b, DATA), *c);
	assert_int_equal(in(&b, LSR) & 1, 0);
	assert_int_equal(serial_input(&b.serial, "y", 1), 1);
	assert_int_equal(b.n_irq, 1); /* the line fell when all was read: a new edge */
	assert_int_equal(a.n_irq, n_irq);
	buf_fini(&saved);
	machine_fini(&a);
	machine_fini(&b);
}

static void assert_serial_is_reset(struct machine *m)
{
	assert_int_equal(in(m, IER), 0);
	assert_int_equal(in(m, LCR), 3);
	assert_int_equal(in(m, MCR), 0);
	assert_int_equal(in(m, SCR), 0);
	assert_int_equal(in(m, LSR), 0x60);
	assert_int_equal(in(m, IIR), 1);
}

static void a_serial_port_that_cannot_be(void **state)
{
	static struct machine a, b;
	struct buf saved;
	struct err e;

	(void)state;
	machine_init(&a, PINS);
	machine_init(&b, PINS);
	use_serial(&a);
	saved = save(&a, false);
	refused(&b, false, &saved, "ier", 0, 0x10, "do not exist");
	refused(&b, false, &saved, "mcr", 0, 0x20, "do not exist");
	refused(&b, false, &saved, "is_overrun", 0, 2, "neither");
	assert_serial_is_reset(&b);
	refused(&b, false, &saved, "n_input", 0, SERIAL_INPUT_ROOM + 1, "more than the 64");
	refused(&b, false, &saved, "n_input", 0, UINT32_MAX, "more than the 64");
	refused(&b, false, &saved, "n_input", 0, 19, "\"input\"");
	refused(&b, false, &saved, "n_input", 0, 21, "\"input\"");
	assert_serial_is_reset(&b);
	for (size_t n = 0; n < saved.bytes; n++) {
		assert_int_equal(load(&b, false, &saved, saved.bytes, &e), 0);
		assert_int_equal(load(&b, false, &saved, n, &e), -EBADMSG);
		assert_serial_is_reset(&b);
	}
	buf_fini(&saved);
	machine_fini(&a);
	machine_fini(&b);
}

static void one_is_not_the_other(void **state)
{
	static struct machine a;
	struct buf saved;
	struct err e;

	(void)state;
	machine_init(&a, PINS);
	saved = save(&a, true);
	assert_int_equal(load(&a, false, &saved, saved.bytes, &e), -EBADMSG);
	assert_non_null(strstr(e.cause, "another field"));
	buf_fini(&saved);
	machine_fini(&a);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_edge_that_waits_is_kept),
		cmocka_unit_test(an_apic_that_cannot_be),
		cmocka_unit_test(all_pins_that_there_may_be),
		cmocka_unit_test(what_is_typed_ahead_is_kept),
		cmocka_unit_test(a_serial_port_that_cannot_be),
		cmocka_unit_test(one_is_not_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
