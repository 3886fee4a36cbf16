// SPDX-License-Identifier: Apache-2.0
/* Disks by their virtio serial number (virtio 1.2 5.2.6, VIRTIO_BLK_T_GET_ID). */
#pragma once

#include "base/err.h"

enum { DISKS_MAX = 32, DISKS_NAME_BYTES = 32 };

struct disks {
	unsigned n;
	char node[DISKS_MAX][DISKS_NAME_BYTES]; /* "/dev/vda"; of "layer0", "layer1" … */
	bool has_root;
	char root[DISKS_NAME_BYTES]; /* of the writable disk */
};

/* Finds the disks with serials "layer0" … of n_layers, and the writable one if it is wanted. One
 * that is not there yet is waited for, by kernel events, at most timeout_ms in all. */
int disks_find(struct disks *d, unsigned n_layers, bool want_root, int timeout_ms,
	struct err *e) MUST_CHECK;
