// SPDX-License-Identifier: Apache-2.0
#include "driver.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/clock.h"
#include "virtio/mmio.h"

static void on_irq(void *ctx, unsigned line)
{
	struct drv *d = ctx;

	if (line == DRV_LINE)
		atomic_fetch_add(&d->interrupts, 1);
}

void drv_init(struct drv *d)
{
	struct gmem_range ram = {0, DRV_RAM};
	struct err e = {0};

	memset(d, 0, sizeof(*d));
	assert_int_equal(gmem_init(&d->gmem, &ram, 1, &e), 0);
	assert_int_equal(loop_init(&d->loop, &e), 0);
	bus_init(&d->bus);
	d->next_free = 0x10000;
	d->host = (struct virtio_host){
		.gmem = &d->gmem, .irq = {on_irq, d, DRV_LINE}, .loop = &d->loop};
}

void drv_plug(struct drv *d, struct virtio_dev *dev)
{
	struct err e = {0};

	d->dev = dev;
	assert_int_equal(virtio_mmio_register(dev, &d->bus, DRV_BASE, VIRTIO_MMIO_BYTES, &e), 0);
}

void drv_fini(struct drv *d)
{
	drv_stop_thread(d);
	virtio_free(d->dev);
	loop_fini(&d->loop);
	gmem_fini(&d->gmem);
}

static void *run(void *ctx)
{
	struct drv *d = ctx;

	return loop_run(&d->loop) < 0 ? ctx : NULL;
}

void drv_run_thread(struct drv *d)
{
	assert_int_equal(pthread_create(&d->thread, NULL, run, d), 0);
	d->has_thread = true;
}

void drv_stop_thread(struct drv *d)
{
	if (!d->has_thread)
		return;
	loop_stop(&d->loop);
	pthread_join(d->thread, NULL);
	d->has_thread = false;
}

void drv_turn(struct drv *d)
{
	while (loop_turn(&d->loop, 0) > 0)
		;
}

uint32_t drv_read(struct drv *d, uint32_t at)
{
	uint32_t value = 0;

	assert_true(bus_read(&d->bus, DRV_BASE + at, &value, 4));
	return value;
}

void drv_write(struct drv *d, uint32_t at, uint32_t value)
{
	assert_true(bus_write(&d->bus, DRV_BASE + at, &value, 4));
}

gpa_t drv_alloc(struct drv *d, size_t bytes, size_t align)
{
	gpa_t gpa = ALIGN_UP(d->next_free, (gpa_t)align);

	d->next_free = gpa + bytes;
	assert_true(d->next_free <= DRV_RAM);
	memset(drv_ptr(d, gpa), 0, bytes);
	return gpa;
}

void *drv_ptr(struct drv *d, gpa_t gpa)
{
	void *p = gmem_ptr(&d->gmem, gpa, 1);

	assert_non_null(p);
	return p;
}

uint64_t drv_features(struct drv *d)
{
	uint64_t features;

	drv_write(d, R_FEATURES_SEL, 1);
	features = (uint64_t)drv_read(d, R_FEATURES) << 32;
	drv_write(d, R_FEATURES_SEL, 0);
	return features | drv_read(d, R_FEATURES);
}

bool drv_negotiate(struct drv *d, uint64_t want)
{
	drv_write(d, R_STATUS, 0);
	drv_write(d, R_STATUS, VIRTIO_S_ACKNOWLEDGE);
	drv_write(d, R_STATUS, VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER);
	drv_write(d, R_DRIVER_FEATURES_SEL, 0);
	drv_write(d, R_DRIVER_FEATURES, (uint32_t)want);
	drv_write(d, R_DRIVER_FEATURES_SEL, 1);
	drv_write(d, R_DRIVER_FEATURES, (uint32_t)(want >> 32));
	drv_write(d, R_STATUS, drv_read(d, R_STATUS) | VIRTIO_S_FEATURES_OK);
	d->features = want;
	return drv_read(d, R_STATUS) & VIRTIO_S_FEATURES_OK;
}

void drv_set_queue(struct drv *d, unsigned index, uint16_t size)
{
	struct drv_queue *q = &d->queues[index];

	*q = (struct drv_queue){.index = index, .size = size};
	q->desc_gpa = drv_alloc(d, size * sizeof(*q->desc), 16);
	q->avail_gpa = drv_alloc(d, 6 + size * 2u, 2);
	q->used_gpa = drv_alloc(d, 6 + size * 8u, 4);
	q->desc = drv_ptr(d, q->desc_gpa);
	q->avail = drv_ptr(d, q->avail_gpa);
	q->used = drv_ptr(d, q->used_gpa);
	drv_write(d, R_QUEUE_SEL, index);
	drv_write(d, R_QUEUE_NUM, size);
	drv_write(d, R_DESC, (uint32_t)q->desc_gpa);
	drv_write(d, R_DESC + 4, (uint32_t)(q->desc_gpa >> 32));
	drv_write(d, R_AVAIL, (uint32_t)q->avail_gpa);
	drv_write(d, R_AVAIL + 4, (uint32_t)(q->avail_gpa >> 32));
	drv_write(d, R_USED, (uint32_t)q->used_gpa);
	drv_write(d, R_USED + 4, (uint32_t)(q->used_gpa >> 32));
	drv_write(d, R_QUEUE_READY, 1);
}

void drv_start(struct drv *d)
{
	drv_write(d, R_STATUS, drv_read(d, R_STATUS) | VIRTIO_S_DRIVER_OK);
}

void drv_up(struct drv *d, uint64_t want, unsigned n_queues, uint16_t size)
{
	assert_true(drv_negotiate(d, want));
	for (unsigned i = 0; i < n_queues; i++) {
		drv_set_queue(d, i, size);
		assert_int_equal(drv_read(d, R_QUEUE_READY), 1);
	}
	drv_start(d);
}

static uint16_t take_desc(struct drv_queue *q)
{
	uint16_t at = q->next_desc;

	q->next_desc = (uint16_t)((at + 1) % q->size);
	return at;
}

void drv_offer(struct drv_queue *q, uint16_t head)
{
	__atomic_store_n(&q->avail->ring[q->next_avail % q->size], head, __ATOMIC_RELAXED);
	q->next_avail++;
	__atomic_store_n(&q->avail->idx, q->next_avail, __ATOMIC_RELEASE);
}

uint16_t drv_add(struct drv_queue *q, const struct drv_buf *bufs, unsigned n)
{
	uint16_t head = q->next_desc;

	for (unsigned i = 0; i < n; i++) {
		uint16_t at = take_desc(q);

		q->desc[at] = (struct drv_desc){
			.gpa = bufs[i].gpa,
			.bytes = bufs[i].bytes,
			.flags = (uint16_t)((bufs[i].is_in ? D_WRITE : 0) |
					    (i + 1 < n ? D_NEXT : 0)),
			.next = q->next_desc,
		};
	}
	drv_offer(q, head);
	return head;
}

uint16_t drv_add_indirect(
	struct drv *d, struct drv_queue *q, const struct drv_buf *bufs, unsigned n)
{
	gpa_t gpa = drv_alloc(d, n * sizeof(struct drv_desc), 16);
	struct drv_desc *table = drv_ptr(d, gpa);
	uint16_t head = take_desc(q);

	for (unsigned i = 0; i < n; i++)
		table[i] = (struct drv_desc){
			.gpa = bufs[i].gpa,
			.bytes = bufs[i].bytes,
			.flags = (uint16_t)((bufs[i].is_in ? D_WRITE : 0) |
					    (i + 1 < n ? D_NEXT : 0)),
			.next = (uint16_t)(i + 1),
		};
	q->desc[head] = (struct drv_desc){
		.gpa = gpa, .bytes = n * (uint32_t)sizeof(*table), .flags = D_INDIRECT};
	drv_offer(q, head);
	return head;
}

bool drv_kick(struct drv *d, struct drv_queue *q)
{
	uint16_t before = q->kicked;
	bool is_wanted;

	atomic_thread_fence(memory_order_seq_cst);
	q->kicked = q->next_avail;
	if (d->features & VIRTIO_F_EVENT_IDX)
		is_wanted = (uint16_t)(q->next_avail - drv_avail_event(q) - 1) <
			    (uint16_t)(q->next_avail - before);
	else
		is_wanted = !(__atomic_load_n(&q->used->flags, __ATOMIC_ACQUIRE) & 1);
	if (is_wanted)
		drv_write(d, R_NOTIFY, q->index);
	return is_wanted;
}

bool drv_used(struct drv_queue *q, uint16_t *ret_head, uint32_t *ret_bytes)
{
	unsigned slot = q->next_used % q->size;

	if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->next_used)
		return false;
	*ret_head = (uint16_t)q->used->ring[slot].head;
	*ret_bytes = q->used->ring[slot].bytes;
	q->next_used++;
	return true;
}

bool drv_wait_used(struct drv_queue *q, uint16_t *ret_head, uint32_t *ret_bytes)
{
	const struct timespec pause = {.tv_nsec = 50 * 1000};
	uint64_t deadline = clock_deadline_ns(10 * 1000);

	while (!drv_used(q, ret_head, ret_bytes)) {
		if (clock_now_ns() > deadline)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

void drv_move(struct drv *to, const struct drv *from)
{
	memcpy(to->gmem.regions[0].host, from->gmem.regions[0].host, from->next_free);
	memcpy(to->queues, from->queues, sizeof(to->queues));
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		struct drv_queue *q = &to->queues[i];

		if (!q->size)
			continue;
		q->desc = drv_ptr(to, q->desc_gpa);
		q->avail = drv_ptr(to, q->avail_gpa);
		q->used = drv_ptr(to, q->used_gpa);
	}
	to->features = from->features;
	to->next_free = from->next_free;
}

void drv_want_interrupt_at(struct drv_queue *q, uint16_t event)
{
	__atomic_store_n(&q->avail->ring[q->size], event, __ATOMIC_RELEASE);
}

uint16_t drv_avail_event(struct drv_queue *q)
{
	return __atomic_load_n((uint16_t *)&q->used->ring[q->size], __ATOMIC_ACQUIRE);
}

uint32_t drv_do(struct drv *d, struct drv_queue *q, const struct drv_buf *bufs, unsigned n)
{
	uint16_t head = drv_add(q, bufs, n), used_head = UINT16_MAX;
	uint32_t bytes = 0;

	drv_kick(d, q);
	drv_turn(d);
	assert_true(drv_used(q, &used_head, &bytes));
	assert_int_equal(used_head, head);
	return bytes;
}
