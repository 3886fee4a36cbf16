// SPDX-License-Identifier: Apache-2.0
/*
 * Tiny guests: a few instructions in 64-bit ring 0, run on the real /dev/kvm, one promise each.
 *
 * The instructions stand in the test itself, as a GUEST; they are loaded at TINY_CODE of 2 MiB of
 * RAM whose first GiB of addresses is mapped one to one. Every check that fails ends the program
 * with both values told; without /dev/kvm the test is skipped.
 */
#pragma once

#include "arch/state.h"
#include "base/cc.h"
#include "hv/hv.h"
#include "mem/gmem.h"

enum {
	TINY_RAM_BYTES = 2 << 20,
	TINY_CODE = 0x10000,
	TINY_DATA = 0x20000,	/* zeroes */
	TINY_MMIO = 0x10000000, /* mapped by the guest's tables, not RAM */
	TINY_PORT = 0x80,	/* where guests report */
	TINY_VCPUS_MAX = 4,
	EXIT_SKIPPED = 77, /* what meson takes for "skipped" */
};

/* Code between name and name_end, assembled in place. */
#define GUEST(name, text)                                                                          \
	extern const uint8_t name[], name##_end[];                                                 \
	__asm__(".pushsection .rodata.guest, \"a\"\n" #name ":\n" text "\n" #name                  \
		"_end:\n.popsection\n")

struct tiny {
	struct gmem memory;
	int kvm;
	struct hv *hv;
	struct hv_vcpu *vcpus[TINY_VCPUS_MAX];
	unsigned n_vcpus;
	struct arch_boot_state start;
};

/* Builds the VM, with split irqchip, and puts vCPU 0 at the beginning of the code. Binds no
 * thread. */
void tiny_open(struct tiny *t, unsigned n_vcpus, const uint8_t *code, const uint8_t *code_end);
void tiny_close(struct tiny *t);

/* Only the VM and its memory slot, over t->memory, which is there. */
void tiny_open_vm(struct tiny *t);

/* Runs vCPU `id` to its next exit, which must be of this kind. Bound to the calling thread. A
 * watchdog ends the program when it takes ten seconds. */
struct hv_exit tiny_run(struct tiny *t, unsigned id, enum hv_exit_kind kind);

/* Runs vCPU `id` for about so long; it must not exit by itself. */
void tiny_run_us(struct tiny *t, unsigned id, unsigned us);

/* The next exit must be one OUT of `bytes` bytes of this value to TINY_PORT. */
void tiny_expect_report(struct tiny *t, unsigned id, uint64_t value, unsigned bytes);

/* The next exit must be this access to memory that is not there. */
struct hv_exit tiny_expect_mmio(
	struct tiny *t, unsigned id, enum hv_exit_kind kind, uint64_t gpa, unsigned bytes);

/* Little-endian value of an exit's data. */
uint64_t tiny_value(const struct hv_exit *x);

/* A failed call ends the program, with the error's sentence. */
void tiny_must(int r, const struct err *e);
void tiny_equal(const char *what, uint64_t got, uint64_t wanted);
NORETURN void tiny_fail(const char *why, ...) PRINTF_LIKE(1, 2);
