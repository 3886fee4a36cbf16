// SPDX-License-Identifier: Apache-2.0
/* Only the exact values turn the machine off or reset it. */
#include "dev/power.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "dev/bus.h"

static const struct power_ports ports = {0x600, 0x601, 0x602};

struct fixture {
	struct power power;
	struct bus bus;
	unsigned offs, resets;
};

static void on_event(void *ctx, enum power_event event)
{
	struct fixture *f = ctx;

	if (event == POWER_OFF)
		f->offs++;
	else
		f->resets++;
}

static int setup(void **state)
{
	static struct fixture f;
	struct err e = {0};

	memset(&f, 0, sizeof(f));
	f.power = (struct power){on_event, &f};
	bus_init(&f.bus);
	*state = &f;
	return power_register(&f.power, &f.bus, &ports, &e);
}

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
	assert_true(bus_write(&f->bus, port, &value, 1));
}

static void only_s5_with_enable_powers_off(void **state)
{
	struct fixture *f = *state;

	for (unsigned value = 0; value < 256; value++)
		if ((value & 0x3c) != (0x20 | POWER_SLEEP_TYPE_OFF << 2))
			out(f, ports.sleep_control, (uint8_t)value);
	assert_int_equal(f->offs + f->resets, 0);
	out(f, ports.sleep_control, 0x20 | POWER_SLEEP_TYPE_OFF << 2);
	assert_int_equal(f->offs, 1);
}

static void only_the_reset_value_resets(void **state)
{
	struct fixture *f = *state;

	for (unsigned value = 0; value < 256; value++)
		out(f, ports.reset, (uint8_t)value);
	assert_int_equal(f->resets, 1);
	assert_int_equal(f->offs, 0);
}

static void status_says_nothing(void **state)
{
	struct fixture *f = *state;
	uint8_t value = 1;

	out(f, ports.sleep_status, 0x80);
	assert_true(bus_read(&f->bus, ports.sleep_status, &value, 1));
	assert_int_equal(value, 0);
}

static void ports_that_collide_are_refused(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	assert_int_equal(power_register(&f->power, &f->bus, &ports, &e), -EEXIST);
	assert_string_equal(e.object, "sleep control register");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(only_s5_with_enable_powers_off, setup),
		cmocka_unit_test_setup(only_the_reset_value_resets, setup),
		cmocka_unit_test_setup(status_says_nothing, setup),
		cmocka_unit_test_setup(ports_that_collide_are_refused, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
