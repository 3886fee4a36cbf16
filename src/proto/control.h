// SPDX-License-Identifier: Apache-2.0
/*
 * Control protocol: library <-> VMM process, over one SOCK_SEQPACKET unix socket (descriptor
 * CTL_SOCKET_FD in the VMM). One message is one packet; descriptors travel with it (SCM_RIGHTS).
 *
 * The library sends CTL_CONFIG first, exactly once; the VMM opens nothing by itself, so everything
 * it will ever need is in that packet. Then each side sends what it likes of the rest. The VMM's
 * last word is CTL_END; end of file on the socket makes the VMM exit at once, so that it never
 * outlives the process that asked for it.
 *
 * Both ends are built from one source tree and check `version` against each other.
 */
#pragma once

#include <stdint.h>

enum {
	CTL_VERSION = 1,
	CTL_SOCKET_FD = 3,
	CTL_MESSAGE_MAX = 64 * 1024,
	CTL_INITRAMFS_MAX = 4,
	CTL_BLOCKS_MAX = 32,
	CTL_VCPUS_MAX = 16,
	CTL_TIMINGS = 8,
};

enum ctl_type {
	/* library -> VMM */
	CTL_CONFIG = 1,	 /* struct ctl_config, then its variable parts and descriptors */
	CTL_CONNECT = 2, /* struct ctl_port + 1 descriptor: join it to a new connection to a guest
			  * port; the descriptor reads end of file when the guest refuses or dies */
	CTL_BALLOON = 3, /* struct ctl_balloon: how much memory the guest shall give back */
	CTL_PROBE = 4,	 /* instead of CTL_CONFIG, + descriptor of /dev/kvm: run the tiny guest */

	/* VMM -> library */
	CTL_RUNNING = 16,  /* struct ctl_running: the vCPUs run */
	CTL_INCOMING = 17, /* struct ctl_port + 1 descriptor: the guest connected to a host port */
	CTL_END = 18,	   /* struct ctl_end: why the VM is no more; the VMM then exits */
	CTL_PROBED = 19,   /* struct ctl_end: code 0 when Linux guests can run */
};

struct ctl_header {
	uint16_t version;
	uint16_t type;	/* enum ctl_type */
	uint32_t bytes; /* of the whole packet, this header included */
};

/*
 * Descriptors of CTL_CONFIG, in this order: /dev/kvm, console log (struct console_log of
 * proto/console_log.h, read-write), kernel, n_initramfs initramfs parts, n_layers read-only disks,
 * n_volumes writable disks. After the struct: cmdline_bytes bytes of kernel command line (no NUL),
 * then boot_archive_bytes bytes of a newc archive that the VMM puts after the initramfs unread.
 */
struct ctl_config {
	struct ctl_header header;
	uint64_t memory_bytes;
	uint32_t vcpus;
	uint32_t n_initramfs;
	uint32_t n_layers;
	uint32_t n_volumes;
	uint32_t cmdline_bytes;
	uint32_t boot_archive_bytes;
	uint32_t host_port_first; /* guest connections to CID 2 are accepted on these ports */
	uint32_t host_port_count;
};

struct ctl_port {
	struct ctl_header header;
	uint32_t port;
	uint32_t reserved;
};

struct ctl_balloon {
	struct ctl_header header;
	uint64_t target_bytes;
};

/* Microseconds of each step of the build; the names are in enum ctl_timing. */
enum ctl_timing {
	CTL_T_CONFIG, /* start of main to configuration read */
	CTL_T_MEMORY,
	CTL_T_HYPERVISOR,
	CTL_T_KERNEL, /* kernel and initramfs into guest memory */
	CTL_T_DEVICES,
	CTL_T_VCPUS,
	CTL_T_TOTAL,
};

struct ctl_running {
	struct ctl_header header;
	uint64_t timing_us[CTL_TIMINGS];
};

enum ctl_end_reason {
	CTL_END_ERROR = 1, /* the VM could not be built or had to be given up: see code and texts */
	CTL_END_POWEROFF,
	CTL_END_RESET,
	CTL_END_PANIC, /* the guest's kernel gave up: pvpanic-less, seen by triple fault or its
			* reset after a panic message on the console */
};

/* All texts are terminated. code is -Exxx; 0 with CTL_END_POWEROFF. */
struct ctl_end {
	struct ctl_header header;
	uint32_t reason;
	int32_t code;
	char object[192];
	char cause[256];
	char remedy[256];
};

_Static_assert(sizeof(struct ctl_header) == 8, "wire format");
_Static_assert(sizeof(struct ctl_config) == 48, "wire format");
_Static_assert(sizeof(struct ctl_port) == 16, "wire format");
_Static_assert(sizeof(struct ctl_running) == 72, "wire format");
_Static_assert(sizeof(struct ctl_end) == 720, "wire format");
