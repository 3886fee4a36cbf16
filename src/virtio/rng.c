// SPDX-License-Identifier: Apache-2.0
#include "virtio/rng.h"

#include <errno.h>
#include <stdlib.h>

#include "backend/entropy.h"

enum { RNG_QUEUE_SIZE = 64 };

static int64_t handle(struct virtio_dev *d, struct vq_chain *chain)
{
	(void)d;
	/* §5.4.6.1: only writable buffers; readable ones are passed over. The host's kernel does
	 * not fail here once it has booted; if it does, this device has nothing to give. */
	return entropy_fill(vq_in(chain), chain->n_in);
}

static void notify(struct virtio_dev *d, unsigned queue)
{
	virtio_serve(d, queue, handle);
}

static void rng_free(struct virtio_dev *d)
{
	virtio_fini(d);
	free(d);
}

static const struct virtio_ops ops = {
	.name = "virtio-rng",
	.id = VIRTIO_ID_ENTROPY,
	.n_queues = 1,
	.queue_size = RNG_QUEUE_SIZE,
	.notify = notify,
	.free = rng_free,
};

int rng_new(const struct virtio_host *host, struct virtio_dev **ret_dev, struct err *e)
{
	struct virtio_dev *d = malloc(sizeof(*d));
	int r;

	if (!d)
		return err_set(e, -ENOMEM, "no memory for the random number device");
	r = virtio_init(d, &ops, host, 0, NULL, e);
	if (r < 0) {
		free(d);
		return r;
	}
	*ret_dev = d;
	return 0;
}
