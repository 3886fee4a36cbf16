// SPDX-License-Identifier: Apache-2.0
/* virtio-blk (virtio 1.2 §5.2): requests to a struct disk. Threads: see virtio.h. */
#pragma once

#include "virtio/virtio.h"

struct disk;

enum { BLK_SERIAL_BYTES = 20 };

/* A block device over `disk`, which it takes on success; read-only when the disk is. The guest
 * sees `serial` ("layer0"), cut off at BLK_SERIAL_BYTES. Gives *ret_dev, ended by virtio_free.
 * Returns 0 or negative with e set. */
int blk_new(const struct virtio_host *host, struct disk *disk, const char *serial,
	struct virtio_dev **ret_dev, struct err *e) MUST_CHECK;
