// SPDX-License-Identifier: Apache-2.0
/*
 * A 16550A UART, the guest's early and kernel console.
 *
 * The line is infinitely fast: what the guest transmits is gone at once. Output is gathered and
 * handed to a sink a line or a burst at a time, never a byte at a time; input waits in a bounded
 * FIFO. It does not know where the bytes go. Registers are used from vCPU threads, input from
 * any; one mutex covers all of it and is held while the sink and the interrupt line are called.
 */
#pragma once

#include <pthread.h>

#include "base/err.h"
#include "dev/irq.h"

struct bus;

enum {
	SERIAL_PORTS = 8,	   /* I/O ports it takes */
	SERIAL_INPUT_ROOM = 64,	   /* bytes typed ahead */
	SERIAL_OUTPUT_BURST = 256, /* bytes gathered at most before the sink is called */
};

/* Takes `bytes` (1..SERIAL_OUTPUT_BURST) bytes of output. Must not call back into the UART. */
typedef void serial_sink(void *ctx, const void *data, size_t bytes);

struct serial {
	pthread_mutex_t lock;
	struct irq irq;
	serial_sink *sink;
	void *sink_ctx;
	uint8_t ier, lcr, mcr, scr, dll, dlm; /* as the guest wrote them */
	bool is_fifo_on;
	bool is_thre_pending; /* "transmitter empty" is to be reported */
	bool is_overrun;
	bool is_irq_high; /* the level of the line, for its edges */
	uint8_t input[SERIAL_INPUT_ROOM];
	unsigned input_at, input_n; /* ring: first byte, number of bytes */
	uint8_t output[SERIAL_OUTPUT_BURST];
	unsigned output_n;
};

/* irq is copied; ctx of the sink is borrowed. */
void serial_init(struct serial *s, const struct irq *irq, serial_sink *sink, void *sink_ctx);
void serial_fini(struct serial *s);

struct snapio;

/* Walks its registers and what has been typed ahead; gathered output goes to the sink first. No
 * vCPU runs. */
void serial_snap(struct serial *s, struct snapio *io);

/* Puts it on a port bus at `base` (COM1: 0x3f8). As bus_add. */
int serial_register(struct serial *s, struct bus *pio, uint64_t base, struct err *e) MUST_CHECK;

/* Types bytes at the guest. Returns how many fitted; offer the rest again later. Any thread. */
size_t serial_input(struct serial *s, const void *data, size_t bytes);

/* Hands gathered output to the sink now; call before the machine ends. Any thread. */
void serial_flush(struct serial *s);
