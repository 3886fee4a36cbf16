// SPDX-License-Identifier: Apache-2.0
#include "virtio/virtio.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/snapio.h"

enum {
	/* Requests in one turn of a queue, before others on the same loop get theirs. */
	REQUESTS_A_TURN = 256,
	/* Requests completed before the driver hears of them while more are handled. */
	REQUESTS_A_SIGNAL = 16,
};

static void notified(struct loop_watch *w, unsigned events)
{
	struct virtio_notifier *n = container_of(w, struct virtio_notifier, watch);
	struct virtio_dev *d = n->dev;
	uint64_t count;

	(void)events;
	if (read(w->fd, &count, sizeof(count)) < 0)
		return; /* somebody else's edge: nothing to do */
	pthread_mutex_lock(&d->lock);
	if (virtio_is_running(d))
		d->ops->notify(d, n->queue);
	pthread_mutex_unlock(&d->lock);
}

static int add_notifier(struct virtio_dev *d, unsigned queue, struct err *e)
{
	struct virtio_notifier *n = &d->notifiers[queue];
	int r;

	n->dev = d;
	n->queue = queue;
	n->watch.ready = notified;
	n->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->watch.fd < 0)
		return err_sys(e, "create the notifier of queue %u", queue);
	r = loop_add(d->loop, &n->watch, LOOP_READ);
	if (r < 0)
		return err_set(e, r, "cannot watch the notifier of queue %u", queue);
	return 0;
}

int virtio_init(struct virtio_dev *d, const struct virtio_ops *ops, const struct virtio_host *host,
	uint64_t features, void *config, struct err *e)
{
	int r;

	*d = (struct virtio_dev){
		.ops = ops,
		.gmem = host->gmem,
		.irq = host->irq,
		.loop = host->loop,
		.features = features | VIRTIO_FEATURES_ALL,
		.config = config,
	};
	pthread_mutex_init(&d->lock, NULL);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		d->notifiers[i].watch.fd = -1;
		vq_init(&d->queues[i], d->gmem, i < ops->n_queues ? ops->queue_size : 0);
	}
	for (unsigned i = 0; i < ops->n_queues; i++) {
		r = add_notifier(d, i, e);
		if (r < 0) {
			virtio_fini(d);
			return err_object(e, "virtio %s device", ops->name);
		}
	}
	return 0;
}

void virtio_fini(struct virtio_dev *d)
{
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		struct loop_watch *w = &d->notifiers[i].watch;

		if (w->fd < 0)
			continue;
		loop_remove(d->loop, w);
		close(w->fd);
		w->fd = -1;
	}
	pthread_mutex_destroy(&d->lock);
}

void virtio_free(struct virtio_dev *d)
{
	if (d)
		d->ops->free(d);
}

int virtio_notify_fd(const struct virtio_dev *d, unsigned queue)
{
	return queue < d->ops->n_queues ? d->notifiers[queue].watch.fd : -1;
}

void virtio_poke(struct virtio_dev *d, unsigned queue)
{
	uint64_t one = 1;

	/* It fails only when the counter is full, and then the loop is awake already. */
	if (queue < d->ops->n_queues)
		(void)!write(d->notifiers[queue].watch.fd, &one, sizeof(one));
}

bool virtio_is_running(const struct virtio_dev *d)
{
	uint32_t status = atomic_load(&d->status);

	return (status & VIRTIO_S_DRIVER_OK) &&
	       !(status & (VIRTIO_S_FAILED | VIRTIO_S_NEEDS_RESET));
}

static void reset(struct virtio_dev *d)
{
	if (d->ops->reset)
		d->ops->reset(d);
	atomic_store(&d->status, 0);
	atomic_store(&d->interrupt_status, 0);
	d->driver_features = 0;
	d->device_features_select = d->driver_features_select = d->queue_select = 0;
	for (unsigned i = 0; i < d->ops->n_queues; i++)
		vq_reset(&d->queues[i]);
}

static bool are_features_good(const struct virtio_dev *d)
{
	return !(d->driver_features & ~d->features) && virtio_has_feature(d, VIRTIO_F_VERSION_1);
}

void virtio_set_status(struct virtio_dev *d, uint32_t status)
{
	uint32_t old = atomic_load(&d->status);
	uint32_t added;

	if (!status) {
		reset(d);
		return;
	}
	added = status & ~old &
		(VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_FEATURES_OK |
			VIRTIO_S_DRIVER_OK | VIRTIO_S_FAILED);
	if (added & VIRTIO_S_FEATURES_OK && !are_features_good(d))
		added &= ~(uint32_t)VIRTIO_S_FEATURES_OK;
	if (added & VIRTIO_S_DRIVER_OK && !((old | added) & VIRTIO_S_FEATURES_OK))
		added &= ~(uint32_t)VIRTIO_S_DRIVER_OK;
	atomic_fetch_or(&d->status, added);
	/* What the driver put into its queues before it was allowed to notify is looked at now. */
	if (added & VIRTIO_S_DRIVER_OK)
		for (unsigned i = 0; i < d->ops->n_queues; i++)
			virtio_poke(d, i);
}

void virtio_enable_queue(struct virtio_dev *d, unsigned queue)
{
	struct virtq *q = &d->queues[queue];

	if (q->is_ready)
		return;
	if (vq_enable(q, virtio_has_feature(d, VIRTIO_F_EVENT_IDX)) < 0) {
		virtio_need_reset(d);
		return;
	}
	if (virtio_is_running(d))
		virtio_poke(d, queue);
}

void virtio_reset_queue(struct virtio_dev *d, unsigned queue)
{
	vq_reset(&d->queues[queue]);
}

static void interrupt(struct virtio_dev *d, uint32_t why)
{
	atomic_fetch_or(&d->interrupt_status, why);
	irq_raise(&d->irq);
}

void virtio_signal_used(struct virtio_dev *d, struct virtq *q)
{
	if (vq_wants_interrupt(q))
		interrupt(d, VIRTIO_INT_USED);
}

void virtio_signal_config(struct virtio_dev *d)
{
	d->config_generation++;
	if (atomic_load(&d->status) & VIRTIO_S_DRIVER_OK)
		interrupt(d, VIRTIO_INT_CONFIG);
}

void virtio_need_reset(struct virtio_dev *d)
{
	uint32_t old = atomic_fetch_or(&d->status, VIRTIO_S_NEEDS_RESET);

	/* §2.1.2: the driver is told only once it has said DRIVER_OK. */
	if (old & VIRTIO_S_DRIVER_OK && !(old & VIRTIO_S_NEEDS_RESET))
		interrupt(d, VIRTIO_INT_CONFIG);
}

/* Handles at most `budget` requests. Returns how many were left of it, or negative when the device
 * was given up. */
static int serve_some(struct virtio_dev *d, struct virtq *q, virtio_request *handle, int budget)
{
	struct vq_chain chain;
	int64_t written;
	int r;

	while (budget > 0) {
		r = vq_pop(q, &chain);
		if (r <= 0)
			return r < 0 ? r : budget;
		written = handle(d, &chain);
		vq_push(q, chain.head, written < 0 ? 0 : (uint32_t)written);
		if (written < 0)
			return (int)written;
		budget--;
		if (budget % REQUESTS_A_SIGNAL == 0)
			virtio_signal_used(d, q);
	}
	return 0;
}

void virtio_serve(struct virtio_dev *d, unsigned queue, virtio_request *handle)
{
	struct virtq *q = &d->queues[queue];
	int left = REQUESTS_A_TURN;

	do {
		vq_notify_off(q);
		left = serve_some(d, q, handle, left);
	} while (left > 0 && vq_notify_on(q));

	virtio_signal_used(d, q);
	if (left < 0)
		virtio_need_reset(d);
	else if (!left)
		virtio_poke(d, queue);
}

/* --- Saved state --- */

enum {
	STATUS_ALL = VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_DRIVER_OK |
		     VIRTIO_S_FEATURES_OK | VIRTIO_S_NEEDS_RESET | VIRTIO_S_FAILED,
	INT_ALL = VIRTIO_INT_USED | VIRTIO_INT_CONFIG,
};

/* What the device is, which no load changes. */
static void snap_identity(struct virtio_dev *d, struct snapio *io)
{
	uint32_t id = d->ops->id, n_queues = d->ops->n_queues;

	snapio_u32(io, "virtio_id", &id);
	if (id != d->ops->id)
		snapio_fail(io, "virtio_id", "it is of a device of kind %u, here is a %s (kind %u)",
			id, d->ops->name, d->ops->id);
	snapio_u32(io, "n_queues", &n_queues);
	if (n_queues != d->ops->n_queues)
		snapio_fail(io, "n_queues", "it had %u queues, the %s device here has %u", n_queues,
			d->ops->name, d->ops->n_queues);
}

static void check_status(struct virtio_dev *d, uint32_t status, struct snapio *io)
{
	if (status & ~(uint32_t)STATUS_ALL)
		snapio_fail(io, "status", "%#x has bits that do not exist", status);
	if (status & VIRTIO_S_DRIVER_OK && !(status & VIRTIO_S_FEATURES_OK))
		snapio_fail(
			io, "status", "%#x: the driver runs without features agreed on", status);
	if (status & VIRTIO_S_FEATURES_OK && !are_features_good(d))
		snapio_fail(io, "driver_features",
			"the guest uses features %#llx, the %s device here offers %#llx",
			(unsigned long long)d->driver_features, d->ops->name,
			(unsigned long long)d->features);
}

static void snap_registers(struct virtio_dev *d, struct snapio *io)
{
	uint32_t status = atomic_load(&d->status);
	uint32_t interrupts = atomic_load(&d->interrupt_status);

	snapio_u64(io, "driver_features", &d->driver_features);
	snapio_u32(io, "status", &status);
	snapio_u32(io, "interrupt_status", &interrupts);
	snapio_u32(io, "config_generation", &d->config_generation);
	snapio_u32(io, "device_features_select", &d->device_features_select);
	snapio_u32(io, "driver_features_select", &d->driver_features_select);
	snapio_u32(io, "queue_select", &d->queue_select);
	if (!snapio_is_loading(io))
		return;
	check_status(d, status, io);
	if (interrupts & ~(uint32_t)INT_ALL)
		snapio_fail(io, "interrupt_status", "%#x has bits that do not exist", interrupts);
	if (!snapio_is_good(io))
		return;
	atomic_store(&d->status, status);
	atomic_store(&d->interrupt_status, interrupts);
}

void virtio_snap(struct virtio_dev *d, struct snapio *io)
{
	bool is_loading = snapio_is_loading(io);

	pthread_mutex_lock(&d->lock);
	snap_identity(d, io);
	snap_registers(d, io);
	for (unsigned i = 0; i < d->ops->n_queues; i++)
		vq_snap(&d->queues[i], io);
	if (d->ops->snap)
		d->ops->snap(d, io);
	if (is_loading && !snapio_is_good(io))
		reset(d);
	pthread_mutex_unlock(&d->lock);
	for (unsigned i = 0; is_loading && i < d->ops->n_queues; i++)
		virtio_poke(d, i);
}
