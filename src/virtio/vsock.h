// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-vsock (virtio 1.2 §5.10): moves packets between the queues and the muxer, no more. Its
 * queues run on the muxer's thread. Other threads: see virtio.h.
 */
#pragma once

#include "virtio/virtio.h"

struct mux;

/* The device of `mux` (borrowed; its thread not running yet), whose loop is used instead of
 * host->loop. Gives *ret_dev, ended by virtio_free after mux_stop and before mux_free. Returns 0
 * or negative with e set. */
int vsock_new(const struct virtio_host *host, struct mux *mux, uint64_t guest_cid,
	struct virtio_dev **ret_dev, struct err *e) MUST_CHECK;

/* Tells the guest that every connection is gone (virtio 1.2 §5.10.6.7), now or as soon as it gives
 * a buffer to say so in. Does not touch the muxer: mux_reset does. Any thread. */
void vsock_transport_reset(struct virtio_dev *d);
