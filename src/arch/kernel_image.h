// SPDX-License-Identifier: Apache-2.0
/*
 * Recognises a Linux kernel for x86_64 from the beginning of its file and says which bytes go
 * where in guest memory: an uncompressed ELF vmlinux, or a bzImage with the 64-bit entry (Linux
 * boot protocol 2.12). The file is a stranger's: every number in it is checked against the file's
 * length and against the addresses that a kernel may have. Knows nothing of how much RAM there is.
 */
#pragma once

#include "base/cc.h"
#include "mem/gpa.h"

struct err;

enum {
	KERNEL_PREFIX_BYTES = 4096, /* enough of the file for any kernel */
	KERNEL_SEGMENTS_MAX = 16,
	KERNEL_SETUP_AT = 0x1f1, /* struct setup_header in bzImage and in boot_params alike */
	KERNEL_SETUP_MAX = 0x290 - KERNEL_SETUP_AT,
};

enum kernel_kind { KERNEL_ELF, KERNEL_BZIMAGE };

struct kernel_segment {
	uint64_t file_at;
	uint64_t file_bytes;
	gpa_t gpa;
	uint64_t mem_bytes; /* >= file_bytes; the rest is zeroes */
};

struct kernel_image {
	enum kernel_kind kind;
	gpa_t entry; /* of the 64-bit boot protocol */
	gpa_t end;   /* the kernel needs nothing from here on before it has its bearings */
	unsigned n_segments;
	struct kernel_segment segments[KERNEL_SEGMENTS_MAX];
	uint32_t setup_bytes; /* bzImage: its setup header, to be put into boot_params */
	uint8_t setup[KERNEL_SETUP_MAX];
};

/* Parses the first prefix_bytes bytes (all of it, or at least KERNEL_PREFIX_BYTES) of a file of
 * file_bytes bytes. Returns 0, or -ENOEXEC with a sentence saying what the file is instead or what
 * is wrong in it. */
int kernel_image_parse(const void *prefix, size_t prefix_bytes, uint64_t file_bytes,
	struct kernel_image *ret, struct err *e) MUST_CHECK;
