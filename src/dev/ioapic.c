// SPDX-License-Identifier: Apache-2.0
/*
 * Registers and redirection entries: Intel 82093AA data sheet §3. Messages: Intel SDM volume 3,
 * "Message Signalled Interrupts".
 *
 * Our tables describe every line as edge-triggered. An entry that the guest programs as level all
 * the same is delivered as one message for each raise, and its Remote IRR bit stays 0: devices here
 * pulse their lines, so there is no level that an end-of-interrupt would have to look at again.
 */
#include "dev/ioapic.h"

#include <string.h>

#include "base/le.h"
#include "base/snapio.h"
#include "dev/bus.h"

enum {
	/* Offsets in the MMIO page. */
	IOREGSEL = 0x00,
	IOWIN = 0x10,

	/* Registers behind the window. */
	REG_ID = 0x00,
	REG_VERSION = 0x01,
	REG_ARBITRATION = 0x02,
	REG_REDIRECTION = 0x10, /* two for each pin */

	VERSION = 0x11,
	ID_SHIFT = 24,
	ID_MASK = 0x0f,
};

/* A redirection entry. */
#define RTE_VECTOR	   0xffull
#define RTE_DELIVERY_SHIFT 8
#define RTE_DELIVERY_MASK  7ull
#define RTE_LOGICAL	   (1ull << 11)
#define RTE_STATUS	   (1ull << 12) /* read-only: delivery pending; messages never linger */
#define RTE_REMOTE_IRR	   (1ull << 14) /* read-only */
#define RTE_MASKED	   (1ull << 16)
#define RTE_DEST_SHIFT	   56

enum { DELIVERY_LOWEST = 1, DELIVERY_EXTINT = 7 };

/* A message's address. */
#define MSI_BASE       0xfee00000ull
#define MSI_DEST_SHIFT 12
#define MSI_REDIRECT   (1ull << 3)
#define MSI_LOGICAL    (1ull << 2)

struct message {
	bool is_due;
	uint64_t address;
	uint32_t data;
};

static struct message message_of(uint64_t entry)
{
	uint64_t delivery = entry >> RTE_DELIVERY_SHIFT & RTE_DELIVERY_MASK;
	struct message m = {.is_due = true};

	/* "External" asks for a vector from an 8259, which this machine has not. */
	if (delivery == DELIVERY_EXTINT)
		return (struct message){.is_due = false};
	m.address = MSI_BASE | (entry >> RTE_DEST_SHIFT) << MSI_DEST_SHIFT;
	if (entry & RTE_LOGICAL)
		m.address |= MSI_LOGICAL;
	if (delivery == DELIVERY_LOWEST)
		m.address |= MSI_REDIRECT;
	m.data = (uint32_t)(entry & RTE_VECTOR) | (uint32_t)(delivery << RTE_DELIVERY_SHIFT);
	return m;
}

static void deliver(struct ioapic *io, const struct message *m)
{
	if (m->is_due)
		io->msi(io->msi_ctx, m->address, m->data);
}

static void reset(struct ioapic *io)
{
	io->select = io->id = 0;
	io->pending = 0;
	for (unsigned pin = 0; pin < io->n_pins; pin++)
		io->redirection[pin] = RTE_MASKED;
}

void ioapic_init(struct ioapic *io, unsigned n_pins, ioapic_msi *msi, void *msi_ctx)
{
	*io = (struct ioapic){.n_pins = n_pins, .msi = msi, .msi_ctx = msi_ctx};
	pthread_mutex_init(&io->lock, NULL);
	reset(io);
}

void ioapic_fini(struct ioapic *io)
{
	pthread_mutex_destroy(&io->lock);
}

void ioapic_raise(struct ioapic *io, unsigned pin)
{
	struct message m = {.is_due = false};

	if (pin >= io->n_pins)
		return;
	pthread_mutex_lock(&io->lock);
	if (io->redirection[pin] & RTE_MASKED)
		io->pending |= 1ull << pin;
	else
		m = message_of(io->redirection[pin]);
	pthread_mutex_unlock(&io->lock);
	deliver(io, &m);
}

static void raise_line(void *ctx, unsigned line)
{
	ioapic_raise(ctx, line);
}

struct irq ioapic_irq(struct ioapic *io, unsigned pin)
{
	return (struct irq){.raise = raise_line, .ctx = io, .line = pin};
}

static uint32_t read_register(const struct ioapic *io)
{
	unsigned at = io->select;
	unsigned pin = (at - REG_REDIRECTION) / 2;

	switch (at) {
	case REG_ID:
	case REG_ARBITRATION:
		return (uint32_t)io->id << ID_SHIFT;
	case REG_VERSION:
		return VERSION | (io->n_pins - 1) << 16;
	default:
		if (at < REG_REDIRECTION || pin >= io->n_pins)
			return 0;
		return (uint32_t)(io->redirection[pin] >> (at & 1 ? 32 : 0));
	}
}

/* Returns the message that had waited for the entry to be unmasked, if any. */
static struct message write_entry(struct ioapic *io, unsigned pin, bool is_high, uint32_t value)
{
	uint64_t *entry = &io->redirection[pin];
	uint64_t bit = 1ull << pin;

	if (is_high) {
		*entry = (*entry & UINT32_MAX) | (uint64_t)value << 32;
		return (struct message){.is_due = false};
	}
	*entry = (*entry & ~(uint64_t)UINT32_MAX) | (value & ~(RTE_STATUS | RTE_REMOTE_IRR));
	if (*entry & RTE_MASKED || !(io->pending & bit))
		return (struct message){.is_due = false};
	io->pending &= ~bit;
	return message_of(*entry);
}

static struct message write_register(struct ioapic *io, uint32_t value)
{
	unsigned at = io->select;
	unsigned pin = (at - REG_REDIRECTION) / 2;

	if (at == REG_ID)
		io->id = value >> ID_SHIFT & ID_MASK;
	if (at >= REG_REDIRECTION && pin < io->n_pins)
		return write_entry(io, pin, at & 1, value);
	return (struct message){.is_due = false};
}

static void mmio_read(void *ctx, uint64_t offset, void *ret_data, unsigned bytes)
{
	struct ioapic *io = ctx;
	uint32_t value = 0;

	pthread_mutex_lock(&io->lock);
	if (offset == IOREGSEL)
		value = io->select;
	else if (offset == IOWIN)
		value = read_register(io);
	pthread_mutex_unlock(&io->lock);
	memset(ret_data, 0, bytes);
	memcpy(ret_data, &value, MIN(bytes, (unsigned)sizeof(value)));
}

static void mmio_write(void *ctx, uint64_t offset, const void *data, unsigned bytes)
{
	struct ioapic *io = ctx;
	struct message m = {.is_due = false};
	uint32_t value = 0;

	memcpy(&value, data, MIN(bytes, (unsigned)sizeof(value)));
	pthread_mutex_lock(&io->lock);
	if (offset == IOREGSEL)
		io->select = (uint8_t)value;
	else if (offset == IOWIN && bytes >= sizeof(value))
		m = write_register(io, value);
	pthread_mutex_unlock(&io->lock);
	deliver(io, &m);
}

static const struct bus_ops ops = {mmio_read, mmio_write};

int ioapic_register(struct ioapic *io, struct bus *mmio, uint64_t base, struct err *e)
{
	return bus_add(mmio, base, IOAPIC_BYTES, &ops, io, "I/O APIC", e);
}

/* What neither the guest's writes nor its interrupts can make. */
static void check_loaded(const struct ioapic *io, struct snapio *snap)
{
	uint64_t unmasked = 0;

	for (unsigned pin = 0; pin < io->n_pins; pin++) {
		if (io->redirection[pin] & (RTE_STATUS | RTE_REMOTE_IRR))
			snapio_fail(snap, "redirection", "entry %u has read-only bits set", pin);
		if (!(io->redirection[pin] & RTE_MASKED))
			unmasked |= 1ull << pin;
	}
	if (io->id & ~ID_MASK)
		snapio_fail(snap, "ioapic_id", "%u is no identity of an I/O APIC", io->id);
	if (io->n_pins < 64 && io->pending >> io->n_pins)
		snapio_fail(snap, "pending", "%#llx has more than %u pins",
			(unsigned long long)io->pending, io->n_pins);
	if (io->pending & unmasked)
		snapio_fail(snap, "pending", "%#llx waits on pins that are not masked",
			(unsigned long long)(io->pending & unmasked));
}

static void walk(struct ioapic *io, struct snapio *snap)
{
	uint32_t n_pins = io->n_pins;

	snapio_u32(snap, "n_pins", &n_pins);
	if (n_pins != io->n_pins)
		snapio_fail(snap, "n_pins", "the I/O APIC had %u pins, the one here has %u", n_pins,
			io->n_pins);
	snapio_u8(snap, "select", &io->select);
	snapio_u8(snap, "ioapic_id", &io->id);
	snapio_u64(snap, "pending", &io->pending);
	for (unsigned pin = 0; pin < io->n_pins; pin++)
		snapio_u64(snap, "redirection", &io->redirection[pin]);
}

void ioapic_snap(struct ioapic *io, struct snapio *snap)
{
	pthread_mutex_lock(&io->lock);
	walk(io, snap);
	if (snapio_is_loading(snap)) {
		if (snapio_is_good(snap))
			check_loaded(io, snap);
		if (!snapio_is_good(snap))
			reset(io);
	}
	pthread_mutex_unlock(&io->lock);
}
