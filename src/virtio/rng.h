// SPDX-License-Identifier: Apache-2.0
/* virtio-rng (virtio 1.2 §5.4): the host's entropy to guest buffers. Threads: see virtio.h. */
#pragma once

#include "virtio/virtio.h"

/* Gives *ret_dev, ended by virtio_free. Returns 0 or negative with e set. */
int rng_new(const struct virtio_host *host, struct virtio_dev **ret_dev, struct err *e) MUST_CHECK;
