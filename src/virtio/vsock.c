// SPDX-License-Identifier: Apache-2.0
#include "virtio/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/vsock_mux.h"
#include "base/iov.h"
#include "base/snapio.h"

enum {
	/* §5.10.2 */
	QUEUE_RX = 0, /* to the guest */
	QUEUE_TX = 1, /* from the guest */
	QUEUE_EVENT = 2,
	VSOCK_QUEUES = 3,
	VSOCK_QUEUE_SIZE = 256,

	EVENT_TRANSPORT_RESET = 0, /* §5.10.6.7 */

	PACKETS_A_KICK = 256, /* to the guest, before its own packets get their turn */
	PACKETS_A_SIGNAL = 32,
};

struct vsock_config {
	uint64_t guest_cid;
} PACKED;

struct vsock {
	struct virtio_dev dev;
	struct vsock_config config;
	struct mux *mux;
	bool is_reset_due; /* the guest has yet to hear of a transport reset */
};

static struct vsock *of(struct virtio_dev *d)
{
	return container_of(d, struct vsock, dev);
}

/* One packet from the guest. Header and payload may be cut into buffers anywhere. */
static int64_t send_packet(struct virtio_dev *d, struct vq_chain *chain)
{
	struct mux *mux = of(d)->mux;
	struct mux_header h;
	unsigned n;

	/* Too short to say whom it is from: nobody to answer. */
	if (iov_gather(&h, chain->iov, chain->n_out, 0, sizeof(h)) < sizeof(h))
		return 0;
	if (h.len > chain->out_bytes - sizeof(h)) {
		mux_receive(mux, &h, NULL, 0, true);
		return 0;
	}
	n = iov_slice(chain->iov, chain->iov, chain->n_out, sizeof(h), h.len);
	mux_receive(mux, &h, chain->iov, n, false);
	return 0;
}

/* One buffer of the guest. Returns 1 when a packet went into it, 0 when there was no packet. */
static int fill_buffer(struct vsock *v, struct virtq *q, const struct vq_chain *chain)
{
	struct iovec room[VQ_SIZE_MAX];
	struct mux_header h;
	unsigned n;

	if (chain->in_bytes <= sizeof(h))
		return -EPROTO; /* §5.10.6.5: no packet fits */
	n = iov_slice(room, vq_in(chain), chain->n_in, sizeof(h), chain->in_bytes - sizeof(h));
	if (!mux_next(v->mux, &h, room, n)) {
		vq_unpop(q);
		return 0;
	}
	iov_scatter(vq_in(chain), chain->n_in, 0, &h, sizeof(h));
	vq_push(q, chain->head, (uint32_t)sizeof(h) + h.len);
	return 1;
}

/* Packets to the guest while it has buffers, at most `budget`. Returns what is left of that, 0 when
 * it was used up, negative when the device must be given up. */
static int fill_buffers(struct vsock *v, struct virtq *q, int budget)
{
	struct vq_chain chain;
	int r;

	while (budget > 0 && mux_has_next(v->mux)) {
		r = vq_pop(q, &chain);
		if (r == 0 && vq_notify_on(q))
			continue;
		if (r <= 0)
			return r < 0 ? r : budget;
		r = fill_buffer(v, q, &chain);
		if (r < 0) {
			vq_push(q, chain.head, 0);
			return r;
		}
		budget -= r;
		if (budget % PACKETS_A_SIGNAL == 0)
			virtio_signal_used(&v->dev, q);
	}
	return budget;
}

/* The muxer has packets. While it has none the guest need not say that it has buffers. */
static void push_packets(struct vsock *v)
{
	struct virtq *q = &v->dev.queues[QUEUE_RX];
	int left;

	vq_notify_off(q);
	left = fill_buffers(v, q, PACKETS_A_KICK);
	virtio_signal_used(&v->dev, q);
	if (left < 0)
		virtio_need_reset(&v->dev);
	else if (!left)
		virtio_poke(&v->dev, QUEUE_RX); /* the rest in the next turn */
}

static void kick(void *ctx)
{
	struct vsock *v = ctx;

	pthread_mutex_lock(&v->dev.lock);
	if (virtio_is_running(&v->dev))
		push_packets(v);
	pthread_mutex_unlock(&v->dev.lock);
}

static void tell_reset(struct vsock *v)
{
	struct virtq *q = &v->dev.queues[QUEUE_EVENT];
	uint32_t event = EVENT_TRANSPORT_RESET;
	struct vq_chain chain;
	size_t told;
	int r;

	if (!v->is_reset_due)
		return;
	do
		r = vq_pop(q, &chain);
	while (r == 0 && vq_notify_on(q));
	if (r < 0)
		virtio_need_reset(&v->dev);
	if (r <= 0)
		return;
	told = iov_scatter(vq_in(&chain), chain.n_in, 0, &event, sizeof(event));
	vq_push(q, chain.head, (uint32_t)told);
	v->is_reset_due = false;
	virtio_signal_used(&v->dev, q);
}

void vsock_transport_reset(struct virtio_dev *d)
{
	pthread_mutex_lock(&d->lock);
	of(d)->is_reset_due = true;
	if (virtio_is_running(d))
		tell_reset(of(d));
	pthread_mutex_unlock(&d->lock);
}

/* A turn of the muxer's loop ends with a kick when there are packets for the guest, so a notice of
 * new buffers needs no more than the turn. */
static void notify(struct virtio_dev *d, unsigned queue)
{
	mux_settle(of(d)->mux);
	if (queue == QUEUE_TX)
		virtio_serve(d, queue, send_packet);
	else if (queue == QUEUE_EVENT)
		tell_reset(of(d));
}

/* The driver forgets its connections, so they end here too. One that has not run yet has none: what
 * the host asked for before the guest was up is kept for it. */
static void reset(struct virtio_dev *d)
{
	of(d)->is_reset_due = false;
	if (atomic_load(&d->status) & VIRTIO_S_DRIVER_OK)
		mux_post_reset(of(d)->mux);
}

/* The muxer's connections last: when anything before them is wrong, its own are left alone. */
static void snap(struct virtio_dev *d, struct snapio *io)
{
	struct vsock *v = of(d);
	uint64_t cid = v->config.guest_cid;

	snapio_u64(io, "guest_cid", &cid);
	if (cid != v->config.guest_cid)
		snapio_fail(io, "guest_cid", "the guest had address %llu, here it has %llu",
			(unsigned long long)cid, (unsigned long long)v->config.guest_cid);
	snapio_bool(io, "is_reset_due", &v->is_reset_due);
	mux_snap(v->mux, io);
}

static void vsock_free(struct virtio_dev *d)
{
	virtio_fini(d);
	free(of(d));
}

static const struct virtio_ops ops = {
	.name = "virtio-vsock",
	.id = VIRTIO_ID_VSOCK,
	.n_queues = VSOCK_QUEUES,
	.queue_size = VSOCK_QUEUE_SIZE,
	.config_size = sizeof(struct vsock_config),
	.reset = reset,
	.notify = notify,
	.snap = snap,
	.free = vsock_free,
};

int vsock_new(const struct virtio_host *host, struct mux *mux, uint64_t guest_cid,
	struct virtio_dev **ret_dev, struct err *e)
{
	struct virtio_host here = *host;
	struct vsock *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return err_set(e, -ENOMEM, "no memory for the vsock device");
	here.loop = mux_loop(mux);
	r = virtio_init(&v->dev, &ops, &here, 0, &v->config, e);
	if (r < 0) {
		free(v);
		return r;
	}
	v->config.guest_cid = guest_cid;
	v->mux = mux;
	mux_set_kick(mux, kick, v);
	*ret_dev = &v->dev;
	return 0;
}
