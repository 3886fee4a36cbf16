// SPDX-License-Identifier: Apache-2.0
/*
 * Guests of a dozen bytes, made in memory: what they do is one thing, so that what is measured is
 * the way to their first instruction and nothing of theirs. Each is an open file (memfd).
 */
#pragma once

#include <stdint.h>

#include "base/cc.h"

enum {
	TINY_CODE_MAX = 16,
	TINY_KERNEL_GPA = 0x100000,
	TINY_SPIN_GPA = TINY_KERNEL_GPA + 6, /* where tiny_spin_code waits */
	TINY_PATCH_MAX = 32,
};

/* Writes `value` to `port` again and again; the same bytes mean it in 32-bit and 64-bit mode.
 * Returns the number of bytes. */
unsigned tiny_out_code(uint8_t ret_code[TINY_CODE_MAX], uint16_t port, uint8_t value);

/* Writes `value` to `port` once, switches interrupts off and halts for good. */
unsigned tiny_halt_code(uint8_t ret_code[TINY_CODE_MAX], uint16_t port, uint8_t value);

/* Makes `value` and `port` ready for tiny_patch and jumps to itself at TINY_SPIN_GPA for ever: the
 * guest to take a snapshot of. */
unsigned tiny_spin_code(uint8_t ret_code[TINY_CODE_MAX], uint16_t port, uint8_t value);

/* What goes over the jump in the snapshot, so that the restored guest goes on with it: writes to
 * one byte in each of `pages` pages from 16 MiB on, does its port access unless it is_halting, and
 * halts for good. */
unsigned tiny_patch(uint8_t ret_code[TINY_PATCH_MAX], unsigned pages, bool is_halting);

/* An ELF kernel at 1 MiB of that code, with the entry of the 64-bit Linux boot protocol and a PVH
 * note for the 32-bit one. Returns a descriptor or -errno. */
int tiny_kernel(const uint8_t *code, unsigned bytes) MUST_CHECK;

/* 64 KiB of firmware that writes `value` to `port` from the processor's first instruction on.
 * Returns a descriptor or -errno. */
int tiny_firmware(uint16_t port, uint8_t value) MUST_CHECK;
