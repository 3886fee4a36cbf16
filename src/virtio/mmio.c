// SPDX-License-Identifier: Apache-2.0
#include "virtio/mmio.h"

#include <string.h>

#include "base/le.h"
#include "dev/bus.h"
#include "virtio/virtio.h"

/* Register offsets and fixed values, virtio 1.2 §4.2.2. All are 32 bits wide but the configuration
 * space at the end. */
enum {
	REG_MAGIC = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE_ID = 0x008,
	REG_VENDOR_ID = 0x00c,
	REG_DEVICE_FEATURES = 0x010,
	REG_DEVICE_FEATURES_SEL = 0x014,
	REG_DRIVER_FEATURES = 0x020,
	REG_DRIVER_FEATURES_SEL = 0x024,
	REG_QUEUE_SEL = 0x030,
	REG_QUEUE_SIZE_MAX = 0x034,
	REG_QUEUE_SIZE = 0x038,
	REG_QUEUE_READY = 0x044,
	REG_QUEUE_NOTIFY = VIRTIO_MMIO_QUEUE_NOTIFY,
	REG_INTERRUPT_STATUS = 0x060,
	REG_INTERRUPT_ACK = 0x064,
	REG_STATUS = 0x070,
	REG_QUEUE_DESC = 0x080,	  /* low half; the high half follows */
	REG_QUEUE_DRIVER = 0x090, /* the same */
	REG_QUEUE_DEVICE = 0x0a0, /* the same */
	REG_SHM_SEL = 0x0ac,
	REG_SHM_FIRST = 0x0b0, /* length and base of a shared memory region, 4 registers */
	REG_SHM_LAST = 0x0bc,
	REG_QUEUE_RESET = 0x0c0,
	REG_CONFIG_GENERATION = 0x0fc,
	REG_CONFIG = 0x100,
	REG_BYTES = 4,

	MAGIC = 0x74726976,  /* "virt" */
	VENDOR = 0x43564d53, /* "SMVC": any value will do */
};

/* The selected queue, or NULL when the device has no such queue. */
static struct virtq *selected(struct virtio_dev *d)
{
	return d->queue_select < d->ops->n_queues ? &d->queues[d->queue_select] : NULL;
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> 32 * select) : 0;
}

static uint32_t read_locked(struct virtio_dev *d, uint64_t at)
{
	struct virtq *q = selected(d);

	switch (at) {
	case REG_DEVICE_FEATURES:
		return feature_word(d->features, d->device_features_select);
	case REG_QUEUE_SIZE_MAX:
		return q ? q->size_max : 0;
	case REG_QUEUE_READY:
		return q ? q->is_ready : 0;
	case REG_QUEUE_RESET:
		return 0; /* over before the write that asked for it returned */
	case REG_CONFIG_GENERATION:
		return d->config_generation;
	default:
		return 0;
	}
}

static uint32_t read_register(struct virtio_dev *d, uint64_t at)
{
	uint32_t value;

	switch (at) {
	case REG_MAGIC:
		return MAGIC;
	case REG_VERSION:
		return 2;
	case REG_DEVICE_ID:
		return d->ops->id;
	case REG_VENDOR_ID:
		return VENDOR;
	case REG_INTERRUPT_STATUS:
		return atomic_load(&d->interrupt_status);
	case REG_STATUS:
		return atomic_load(&d->status);
	case REG_SHM_FIRST ... REG_SHM_LAST:
		return UINT32_MAX; /* §4.2.2: no such region */
	default:
		break;
	}
	pthread_mutex_lock(&d->lock);
	value = read_locked(d, at);
	pthread_mutex_unlock(&d->lock);
	return value;
}

static void write_driver_features(struct virtio_dev *d, uint32_t value)
{
	unsigned shift = 32 * d->driver_features_select;

	/* §2.2.1: what was agreed on stays. Bits beyond 63 are not ours to offer. */
	if (atomic_load(&d->status) & VIRTIO_S_FEATURES_OK || d->driver_features_select > 1)
		return;
	d->driver_features &= ~((uint64_t)UINT32_MAX << shift);
	d->driver_features |= (uint64_t)value << shift;
}

static void set_half(gpa_t *address, bool is_high, uint32_t value)
{
	if (is_high)
		*address = (*address & UINT32_MAX) | (uint64_t)value << 32;
	else
		*address = (*address & ~(uint64_t)UINT32_MAX) | value;
}

/* Registers of the selected queue; set-up ones are dead while it is in use (§4.2.2.2). */
static void write_queue(struct virtio_dev *d, struct virtq *q, uint64_t at, uint32_t value)
{
	if (at == REG_QUEUE_READY) {
		if (value)
			virtio_enable_queue(d, d->queue_select);
		else
			virtio_reset_queue(d, d->queue_select);
		return;
	}
	if (at == REG_QUEUE_RESET) {
		if (value && virtio_has_feature(d, VIRTIO_F_RING_RESET))
			virtio_reset_queue(d, d->queue_select);
		return;
	}
	if (q->is_ready)
		return;
	switch (at) {
	case REG_QUEUE_SIZE:
		q->size = value <= q->size_max ? (uint16_t)value : 0;
		break;
	case REG_QUEUE_DESC:
	case REG_QUEUE_DESC + REG_BYTES:
		set_half(&q->desc_gpa, at != REG_QUEUE_DESC, value);
		break;
	case REG_QUEUE_DRIVER:
	case REG_QUEUE_DRIVER + REG_BYTES:
		set_half(&q->avail_gpa, at != REG_QUEUE_DRIVER, value);
		break;
	case REG_QUEUE_DEVICE:
	case REG_QUEUE_DEVICE + REG_BYTES:
		set_half(&q->used_gpa, at != REG_QUEUE_DEVICE, value);
		break;
	default:
		break;
	}
}

static void write_locked(struct virtio_dev *d, uint64_t at, uint32_t value)
{
	struct virtq *q = selected(d);

	switch (at) {
	case REG_DEVICE_FEATURES_SEL:
		d->device_features_select = value;
		break;
	case REG_DRIVER_FEATURES_SEL:
		d->driver_features_select = value;
		break;
	case REG_DRIVER_FEATURES:
		write_driver_features(d, value);
		break;
	case REG_QUEUE_SEL:
		d->queue_select = value;
		break;
	case REG_STATUS:
		virtio_set_status(d, value);
		break;
	default:
		if (q)
			write_queue(d, q, at, value);
		break;
	}
}

static void write_register(struct virtio_dev *d, uint64_t at, uint32_t value)
{
	switch (at) {
	case REG_QUEUE_NOTIFY:
		virtio_poke(d, value);
		return;
	case REG_INTERRUPT_ACK:
		atomic_fetch_and(&d->interrupt_status, ~value);
		return;
	default:
		break;
	}
	pthread_mutex_lock(&d->lock);
	write_locked(d, at, value);
	pthread_mutex_unlock(&d->lock);
}

static bool is_config(const struct virtio_dev *d, uint64_t offset, unsigned bytes)
{
	return offset >= REG_CONFIG && offset - REG_CONFIG <= d->ops->config_size &&
	       bytes <= d->ops->config_size - (offset - REG_CONFIG);
}

static void mmio_read(void *ctx, uint64_t offset, void *ret_data, unsigned bytes)
{
	struct virtio_dev *d = ctx;

	memset(ret_data, 0, bytes);
	if (is_config(d, offset, bytes)) {
		pthread_mutex_lock(&d->lock);
		memcpy(ret_data, (char *)d->config + (offset - REG_CONFIG), bytes);
		pthread_mutex_unlock(&d->lock);
	} else if (offset < REG_CONFIG && bytes == REG_BYTES && offset % REG_BYTES == 0) {
		le32_store(ret_data, read_register(d, offset));
	}
}

static void mmio_write(void *ctx, uint64_t offset, const void *data, unsigned bytes)
{
	struct virtio_dev *d = ctx;

	if (is_config(d, offset, bytes)) {
		if (!d->ops->config_write)
			return;
		pthread_mutex_lock(&d->lock);
		d->ops->config_write(d, offset - REG_CONFIG, data, bytes);
		pthread_mutex_unlock(&d->lock);
	} else if (offset < REG_CONFIG && bytes == REG_BYTES && offset % REG_BYTES == 0) {
		write_register(d, offset, le32_load(data));
	}
}

static const struct bus_ops ops = {mmio_read, mmio_write};

int virtio_mmio_register(
	struct virtio_dev *d, struct bus *mmio, uint64_t base, uint64_t bytes, struct err *e)
{
	return bus_add(mmio, base, bytes, &ops, d, d->ops->name, e);
}
