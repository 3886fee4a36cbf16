// SPDX-License-Identifier: Apache-2.0
/*
 * snapshot.json: what a snapshot says of itself, so that whoever restores it knows before anything
 * is started whether it can be. docs/snapshot-format.md has each member. Data in, data out; what is
 * read was written by a stranger.
 */
#pragma once

#include "api/commands.h"
#include "api/link.h"
#include "oci/image.h"
#include "oci/record.h"

enum {
	SNAPSHOT_FORMAT = 1,
	SNAPSHOT_JSON_MAX = 4 << 20,
	SNAPSHOT_ID_BYTES = 33, /* 32 hexadecimal digits and the NUL */
	SNAPSHOT_PATH_MAX = 4096,
};

#define SNAPSHOT_MEMORY_MIN ((uint64_t)32 << 20)
#define SNAPSHOT_MEMORY_MAX ((uint64_t)1 << 40)
#define SNAPSHOT_DISK_MIN   ((uint64_t)64 << 20)
#define SNAPSHOT_DISK_MAX   ((uint64_t)16 << 40)

/* What a VM is, however it came to be. */
struct machine {
	uint64_t memory_bytes;
	unsigned vcpus;
	uint64_t disk_bytes;  /* of the disk that takes the guest's writes; 0: a tmpfs does */
	uint64_t tmpfs_bytes; /* its limit; 0: half of memory */
	char *cmdline;	      /* the caller's words of the kernel command line; may be NULL */
	char *kernel;	      /* path that it was booted from; may be NULL */
	struct file_identity kernel_file;
};

void machine_fini(struct machine *m);
int machine_copy(const struct machine *from, struct machine *to) MUST_CHECK;

/* A file of the snapshot. */
struct snapshot_file {
	uint64_t bytes;	     /* its size */
	uint64_t data_bytes; /* without holes */
	uint64_t checksum;   /* `state`: checksum_of; others: sparse_checksum */
};

struct snapshot {
	char id[SNAPSHOT_ID_BYTES];
	char product[32]; /* version that wrote it */
	char architecture[16];
	char *boot_id; /* of the host that it was taken on; may be NULL */
	struct machine machine;
	struct image *image; /* owned; the layers' paths are NULL */
	/* Of a differential one; base_id is empty in a full one. */
	char base_id[SNAPSHOT_ID_BYTES];
	char *base_path; /* absolute, or relative to this snapshot's directory */
	struct snapshot_file state, memory, disk; /* disk: all 0 when there is none */
	struct agent_listener listeners[LINK_LISTENERS_MAX];
	unsigned n_listeners;
	struct command commands[COMMANDS_MAX];
	unsigned n_commands;
	uint64_t created; /* seconds since 1970 */
	uint64_t wall_ns; /* CLOCK_REALTIME when it stood still */
	uint64_t pause_us;
};

/* Linux's random name for the time since this host booted (random(4)); NULL when it has none. */
char *snapshot_boot_id(void);

/* Heap-allocated, as it is large. */
void snapshot_free(struct snapshot *s);

/* As text, members sorted; free(3) it. -ENOMEM, or -EINVAL when a path is not UTF-8. */
int snapshot_encode(const struct snapshot *s, char **ret, struct err *e) MUST_CHECK;

/* Reads it, checking every type, bound and relation. -EBADMSG what is wrong, -ENOTSUP a newer
 * format, -ENOMEM. The object is "snapshot.json". */
int snapshot_decode(
	const void *data, size_t bytes, struct snapshot **ret, struct err *e) MUST_CHECK;

/* The devices in the order in which they are created and saved: the name of the index-th, or false
 * behind the last. */
bool snapshot_device(const struct snapshot *s, unsigned index, char out[16]);
