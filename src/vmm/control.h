// SPDX-License-Identifier: Apache-2.0
/*
 * The VMM's end of the control socket (proto/control.h): one function for each thing the VMM says,
 * and the reception of what it is told. Sending is allowed from any thread.
 */
#pragma once

#include "base/err.h"
#include "proto/control.h"

/* One received packet. */
struct control_packet {
	_Alignas(8) uint8_t data[CTL_MESSAGE_MAX];
	size_t bytes;
	int fds[9 + CTL_INITRAMFS_MAX + CTL_BLOCKS_MAX]; /* owned */
	unsigned n_fds;
};

/* Receives the next packet and checks its head. Returns 1 with *ret set, 0 when the library is
 * gone, -EAGAIN when there is none (on a non-blocking socket), or a negative code with e set. */
int control_receive(int sock, struct control_packet *ret, struct err *e) MUST_CHECK;
void control_packet_close(struct control_packet *p);
uint16_t control_type(const struct control_packet *p);

/* Tells the library. Return 0 or -errno: -EAGAIN when its queue is full, -EPIPE when it is gone. */
int control_send_running(int sock, const uint64_t timing_us[CTL_TIMINGS]) MUST_CHECK;
int control_send_incoming(int sock, uint32_t port, int fd) MUST_CHECK;

/* What came of a request: `why` (NULL: success) and the values, whose meaning is CTL_V_*. Waits up
 * to a second for a library that is slow to read. */
int control_send_answer(int sock, enum ctl_type to, const struct err *why,
	const uint64_t value[CTL_ANSWER_VALUES]) MUST_CHECK;

/* The last word; waits up to a second for a library that is slow to read. type is CTL_END, or
 * CTL_PROBED. `why` may be NULL. */
int control_send_end(
	int sock, enum ctl_type type, enum ctl_end_reason reason, const struct err *why) MUST_CHECK;
