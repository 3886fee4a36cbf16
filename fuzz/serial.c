// SPDX-License-Identifier: Apache-2.0
/*
 * Any sequence of accesses to the UART. What is written to an open transmitter comes out, all of it
 * and in order; what is typed is bounded; the line status always says that the transmitter is free.
 *
 * Input: pairs of bytes, what and value.
 */
#include "dev/serial_16550.c"

#include <stdlib.h>

enum { EXPECTED_MAX = 1 << 16 };

#define CHECK(truth)                                                                               \
	do {                                                                                       \
		if (!(truth))                                                                      \
			abort();                                                                   \
	} while (0)

struct watcher {
	uint8_t expected[EXPECTED_MAX];
	size_t n_expected, n_seen;
	bool is_raised;
};

static void on_irq(void *ctx, unsigned line)
{
	(void)line;
	((struct watcher *)ctx)->is_raised = true;
}

static void on_output(void *ctx, const void *data, size_t bytes)
{
	struct watcher *w = ctx;

	CHECK(bytes && bytes <= SERIAL_OUTPUT_BURST);
	CHECK(bytes <= w->n_expected - w->n_seen);
	CHECK(!memcmp(w->expected + w->n_seen, data, bytes));
	w->n_seen += bytes;
}

static void access_port(struct serial *s, struct watcher *w, uint8_t what, uint8_t value)
{
	unsigned at = what & 7;
	uint8_t byte = value;

	if (what & 0x80) {
		CHECK(serial_input(s, &value, 1) <= 1);
		return;
	}
	if (what & 0x40) {
		port_read(s, at, &byte, 1);
		CHECK(at != REG_LSR || (byte & 0x60) == 0x60);
		return;
	}
	if (at == REG_DATA && !(s->lcr & LCR_DLAB) && !(s->mcr & MCR_LOOP) &&
		w->n_expected < EXPECTED_MAX)
		w->expected[w->n_expected++] = value;
	port_write(s, at, &byte, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct watcher w;
	struct serial s;

	w.n_expected = w.n_seen = 0;
	serial_init(&s, &(struct irq){on_irq, &w, 4}, on_output, &w);
	for (size_t i = 0; i + 2 <= size && i < EXPECTED_MAX; i += 2) {
		bool was_high = s.is_irq_high;

		w.is_raised = false;
		access_port(&s, &w, data[i], data[i + 1]);
		CHECK(s.input_n <= SERIAL_INPUT_ROOM && s.output_n < SERIAL_OUTPUT_BURST);
		CHECK(s.is_irq_high == (cause(&s) != IIR_NONE));
		CHECK(w.is_raised == (s.is_irq_high && !was_high));
	}
	serial_flush(&s);
	CHECK(w.n_seen == w.n_expected);
	serial_fini(&s);
	return 0;
}
