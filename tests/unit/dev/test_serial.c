// SPDX-License-Identifier: Apache-2.0
/* The UART as an 8250 driver probes and uses it. */
#include "dev/serial_16550.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "dev/bus.h"

enum { BASE = 0x3f8, DATA = 0, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct fixture {
	struct serial serial;
	struct bus bus;
	unsigned interrupts;
	unsigned calls;
	char out[4096];
	size_t out_n;
};

static void on_irq(void *ctx, unsigned line)
{
	struct fixture *f = ctx;

	assert_int_equal(line, 4);
	f->interrupts++;
}

static void on_output(void *ctx, const void *data, size_t bytes)
{
	struct fixture *f = ctx;

	assert_in_range(bytes, 1, SERIAL_OUTPUT_BURST);
	assert_in_range(f->out_n + bytes, 1, sizeof(f->out));
	memcpy(f->out + f->out_n, data, bytes);
	f->out_n += bytes;
	f->calls++;
}

static int setup(void **state)
{
	static struct fixture f;
	struct err e = {0};

	memset(&f, 0, sizeof(f));
	bus_init(&f.bus);
	serial_init(&f.serial, &(struct irq){on_irq, &f, 4}, on_output, &f);
	*state = &f;
	return serial_register(&f.serial, &f.bus, BASE, &e);
}

static int teardown(void **state)
{
	serial_fini(&((struct fixture *)*state)->serial);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned at)
{
	uint8_t value = 0;

	assert_true(bus_read(&f->bus, BASE + at, &value, 1));
	return value;
}

static void out(struct fixture *f, unsigned at, uint8_t value)
{
	assert_true(bus_write(&f->bus, BASE + at, &value, 1));
}

static void a_driver_finds_a_16550a(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0);
	assert_int_equal(in(f, IER), 0);
	out(f, IER, 0xff);
	assert_int_equal(in(f, IER), 0x0f); /* the upper bits do not exist */
	out(f, IER, 0);
	out(f, MCR, 0x10 | 0x0a); /* loopback, RTS and OUT2 */
	assert_int_equal(in(f, MSR) & 0xf0, 0x90);
	out(f, MCR, 0x10 | 0x05); /* DTR and OUT1 */
	assert_int_equal(in(f, MSR) & 0xf0, 0x60);
	out(f, MCR, 0);
	assert_int_equal(in(f, MSR), 0xb0);
	assert_int_equal(in(f, IIR), 0x01);
	out(f, IIR, 0x01);
	assert_int_equal(in(f, IIR), 0xc1); /* FIFOs work: 16550A */
	out(f, SCR, 0xa5);
	assert_int_equal(in(f, SCR), 0xa5);
	assert_int_equal(in(f, LSR), 0x60);
}

static void the_divisor_hides_data_and_enable(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 1);
	out(f, LCR, 0x83);
	out(f, DATA, 0x0c);
	out(f, IER, 0x34);
	assert_int_equal(in(f, DATA), 0x0c);
	assert_int_equal(in(f, IER), 0x34);
	out(f, LCR, 0x03);
	assert_int_equal(in(f, IER), 1);
	assert_int_equal(f->out_n, 0);
}

static void output_comes_a_line_at_a_time(void **state)
{
	struct fixture *f = *state;
	const char *text = "one\ntwo\npart";

	for (const char *c = text; *c; c++) {
		assert_true(in(f, LSR) & 0x20);
		out(f, DATA, (uint8_t)*c);
	}
	assert_int_equal(f->calls, 2);
	assert_int_equal(f->out_n, 8);
	out(f, IER, 0); /* the driver ends its burst */
	assert_int_equal(f->calls, 3);
	assert_memory_equal(f->out, text, strlen(text));
	out(f, DATA, 'x');
	serial_flush(&f->serial);
	serial_flush(&f->serial);
	assert_int_equal(f->calls, 4);
}

static void long_output_comes_in_bursts(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 3 * SERIAL_OUTPUT_BURST + 1; i++)
		out(f, DATA, 'a');
	assert_int_equal(f->calls, 3);
	assert_int_equal(f->out_n, 3 * SERIAL_OUTPUT_BURST);
}

/* What serial8250 tests at start-up, and how its interrupt-driven output goes on. */
static void transmitter_interrupts(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 2);
	assert_int_equal(f->interrupts, 1);
	assert_int_equal(in(f, IIR) & 0x0f, 2);
	assert_int_equal(in(f, IIR) & 0x0f, 1); /* reading it cleared it */
	out(f, IER, 0);
	out(f, IER, 2); /* enabled anew with the transmitter empty: reported anew */
	assert_int_equal(f->interrupts, 2);
	assert_int_equal(in(f, IIR) & 0x0f, 2);
	out(f, DATA, 'a');
	out(f, DATA, 'b');
	assert_int_equal(f->interrupts, 3); /* one edge for the burst */
	assert_int_equal(in(f, IIR) & 0x0f, 2);
	out(f, IER, 0);
	out(f, DATA, 'c');
	assert_int_equal(f->interrupts, 3);
}

static void input_interrupts_and_waits(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(serial_input(&f->serial, "ab", 2), 2);
	assert_int_equal(f->interrupts, 0);
	out(f, IER, 3);
	assert_int_equal(f->interrupts, 1);
	assert_int_equal(in(f, IIR) & 0x0f, 4); /* input goes before output */
	assert_int_equal(in(f, LSR) & 1, 1);
	assert_int_equal(in(f, DATA), 'a');
	assert_int_equal(in(f, DATA), 'b');
	assert_int_equal(in(f, LSR) & 1, 0);
	assert_int_equal(in(f, DATA), 0);
	assert_int_equal(in(f, IIR) & 0x0f, 2);
	assert_int_equal(in(f, IIR) & 0x0f, 1);
	assert_int_equal(serial_input(&f->serial, "c", 1), 1);
	assert_int_equal(f->interrupts, 2);
}

static void input_is_bounded(void **state)
{
	struct fixture *f = *state;
	char typed[SERIAL_INPUT_ROOM + 10];

	for (size_t i = 0; i < sizeof(typed); i++)
		typed[i] = (char)i;
	in(f, DATA);
	assert_int_equal(serial_input(&f->serial, typed, 10), 10);
	for (int i = 0; i < 10; i++)
		assert_int_equal(in(f, DATA), i);
	assert_int_equal(serial_input(&f->serial, typed, sizeof(typed)), SERIAL_INPUT_ROOM);
	assert_int_equal(serial_input(&f->serial, "x", 1), 0);
	for (int i = 0; i < SERIAL_INPUT_ROOM; i++)
		assert_int_equal(in(f, DATA), i);
	assert_int_equal(serial_input(&f->serial, typed, 5), 5);
	out(f, IIR, 0x03); /* clears the receiver's FIFO */
	assert_int_equal(in(f, LSR) & 1, 0);
}

static void loopback_returns_what_is_sent(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, 0x10);
	for (int i = 0; i < SERIAL_INPUT_ROOM + 1; i++)
		out(f, DATA, (uint8_t)i);
	assert_int_equal(f->out_n, 0);
	out(f, IER, 4);
	assert_int_equal(in(f, IIR) & 0x0f, 6); /* overrun: line status */
	assert_int_equal(in(f, LSR) & 2, 2);
	assert_int_equal(in(f, LSR) & 2, 0);
	assert_int_equal(in(f, DATA), 0);
	assert_int_equal(in(f, DATA), 1);
}

static void wide_accesses_are_harmless(void **state)
{
	struct fixture *f = *state;
	uint32_t value = 0x01020341;

	assert_true(bus_write(&f->bus, BASE, &value, 4));
	serial_flush(&f->serial);
	assert_int_equal(f->out_n, 1);
	assert_int_equal(f->out[0], 0x41);
	assert_true(bus_read(&f->bus, BASE + LSR, &value, 2));
	assert_int_equal(value & 0xffff, 0xff60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_driver_finds_a_16550a, setup, teardown),
		cmocka_unit_test_setup_teardown(the_divisor_hides_data_and_enable, setup, teardown),
		cmocka_unit_test_setup_teardown(output_comes_a_line_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(long_output_comes_in_bursts, setup, teardown),
		cmocka_unit_test_setup_teardown(transmitter_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(input_interrupts_and_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(input_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(loopback_returns_what_is_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(wide_accesses_are_harmless, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
