// SPDX-License-Identifier: Apache-2.0
/*
 * What a VM is made of, as the library asked for it: the CTL_CONFIG packet taken apart and checked.
 * The library is a stranger too: nothing in the packet is believed before it was bounded.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "proto/control.h"

enum {
	CONFIG_MEMORY_MIN = 32 << 20,
	CONFIG_FDS_MAX = 3 + CTL_INITRAMFS_MAX + CTL_BLOCKS_MAX,
};

#define CONFIG_MEMORY_MAX ((uint64_t)1 << 40)

struct vm_config {
	uint64_t memory_bytes;
	unsigned vcpus;
	uint32_t host_port_first, host_port_count;
	const char *cmdline; /* not terminated; points into the packet */
	size_t cmdline_bytes;
	const void *boot_archive; /* points into the packet */
	size_t boot_archive_bytes;
	/* Owned descriptors; -1 when handed on. */
	int kvm_fd, console_fd, kernel_fd;
	int initramfs_fds[CTL_INITRAMFS_MAX];
	unsigned n_initramfs;
	int block_fds[CTL_BLOCKS_MAX]; /* layers, then volumes */
	unsigned n_layers, n_volumes;
};

/* Takes a packet and its descriptors apart. Takes the descriptors on success; on failure they stay
 * the caller's. The packet must outlive *ret. */
int config_parse(const void *packet, size_t bytes, const int *fds, unsigned n_fds,
	struct vm_config *ret, struct err *e) MUST_CHECK;

/* Closes the descriptors that have not been handed on. */
void config_close(struct vm_config *c);
