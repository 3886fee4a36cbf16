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
	CTL_VERSION = 2,
	CTL_SOCKET_FD = 3,
	CTL_MESSAGE_MAX = 64 * 1024,
	CTL_INITRAMFS_MAX = 4,
	CTL_BLOCKS_MAX = 32,
	CTL_VCPUS_MAX = 16,
	CTL_TIMINGS = 16,
	CTL_ANSWER_VALUES = 12,
};

enum ctl_type {
	/* library -> VMM */
	CTL_CONFIG = 1,	  /* struct ctl_config, then its variable parts and descriptors */
	CTL_CONNECT = 2,  /* struct ctl_port + 1 descriptor: join it to a new connection to a guest
			   * port; the descriptor reads end of file when the guest refuses or dies */
	CTL_BALLOON = 3,  /* struct ctl_balloon: how much memory the guest shall give back */
	CTL_PROBE = 4,	  /* instead of CTL_CONFIG, + descriptor of /dev/kvm: run the tiny guest */
	CTL_SNAPSHOT = 5, /* struct ctl_snapshot + descriptors: write the machine's state; the VM is
			   * at rest meanwhile and goes on afterwards, whatever came of it */
	CTL_ROLLBACK = 6, /* no payload: be the snapshot again that was restored; with
			   * /proc/PID/pagemap of the VMM what was only read stays mapped */
	CTL_PAGES = 7,	  /* struct ctl_pages + descriptors: which pages were touched so far */

	/* VMM -> library */
	CTL_RUNNING = 16,  /* struct ctl_running: the vCPUs run */
	CTL_INCOMING = 17, /* struct ctl_port + 1 descriptor: the guest connected to a host port */
	CTL_END = 18,	   /* struct ctl_end: why the VM is no more; the VMM then exits */
	CTL_PROBED = 19,   /* struct ctl_end: code 0 when Linux guests can run */
	CTL_ANSWER = 20,   /* struct ctl_answer: what came of CTL_SNAPSHOT, _ROLLBACK or _PAGES */
};

struct ctl_header {
	uint16_t version;
	uint16_t type;	/* enum ctl_type */
	uint32_t bytes; /* of the whole packet, this header included */
};

enum ctl_config_flag {
	CTL_F_RESTORE = 1,  /* be a snapshot instead of booting */
	CTL_F_CHAIN = 2,    /* with RESTORE: a differential snapshot on a full one */
	CTL_F_DISK = 4,	    /* a writable root disk */
	CTL_F_POPULATE = 8, /* with RESTORE: a write set comes with it */
	CTL_F_SAME_HOST =
		16, /* with RESTORE: saved on this host since it booted, so by the same CPU */
};

/*
 * Descriptors of CTL_CONFIG, in this order:
 *   /dev/kvm
 *   console log (struct console_log of proto/console_log.h, read-write)
 *   cold boot: kernel, n_initramfs initramfs parts
 *   restore:   state, memory (of the full snapshot); with CHAIN: memory of the differential one,
 *              whose state it then is; with POPULATE: the write set (struct memfile_run each)
 *   n_layers read-only disks, n_volumes writable disks
 *   with DISK: its base (read-only), an empty file of its own (read-write); with CHAIN also the
 *              clusters of the differential snapshot
 * After the struct: cmdline_bytes bytes of kernel command line (no NUL), then boot_archive_bytes
 * bytes of a newc archive that the VMM puts after the initramfs unread; both empty on restore.
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
	uint32_t flags; /* CTL_F_* */
	uint32_t reserved;
};

enum ctl_snapshot_flag {
	CTL_S_DIFF = 1, /* only what differs from the full snapshot that was restored */
};

/* Descriptors: state, memory (both empty, read-write), /proc/PID/pagemap of the VMM; then, when the
 * machine has a writable disk, its file (empty, read-write). Answer: CTL_V_SNAPSHOT_*. */
struct ctl_snapshot {
	struct ctl_header header;
	uint32_t flags; /* CTL_S_* */
	uint32_t reserved;
};

/* Descriptors: /proc/PID/pagemap of the VMM, then an empty file for the pages written and one for
 * the pages read since the restore (struct memfile_run each). Answer: CTL_V_PAGES_*. */
struct ctl_pages {
	struct ctl_header header;
	uint64_t reserved;
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
	/* of a restore, machine contract section 5 */
	CTL_T_STATE,	/* the state file read and checked */
	CTL_T_RAM_COPY, /* bytes copied into RAM: none when it is mapped */
	CTL_T_IRQCHIP,
	CTL_T_VCPU_STATE,
	CTL_T_CLOCK,
	CTL_T_MMIO,
	CTL_T_LISTENERS,
};

struct ctl_running {
	struct ctl_header header;
	uint64_t timing_us[CTL_TIMINGS];
};

enum ctl_end_reason {
	CTL_END_ERROR = 1, /* the VM could not be built or had to be given up: see code and texts */
	CTL_END_POWEROFF,
	CTL_END_RESET,
	CTL_END_PANIC, /* a reset or triple fault after a panic message on the console */
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

/* Indices into ctl_answer.value. */
enum {
	CTL_V_SNAPSHOT_STATE_BYTES = 0,
	CTL_V_SNAPSHOT_MEMORY_BYTES,	/* of guest memory written, holes not counted */
	CTL_V_SNAPSHOT_MEMORY_CHECKSUM, /* as sparse_checksum of base/sparse.h */
	CTL_V_SNAPSHOT_DISK_BYTES,	/* written, holes not counted */
	CTL_V_SNAPSHOT_DISK_CHECKSUM,
	CTL_V_SNAPSHOT_PAUSE_US, /* for which the vCPUs stood still */
	CTL_V_SNAPSHOT_WALL_NS,	 /* CLOCK_REALTIME when they stopped */
	CTL_V_ROLLBACK_US = 0,
	CTL_V_PAGES_WRITTEN = 0,
	CTL_V_PAGES_READ,
};

/* code 0, or -Exxx and the texts. */
struct ctl_answer {
	struct ctl_header header;
	uint32_t to; /* enum ctl_type of the request */
	int32_t code;
	char object[192];
	char cause[256];
	char remedy[256];
	uint64_t value[CTL_ANSWER_VALUES];
};

_Static_assert(sizeof(struct ctl_header) == 8, "wire format");
_Static_assert(sizeof(struct ctl_config) == 56, "wire format");
_Static_assert(sizeof(struct ctl_port) == 16, "wire format");
_Static_assert(sizeof(struct ctl_running) == 136, "wire format");
_Static_assert(sizeof(struct ctl_end) == 720, "wire format");
_Static_assert(sizeof(struct ctl_answer) == 816, "wire format");
