// SPDX-License-Identifier: Apache-2.0
/*
 * Boot configuration: what init must know before the agent can be asked. The library writes it as
 * a text file "/bootcfg" into a newc archive that follows the initramfs; init reads it there. One
 * "key value" a line; an unknown key, a missing one or a bad value is refused.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOOTCFG_PATH "/bootcfg"

enum { BOOTCFG_TEXT_MAX = 4096, BOOTCFG_HOSTNAME_MAX = 64 };

struct bootcfg {
	uint32_t n_layers;    /* layer disks, serials "layer0" (lowest) … */
	uint32_t n_disks;     /* 1: the writable layer is the disk "root"; 0: it is a tmpfs */
	uint64_t tmpfs_bytes; /* size limit of that tmpfs; 0: half of RAM */
	char hostname[BOOTCFG_HOSTNAME_MAX + 1]; /* not empty */
};

/* Writes the text, terminated. Returns its length, or -EINVAL for a value that cannot be said
 * (host name with other than letters, digits, '-' and '.'), -E2BIG when it does not fit. */
int bootcfg_encode(const struct bootcfg *c, char *out, size_t room);

/* Reads `bytes` bytes of text from a stranger. Returns 0 or -EINVAL; *ret untouched then. */
int bootcfg_decode(const char *text, size_t bytes, struct bootcfg *ret);

/* Letters, digits, '-' and '.', neither of these first, at most BOOTCFG_HOSTNAME_MAX. */
bool bootcfg_is_hostname(const char *s);

/* Serial numbers by which init finds its disks (virtio 1.2 5.2.6, VIRTIO_BLK_T_GET_ID). */
#define BOOTCFG_LAYER_SERIAL  "layer%u"
#define BOOTCFG_VOLUME_SERIAL "volume%u"
#define BOOTCFG_DISK_SERIAL   "root" /* an ext4 file system, empty at first */
