// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-balloon (virtio 1.2 §5.5): pages that the guest gives up, or reports as free, go back to
 * the host at once. Threads: see virtio.h.
 */
#pragma once

#include "virtio/virtio.h"

/* An empty balloon. Gives *ret_dev, ended by virtio_free. Returns 0 or negative with e set. */
int balloon_new(
	const struct virtio_host *host, struct virtio_dev **ret_dev, struct err *e) MUST_CHECK;

/* Asks the guest to give up `bytes` in all (rounded down to pages, cut off at the size of RAM);
 * it complies in its own time. d must be a balloon. Any thread. */
void balloon_set_target(struct virtio_dev *d, uint64_t bytes);

/* What the guest says it has given up, in bytes. Any thread. */
uint64_t balloon_actual(struct virtio_dev *d);

/* Bytes that went back to the host since the device was made: inflated and reported free. Any
 * thread. */
uint64_t balloon_given_back(struct virtio_dev *d);
