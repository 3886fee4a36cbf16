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
	CONFIG_FDS_MAX = 9 + CTL_INITRAMFS_MAX + CTL_BLOCKS_MAX,
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
	bool is_restore;
	bool is_same_host; /* the snapshot was taken on this host */
	bool has_disk;	   /* a writable root disk, after the volumes */
	/* Owned descriptors; -1 when there is none or it was handed on. */
	int kvm_fd, console_fd;
	int kernel_fd;						/* cold boot */
	int state_fd, memory_fd, chain_memory_fd, write_set_fd; /* restore */
	int disk_base_fd, disk_fd, chain_disk_fd;
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
