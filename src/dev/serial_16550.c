// SPDX-License-Identifier: Apache-2.0
/*
 * Registers: PC16550D data sheet §8. Only what a driver can observe of an infinitely fast line is
 * kept: the transmitter is always empty, so a byte written makes "transmitter empty" pending anew.
 */
#include "dev/serial_16550.h"

#include <string.h>

#include "base/snapio.h"
#include "dev/bus.h"

enum {
	/* Offsets. */
	REG_DATA = 0, /* RBR, THR; DLL while DLAB */
	REG_IER = 1,  /* DLM while DLAB */
	REG_IIR = 2,  /* read; FCR on write */
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCR = 7,

	IER_RX = 1 << 0,
	IER_THRE = 1 << 1,
	IER_LINE = 1 << 2,
	IER_ALL = 0x0f,

	IIR_NONE = 0x01,
	IIR_THRE = 0x02,
	IIR_RX = 0x04,
	IIR_LINE = 0x06,
	IIR_FIFO = 0xc0,

	FCR_ENABLE = 1 << 0,
	FCR_CLEAR_RX = 1 << 1,

	LCR_DLAB = 1 << 7,

	MCR_LOOP = 1 << 4,
	MCR_ALL = 0x1f,

	LSR_DATA = 1 << 0,
	LSR_OVERRUN = 1 << 1,
	LSR_THR_EMPTY = 1 << 5,
	LSR_IDLE = 1 << 6,

	MSR_CTS = 1 << 4,
	MSR_DSR = 1 << 5,
	MSR_RI = 1 << 6,
	MSR_DCD = 1 << 7,
};

static void reset(struct serial *s)
{
	s->ier = s->mcr = s->scr = s->dlm = 0;
	s->lcr = 3;
	s->dll = 1;
	s->is_fifo_on = s->is_thre_pending = s->is_overrun = s->is_irq_high = false;
	s->input_at = s->input_n = s->output_n = 0;
}

void serial_init(struct serial *s, const struct irq *irq, serial_sink *sink, void *sink_ctx)
{
	*s = (struct serial){.irq = *irq, .sink = sink, .sink_ctx = sink_ctx};
	pthread_mutex_init(&s->lock, NULL);
	reset(s);
}

void serial_fini(struct serial *s)
{
	pthread_mutex_destroy(&s->lock);
}

/* Interrupt identification: the most urgent cause that is both true and enabled. */
static uint8_t cause(const struct serial *s)
{
	if (s->ier & IER_LINE && s->is_overrun)
		return IIR_LINE;
	if (s->ier & IER_RX && s->input_n)
		return IIR_RX;
	if (s->ier & IER_THRE && s->is_thre_pending)
		return IIR_THRE;
	return IIR_NONE;
}

/* The line follows the causes; only its rising edge is seen. */
static void update_line(struct serial *s)
{
	bool is_high = cause(s) != IIR_NONE;

	if (is_high && !s->is_irq_high)
		irq_raise(&s->irq);
	s->is_irq_high = is_high;
}

static void flush(struct serial *s)
{
	unsigned n = s->output_n;

	s->output_n = 0;
	if (n)
		s->sink(s->sink_ctx, s->output, n);
}

static bool take_input(struct serial *s, uint8_t byte)
{
	if (s->input_n == SERIAL_INPUT_ROOM)
		return false;
	s->input[(s->input_at + s->input_n++) % SERIAL_INPUT_ROOM] = byte;
	return true;
}

static uint8_t give_input(struct serial *s)
{
	uint8_t byte;

	if (!s->input_n)
		return 0;
	byte = s->input[s->input_at];
	s->input_at = (s->input_at + 1) % SERIAL_INPUT_ROOM;
	s->input_n--;
	return byte;
}

static void transmit(struct serial *s, uint8_t byte)
{
	s->is_thre_pending = true;
	if (s->mcr & MCR_LOOP) {
		s->is_overrun |= !take_input(s, byte);
		return;
	}
	s->output[s->output_n++] = byte;
	if (byte == '\n' || s->output_n == SERIAL_OUTPUT_BURST)
		flush(s);
}

static uint8_t read_identification(struct serial *s)
{
	uint8_t id = cause(s);

	if (id == IIR_THRE)
		s->is_thre_pending = false;
	return id | (s->is_fifo_on ? IIR_FIFO : 0);
}

static uint8_t read_line_status(struct serial *s)
{
	uint8_t status = LSR_THR_EMPTY | LSR_IDLE;

	if (s->input_n)
		status |= LSR_DATA;
	if (s->is_overrun)
		status |= LSR_OVERRUN;
	s->is_overrun = false;
	return status;
}

/* In loopback the four outputs come back as the four inputs, which is how drivers tell a UART from
 * an empty port; else a terminal is always there. */
static uint8_t read_modem_status(const struct serial *s)
{
	unsigned out = s->mcr;

	if (!(out & MCR_LOOP))
		return MSR_DCD | MSR_DSR | MSR_CTS;
	return (uint8_t)((out & 1 ? MSR_DSR : 0) | (out & 2 ? MSR_CTS : 0) |
			 (out & 4 ? MSR_RI : 0) | (out & 8 ? MSR_DCD : 0));
}

static uint8_t read_register(struct serial *s, unsigned at)
{
	bool is_divisor = s->lcr & LCR_DLAB;

	switch (at) {
	case REG_DATA:
		return is_divisor ? s->dll : give_input(s);
	case REG_IER:
		return is_divisor ? s->dlm : s->ier;
	case REG_IIR:
		return read_identification(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return read_line_status(s);
	case REG_MSR:
		return read_modem_status(s);
	default:
		return s->scr;
	}
}

/* Drivers switch interrupts around a burst of output, so this is where an unfinished line, such as
 * a prompt, is handed on. Enabling THRE with the transmitter empty reports it at once. */
static void write_enable(struct serial *s, uint8_t value)
{
	if (value & ~s->ier & IER_THRE)
		s->is_thre_pending = true;
	s->ier = value & IER_ALL;
	flush(s);
}

static void write_register(struct serial *s, unsigned at, uint8_t value)
{
	bool is_divisor = s->lcr & LCR_DLAB;

	switch (at) {
	case REG_DATA:
		if (is_divisor)
			s->dll = value;
		else
			transmit(s, value);
		break;
	case REG_IER:
		if (is_divisor)
			s->dlm = value;
		else
			write_enable(s, value);
		break;
	case REG_IIR:
		s->is_fifo_on = value & FCR_ENABLE;
		if (value & FCR_CLEAR_RX)
			s->input_n = 0;
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		s->mcr = value & MCR_ALL;
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
}

/* Registers are a byte wide; a wider access touches the first only. */
static void port_read(void *ctx, uint64_t offset, void *ret_data, unsigned bytes)
{
	struct serial *s = ctx;

	memset(ret_data, 0xff, bytes);
	pthread_mutex_lock(&s->lock);
	*(uint8_t *)ret_data = read_register(s, (unsigned)offset);
	update_line(s);
	pthread_mutex_unlock(&s->lock);
}

static void port_write(void *ctx, uint64_t offset, const void *data, unsigned bytes)
{
	struct serial *s = ctx;

	(void)bytes;
	pthread_mutex_lock(&s->lock);
	write_register(s, (unsigned)offset, *(const uint8_t *)data);
	update_line(s);
	pthread_mutex_unlock(&s->lock);
}

static const struct bus_ops ops = {port_read, port_write};

int serial_register(struct serial *s, struct bus *pio, uint64_t base, struct err *e)
{
	return bus_add(pio, base, SERIAL_PORTS, &ops, s, "serial console", e);
}

size_t serial_input(struct serial *s, const void *data, size_t bytes)
{
	const uint8_t *from = data;
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	while (n < bytes && take_input(s, from[n]))
		n++;
	update_line(s);
	pthread_mutex_unlock(&s->lock);
	return n;
}

void serial_flush(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	flush(s);
	pthread_mutex_unlock(&s->lock);
}

static void walk_registers(struct serial *s, struct snapio *io)
{
	snapio_u8(io, "ier", &s->ier);
	snapio_u8(io, "lcr", &s->lcr);
	snapio_u8(io, "mcr", &s->mcr);
	snapio_u8(io, "scr", &s->scr);
	snapio_u8(io, "dll", &s->dll);
	snapio_u8(io, "dlm", &s->dlm);
	snapio_bool(io, "is_fifo_on", &s->is_fifo_on);
	snapio_bool(io, "is_thre_pending", &s->is_thre_pending);
	snapio_bool(io, "is_overrun", &s->is_overrun);
	if (s->ier & ~IER_ALL)
		snapio_fail(io, "ier", "%#x has bits that do not exist", s->ier);
	if (s->mcr & ~MCR_ALL)
		snapio_fail(io, "mcr", "%#x has bits that do not exist", s->mcr);
}

/* What has been typed ahead, first byte first. */
static void walk_input(struct serial *s, struct snapio *io)
{
	uint8_t input[SERIAL_INPUT_ROOM];
	uint32_t n = s->input_n;

	for (uint32_t i = 0; i < n; i++)
		input[i] = s->input[(s->input_at + i) % SERIAL_INPUT_ROOM];
	snapio_count(io, "n_input", &n, SERIAL_INPUT_ROOM);
	snapio_bytes(io, "input", input, n);
	if (!snapio_is_loading(io) || !snapio_is_good(io))
		return;
	memcpy(s->input, input, n);
	s->input_at = 0;
	s->input_n = n;
}

void serial_snap(struct serial *s, struct snapio *io)
{
	pthread_mutex_lock(&s->lock);
	flush(s);
	walk_registers(s, io);
	walk_input(s, io);
	if (snapio_is_loading(io) && !snapio_is_good(io))
		reset(s);
	/* The level follows from the rest. Its edge was seen before the state was saved, and what
	 * came of it is in the interrupt controllers. */
	s->is_irq_high = cause(s) != IIR_NONE;
	pthread_mutex_unlock(&s->lock);
}
