// SPDX-License-Identifier: Apache-2.0
#include "dev/power.h"

#include <string.h>

#include "dev/bus.h"

/* Sleep control register, ACPI 6.4 table 4.18. */
enum {
	SLEEP_TYPE_SHIFT = 2,
	SLEEP_TYPE_MASK = 7,
	SLEEP_ENABLE = 1 << 5,
};

/* None of the three has anything to tell: control and reset are write-only, and the status says
 * "woken up" (WAK_STS) only after a sleep that this machine has not. */
static void read_nothing(void *ctx, uint64_t offset, void *ret_data, unsigned bytes)
{
	(void)ctx;
	(void)offset;
	memset(ret_data, 0, bytes);
}

static void write_control(void *ctx, uint64_t offset, const void *data, unsigned bytes)
{
	struct power *p = ctx;
	uint8_t value = *(const uint8_t *)data;

	(void)offset;
	(void)bytes;
	if (!(value & SLEEP_ENABLE))
		return;
	if ((value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK) == POWER_SLEEP_TYPE_OFF)
		p->event(p->ctx, POWER_OFF);
}

static void write_status(void *ctx, uint64_t offset, const void *data, unsigned bytes)
{
	/* Writing 1 clears WAK_STS, which is never set. */
	(void)ctx;
	(void)offset;
	(void)data;
	(void)bytes;
}

static void write_reset(void *ctx, uint64_t offset, const void *data, unsigned bytes)
{
	struct power *p = ctx;

	(void)offset;
	(void)bytes;
	if (*(const uint8_t *)data == POWER_RESET_VALUE)
		p->event(p->ctx, POWER_RESET);
}

static const struct bus_ops control_ops = {read_nothing, write_control};
static const struct bus_ops status_ops = {read_nothing, write_status};
static const struct bus_ops reset_ops = {read_nothing, write_reset};

int power_register(struct power *p, struct bus *pio, const struct power_ports *ports, struct err *e)
{
	int r;

	r = bus_add(pio, ports->sleep_control, 1, &control_ops, p, "sleep control register", e);
	if (r < 0)
		return r;
	r = bus_add(pio, ports->sleep_status, 1, &status_ops, p, "sleep status register", e);
	if (r < 0)
		return r;
	return bus_add(pio, ports->reset, 1, &reset_ops, p, "reset register", e);
}
