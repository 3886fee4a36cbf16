// SPDX-License-Identifier: Apache-2.0
/*
 * What a VM boots from: files opened for the VMM, which opens nothing itself, and the CTL_CONFIG
 * packet that names them. Knows no process.
 */
#pragma once

#include "base/buf.h"
#include "base/fd.h"
#include "oci/image.h"
#include "proto/control.h"

enum { BOOT_FDS_MAX = 3 + CTL_INITRAMFS_MAX + CTL_BLOCKS_MAX };

struct boot {
	char *kernel; /* path, for errors */
	int fds[BOOT_FDS_MAX];
	unsigned n_fds;
	unsigned n_initramfs;
	unsigned n_layers;
	struct buf packet; /* struct ctl_config and what follows it */
};

struct boot_request {
	uint64_t memory_bytes;
	unsigned vcpus;
	const char *kernel;  /* NULL: the default */
	const char *cmdline; /* added; may be NULL */
	const char *name;    /* host name */
	int console_fd;	     /* borrowed */
	const struct image *image;
};

/* Opens all and writes the packet. On failure nothing is kept. */
int boot_prepare(struct boot *b, const struct boot_request *q, struct err *e) MUST_CHECK;

/* Closes what was opened (the console log too: boot has a duplicate). */
void boot_fini(struct boot *b);
