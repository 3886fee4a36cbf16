// SPDX-License-Identifier: Apache-2.0
/*
 * What all virtio devices share: status, features, queues, interrupts (virtio 1.2 §2.1-§2.4).
 *
 * A device is a const struct virtio_ops (what it is, how it handles a request) and a struct that
 * begins with struct virtio_dev. The transport (mmio.h) drives it from vCPU threads; its requests
 * are handled on the thread of the loop that it was made for.
 *
 * Threads: `lock` covers everything but the fields marked otherwise, and is held for the whole of a
 * queue's turn, so that a register write that resets the device returns only when no request is
 * in the making. Notifications, interrupt status and device status are read without it: a vCPU
 * never waits for a disk. Lock order: a device's lock, then the interrupt controller's.
 *
 * To bring a device to rest, run something on its loop's thread, or hold its lock: then all of its
 * state is in plain fields and in guest memory.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "base/loop.h"
#include "dev/irq.h"
#include "virtio/queue.h"

enum {
	VIRTIO_QUEUES_MAX = 5,
	VIRTIO_IO_STACK_BYTES = 64 * 1024, /* what a thread that runs devices needs */
};

/* Device status, virtio 1.2 §2.1. */
enum {
	VIRTIO_S_ACKNOWLEDGE = 1,
	VIRTIO_S_DRIVER = 2,
	VIRTIO_S_DRIVER_OK = 4,
	VIRTIO_S_FEATURES_OK = 8,
	VIRTIO_S_NEEDS_RESET = 64,
	VIRTIO_S_FAILED = 128,
};

/* Interrupt status, virtio 1.2 §4.2.2. */
enum {
	VIRTIO_INT_USED = 1,
	VIRTIO_INT_CONFIG = 2,
};

/* Features of the ring and the transport, virtio 1.2 §6; all devices offer them. */
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX     (1ull << 29)
#define VIRTIO_F_VERSION_1     (1ull << 32)
#define VIRTIO_F_RING_RESET    (1ull << 40)
#define VIRTIO_FEATURES_ALL                                                                        \
	(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET)

/* Device identities, virtio 1.2 §5. */
enum {
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_ENTROPY = 4,
	VIRTIO_ID_BALLOON = 5,
	VIRTIO_ID_VSOCK = 19,
};

struct snapio;
struct virtio_dev;

/* All functions are called with the device's lock held. */
struct virtio_ops {
	const char *name;
	uint32_t id;
	unsigned n_queues;
	uint16_t queue_size; /* the largest the driver may choose; a power of two */
	size_t config_size;
	/* The driver resets the device; status and queues still are as they were. Any thread.
	 * NULL: nothing to do. */
	void (*reset)(struct virtio_dev *d);
	/* A queue may have requests. Loop's thread; only between DRIVER_OK and trouble. */
	void (*notify)(struct virtio_dev *d, unsigned queue);
	/* The driver wrote to the configuration; the bytes lie inside it. NULL: read-only. Any
	 * thread. */
	void (*config_write)(struct virtio_dev *d, size_t offset, const void *data, size_t bytes);
	/* Walks the device's own fields, to save or to load them; features, status and queues are
	 * walked before. NULL: it has none. */
	void (*snap)(struct virtio_dev *d, struct snapio *io);
	/* Frees what the device has beyond struct virtio_dev, and its memory. Without the lock. */
	void (*free)(struct virtio_dev *d);
};

/* Where a device is put: what it is given by the machine. */
struct virtio_host {
	const struct gmem *gmem; /* borrowed */
	struct irq irq;
	struct loop *loop; /* borrowed; runs the queues. Devices are made before its thread runs. */
};

struct virtio_notifier {
	struct loop_watch watch; /* an eventfd */
	struct virtio_dev *dev;
	unsigned queue;
};

struct virtio_dev {
	const struct virtio_ops *ops;
	const struct gmem *gmem;
	struct irq irq;
	struct loop *loop;
	pthread_mutex_t lock;
	uint64_t features;	  /* offered; fixed */
	uint64_t driver_features; /* what the driver asked for, accepted once FEATURES_OK is set */
	_Atomic uint32_t status;  /* written under the lock, read without */
	_Atomic uint32_t interrupt_status; /* no lock */
	uint32_t config_generation;
	void *config; /* config_size little-endian bytes, in the device's own struct */
	struct virtq queues[VIRTIO_QUEUES_MAX];
	struct virtio_notifier notifiers[VIRTIO_QUEUES_MAX];
	/* Transport registers that select what the others mean. */
	uint32_t device_features_select, driver_features_select, queue_select;
};

/* Sets up the shared part inside a device's struct and watches its queues on host->loop. features
 * are the device's own; the common ones are added. Returns 0 or negative with e set. */
int virtio_init(struct virtio_dev *d, const struct virtio_ops *ops, const struct virtio_host *host,
	uint64_t features, void *config, struct err *e) MUST_CHECK;

/* Undoes virtio_init. For the device's own free. */
void virtio_fini(struct virtio_dev *d);

/* Ends a device of any kind; NULL is fine. Only when neither its loop's thread nor a vCPU runs. */
void virtio_free(struct virtio_dev *d);

/* Saves or loads all of a device's state: identity (kind, number of queues: another kind is refused
 * with a sentence), features, status, transport registers, queues, then what its ops add. Only
 * while the device is at rest: no vCPU runs and its loop's thread has stopped, so that no request
 * is half done. What is loaded is checked as if the guest were writing it now: features that are
 * not offered, queues that do not lie in RAM, more in flight than fits. After a load every queue is
 * looked at once, since notifications are not saved. A failed load leaves the device reset. */
void virtio_snap(struct virtio_dev *d, struct snapio *io);

/* The eventfd that makes the loop look at a queue: written by the transport, or by the hypervisor
 * itself (4-byte write of the queue's index to VIRTIO_MMIO_QUEUE_NOTIFY). Borrowed. */
int virtio_notify_fd(const struct virtio_dev *d, unsigned queue);

/* --- For transports; with the lock held. --- */

/* The driver writes the status register (virtio 1.2 §3.1, §2.1): 0 resets; bits are only ever
 * added; FEATURES_OK is refused for a set of features that the device cannot accept. */
void virtio_set_status(struct virtio_dev *d, uint32_t status);

/* The driver enables or resets one queue. */
void virtio_enable_queue(struct virtio_dev *d, unsigned queue);
void virtio_reset_queue(struct virtio_dev *d, unsigned queue);

/* --- For devices; with the lock held unless said otherwise. --- */

static inline bool virtio_has_feature(const struct virtio_dev *d, uint64_t feature)
{
	return (d->driver_features & feature) == feature;
}

/* Whether requests may be handled: DRIVER_OK, and neither FAILED nor NEEDS_RESET. No lock. */
bool virtio_is_running(const struct virtio_dev *d);

/* Tells the driver of used buffers if it wants to know. */
void virtio_signal_used(struct virtio_dev *d, struct virtq *q);

/* The configuration has changed: new generation, interrupt. Nothing before DRIVER_OK but the
 * generation. */
void virtio_signal_config(struct virtio_dev *d);

/* The device cannot go on: NEEDS_RESET and a configuration interrupt (virtio 1.2 §2.1.2). */
void virtio_need_reset(struct virtio_dev *d);

/* Makes the loop look at a queue (again). Any thread, no lock needed. */
void virtio_poke(struct virtio_dev *d, unsigned queue);

/* Handles one request; the chain is completed by the caller. Returns the bytes written to it, or
 * negative when the request is such that the device must be given up. */
typedef int64_t virtio_request(struct virtio_dev *d, struct vq_chain *chain);

/* A queue's turn: pops, handles and completes requests until there are none, with a bound after
 * which the loop comes back to it. */
void virtio_serve(struct virtio_dev *d, unsigned queue, virtio_request *handle);
