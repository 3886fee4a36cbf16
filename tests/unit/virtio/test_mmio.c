// SPDX-License-Identifier: Apache-2.0
/* The transport: identity, negotiation, queue set-up, status, reset, interrupts. */
#include "virtio/mmio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "driver.h"
#include "virtio/balloon.h"
#include "virtio/rng.h"

static int setup(void **state)
{
	static struct drv d;
	struct virtio_dev *dev;
	struct err e = {0};

	drv_init(&d);
	assert_int_equal(rng_new(&d.host, &dev, &e), 0);
	drv_plug(&d, dev);
	*state = &d;
	return 0;
}

static int teardown(void **state)
{
	drv_fini(*state);
	return 0;
}

static void tells_what_it_is(void **state)
{
	struct drv *d = *state;
	uint8_t byte = 1;
	uint64_t wide = 1;

	assert_int_equal(drv_read(d, R_MAGIC), 0x74726976);
	assert_int_equal(drv_read(d, R_VERSION), 2);
	assert_int_equal(drv_read(d, R_ID), VIRTIO_ID_ENTROPY);
	assert_int_equal(drv_read(d, R_SHM_LEN), UINT32_MAX);
	assert_int_equal(drv_read(d, R_SHM_LEN + 4), UINT32_MAX);
	assert_true(drv_features(d) & VIRTIO_F_VERSION_1);
	drv_write(d, R_FEATURES_SEL, 2);
	assert_int_equal(drv_read(d, R_FEATURES), 0);
	drv_write(d, R_FEATURES_SEL, UINT32_MAX);
	assert_int_equal(drv_read(d, R_FEATURES), 0);
	assert_int_equal(drv_read(d, 0x40), 0); /* reserved */
	/* Only aligned 32-bit accesses are registers. */
	bus_read(&d->bus, DRV_BASE + R_MAGIC, &byte, 1);
	assert_int_equal(byte, 0);
	bus_read(&d->bus, DRV_BASE + R_MAGIC, &wide, 8);
	assert_int_equal(wide, 0);
	bus_read(&d->bus, DRV_BASE + R_MAGIC + 2, &wide, 4);
	assert_int_equal((uint32_t)wide, 0);
}

static void refuses_features_it_did_not_offer(void **state)
{
	struct drv *d = *state;

	assert_false(drv_negotiate(d, VIRTIO_F_VERSION_1 | 1ull << 5));
	drv_start(d);
	assert_false(drv_read(d, R_STATUS) & VIRTIO_S_DRIVER_OK);
	assert_false(drv_negotiate(d, VIRTIO_F_VERSION_1 | 1ull << 34));
}

static void refuses_a_driver_without_version_1(void **state)
{
	struct drv *d = *state;

	assert_false(drv_negotiate(d, VIRTIO_F_EVENT_IDX));
	assert_false(drv_negotiate(d, 0));
	assert_true(drv_negotiate(d, VIRTIO_F_VERSION_1));
}

static void features_are_fixed_once_accepted(void **state)
{
	struct drv *d = *state;

	assert_true(drv_negotiate(d, VIRTIO_F_VERSION_1));
	drv_write(d, R_DRIVER_FEATURES_SEL, 0);
	drv_write(d, R_DRIVER_FEATURES, (uint32_t)VIRTIO_F_EVENT_IDX);
	assert_false(virtio_has_feature(d->dev, VIRTIO_F_EVENT_IDX));
	drv_write(d, R_STATUS, 0);
	drv_write(d, R_DRIVER_FEATURES_SEL, 7);
	drv_write(d, R_DRIVER_FEATURES, 1);
	assert_int_equal(d->dev->driver_features, 0);
}

static void status_bits_only_grow_until_reset(void **state)
{
	struct drv *d = *state;

	drv_write(d, R_STATUS, VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER);
	drv_write(d, R_STATUS, VIRTIO_S_ACKNOWLEDGE);
	assert_int_equal(drv_read(d, R_STATUS), VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER);
	drv_write(d, R_STATUS, VIRTIO_S_NEEDS_RESET | 0xffffff00);
	assert_int_equal(drv_read(d, R_STATUS), VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER);
	drv_write(d, R_STATUS, VIRTIO_S_FAILED);
	assert_true(drv_read(d, R_STATUS) & VIRTIO_S_FAILED);
	drv_write(d, R_STATUS, 0);
	assert_int_equal(drv_read(d, R_STATUS), 0);
}

static void queues_are_set_up_by_their_registers(void **state)
{
	struct drv *d = *state;

	assert_true(drv_negotiate(d, VIRTIO_F_VERSION_1));
	drv_write(d, R_QUEUE_SEL, 0);
	assert_int_equal(drv_read(d, R_QUEUE_READY), 0);
	assert_int_equal(drv_read(d, R_QUEUE_MAX), 64);
	drv_write(d, R_QUEUE_SEL, 1); /* this device has one */
	assert_int_equal(drv_read(d, R_QUEUE_MAX), 0);
	drv_write(d, R_QUEUE_NUM, 8);
	drv_write(d, R_QUEUE_READY, 1);
	assert_int_equal(drv_read(d, R_QUEUE_READY), 0);
	drv_set_queue(d, 0, 16);
	assert_int_equal(drv_read(d, R_QUEUE_READY), 1);
	drv_write(d, R_DESC, 0xdeadbeef); /* dead while in use */
	drv_write(d, R_QUEUE_NUM, 4);
	assert_int_equal(d->dev->queues[0].desc_gpa, d->queues[0].desc_gpa);
	assert_int_equal(d->dev->queues[0].size, 16);
	drv_write(d, R_QUEUE_READY, 0);
	assert_int_equal(drv_read(d, R_QUEUE_READY), 0);
	assert_int_equal(d->dev->queues[0].size, 0);
}

static void an_impossible_queue_needs_reset(void **state)
{
	struct drv *d = *state;
	static const uint32_t sizes[] = {0, 3, 128, 0x10008, UINT32_MAX};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		assert_true(drv_negotiate(d, VIRTIO_F_VERSION_1));
		drv_write(d, R_QUEUE_SEL, 0);
		drv_write(d, R_QUEUE_NUM, sizes[i]);
		drv_write(d, R_DESC, 0x1000);
		drv_write(d, R_AVAIL, 0x2000);
		drv_write(d, R_USED, 0x3000);
		drv_write(d, R_QUEUE_READY, 1);
		assert_int_equal(drv_read(d, R_QUEUE_READY), 0);
		assert_true(drv_read(d, R_STATUS) & VIRTIO_S_NEEDS_RESET);
	}
	assert_true(drv_negotiate(d, VIRTIO_F_VERSION_1));
	drv_write(d, R_QUEUE_NUM, 8);
	drv_write(d, R_DESC + 4, 1); /* at 4 GiB: no RAM */
	drv_write(d, R_QUEUE_READY, 1);
	assert_true(drv_read(d, R_STATUS) & VIRTIO_S_NEEDS_RESET);
	assert_int_equal(d->interrupts, 0); /* not before DRIVER_OK */
}

static void used_buffers_interrupt_and_are_acknowledged(void **state)
{
	struct drv *d = *state;
	struct drv_buf buf;

	drv_up(d, VIRTIO_F_VERSION_1, 1, 8);
	buf = (struct drv_buf){drv_alloc(d, 32, 1), 32, true};
	assert_int_equal(drv_do(d, &d->queues[0], &buf, 1), 32);
	assert_int_equal(d->interrupts, 1);
	assert_int_equal(drv_read(d, R_INT_STATUS), VIRTIO_INT_USED);
	drv_write(d, R_INT_ACK, VIRTIO_INT_CONFIG);
	assert_int_equal(drv_read(d, R_INT_STATUS), VIRTIO_INT_USED);
	drv_write(d, R_INT_ACK, VIRTIO_INT_USED);
	assert_int_equal(drv_read(d, R_INT_STATUS), 0);
	d->queues[0].avail->flags = 1;
	assert_int_equal(drv_do(d, &d->queues[0], &buf, 1), 32);
	assert_int_equal(d->interrupts, 1);
}

static void a_broken_ring_needs_reset_and_lives_again(void **state)
{
	struct drv *d = *state;
	struct drv_buf buf;

	drv_up(d, VIRTIO_F_VERSION_1, 1, 8);
	drv_offer(&d->queues[0], 8);
	drv_kick(d, &d->queues[0]);
	drv_turn(d);
	assert_true(drv_read(d, R_STATUS) & VIRTIO_S_NEEDS_RESET);
	assert_int_equal(drv_read(d, R_INT_STATUS), VIRTIO_INT_CONFIG);
	assert_int_equal(d->interrupts, 1);
	drv_write(d, R_NOTIFY, 0);
	drv_turn(d);
	assert_int_equal(d->queues[0].used->idx, 0);
	assert_int_equal(d->interrupts, 1);
	drv_up(d, VIRTIO_F_VERSION_1, 1, 8);
	buf = (struct drv_buf){drv_alloc(d, 32, 1), 32, true};
	assert_int_equal(drv_do(d, &d->queues[0], &buf, 1), 32);
}

static void nothing_is_handled_before_driver_ok(void **state)
{
	struct drv *d = *state;
	struct drv_buf buf = {drv_alloc(d, 32, 1), 32, true};
	uint16_t head;
	uint32_t bytes;

	assert_true(drv_negotiate(d, VIRTIO_F_VERSION_1));
	drv_set_queue(d, 0, 8);
	drv_add(&d->queues[0], &buf, 1);
	drv_write(d, R_NOTIFY, 0);
	drv_turn(d);
	assert_false(drv_used(&d->queues[0], &head, &bytes));
	drv_start(d); /* and then without another notification */
	drv_turn(d);
	assert_true(drv_used(&d->queues[0], &head, &bytes));
}

static void a_queue_alone_is_reset(void **state)
{
	struct drv *d = *state;
	struct drv_buf buf = {drv_alloc(d, 32, 1), 32, true};
	uint16_t head;
	uint32_t bytes;

	drv_up(d, VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET | VIRTIO_F_EVENT_IDX, 1, 8);
	assert_int_equal(drv_do(d, &d->queues[0], &buf, 1), 32);
	drv_write(d, R_QUEUE_SEL, 0);
	drv_write(d, R_QUEUE_RESET, 1);
	assert_int_equal(drv_read(d, R_QUEUE_RESET), 0);
	assert_int_equal(drv_read(d, R_QUEUE_READY), 0);
	drv_add(&d->queues[0], &buf, 1);
	drv_write(d, R_NOTIFY, 0);
	drv_turn(d);
	assert_false(drv_used(&d->queues[0], &head, &bytes));
	drv_set_queue(d, 0, 16);
	assert_int_equal(drv_do(d, &d->queues[0], &buf, 1), 32);
	assert_true(drv_read(d, R_STATUS) & VIRTIO_S_DRIVER_OK);
}

static void event_indices_suppress_both_ways(void **state)
{
	struct drv *d = *state;
	struct drv_buf buf = {drv_alloc(d, 32, 1), 32, true};
	struct drv_queue *q = &d->queues[0];
	uint16_t head;
	uint32_t bytes;

	drv_up(d, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, 1, 8);
	/* Used event 2: an interrupt with the third, not before. */
	drv_want_interrupt_at(q, 2);
	for (unsigned i = 0; i < 3; i++) {
		drv_add(q, &buf, 1);
		assert_true(drv_kick(d, q)); /* the device is idle and so wants to know */
		drv_turn(d);
		assert_true(drv_used(q, &head, &bytes));
		assert_int_equal(d->interrupts, i == 2);
	}
	/* While the device has not looked, one notification is enough. */
	drv_add(q, &buf, 1);
	assert_true(drv_kick(d, q));
	drv_add(q, &buf, 1);
	assert_false(drv_kick(d, q));
	drv_turn(d);
	assert_true(drv_used(q, &head, &bytes) && drv_used(q, &head, &bytes));
}

static void more_requests_than_a_turn_are_all_done(void **state)
{
	struct drv *d = *state;
	struct drv_buf buf = {drv_alloc(d, 1, 1), 1, true};
	struct drv_queue *q = &d->queues[0];
	uint16_t head;
	uint32_t bytes;

	drv_up(d, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, 1, 64);
	drv_run_thread(d);
	for (unsigned i = 0; i < 3000; i++) {
		drv_add(q, &buf, 1);
		drv_kick(d, q);
		if (i >= 60)
			assert_true(drv_wait_used(q, &head, &bytes));
	}
	for (unsigned i = 0; i < 60; i++)
		assert_true(drv_wait_used(q, &head, &bytes));
	assert_false(drv_used(q, &head, &bytes));
}

/* A guest that resets the device over and over while its thread works. */
static void reset_races_with_requests(void **state)
{
	struct drv *d = *state;
	struct drv_buf buf = {drv_alloc(d, 4096, 1), 4096, true};
	gpa_t mark;

	drv_run_thread(d);
	mark = d->next_free;
	for (unsigned i = 0; i < 300; i++) {
		struct drv_queue *q = &d->queues[0];
		uint16_t idx;

		d->next_free = mark;
		drv_up(d, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, 1, 64);
		for (unsigned k = 0; k < 50; k++)
			drv_add(q, &buf, 1);
		drv_kick(d, q);
		if (i % 3 == 0)
			drv_write(d, R_NOTIFY, 0);
		drv_write(d, R_STATUS, 0);
		/* Reset is over: memory is the driver's again and stays as it is. */
		idx = q->used->idx;
		assert_in_range(idx, 0, 50);
		drv_write(d, R_NOTIFY, 0);
		assert_int_equal(q->used->idx, idx);
		assert_int_equal(drv_read(d, R_STATUS), 0);
	}
}

static void configuration_is_bounded_and_counted(void **state)
{
	struct drv *d = *state;
	struct virtio_dev *dev;
	struct err e = {0};
	uint32_t generation;
	uint64_t wide = 0;
	uint8_t byte;

	virtio_free(d->dev);
	bus_init(&d->bus);
	assert_int_equal(balloon_new(&d->host, &dev, &e), 0);
	drv_plug(d, dev);
	generation = drv_read(d, R_GENERATION);
	balloon_set_target(dev, 0x12345000);
	assert_int_not_equal(drv_read(d, R_GENERATION), generation);
	assert_int_equal(d->interrupts, 0); /* no driver yet */
	assert_int_equal(drv_read(d, R_CONFIG), DRV_RAM >> 12);
	balloon_set_target(dev, 5 << 12);
	bus_read(&d->bus, DRV_BASE + R_CONFIG, &byte, 1);
	assert_int_equal(byte, 5);
	drv_write(d, R_CONFIG, 99); /* the wish is the device's */
	assert_int_equal(drv_read(d, R_CONFIG), 5);
	drv_write(d, R_CONFIG + 4, 3);
	bus_read(&d->bus, DRV_BASE + R_CONFIG, &wide, 8);
	assert_true(wide == (3ull << 32 | 5));
	assert_int_equal(drv_read(d, R_CONFIG + 12), 0);
	assert_int_equal(drv_read(d, R_CONFIG + 16), 0); /* beyond its end */
	wide = UINT64_MAX;
	bus_read(&d->bus, DRV_BASE + R_CONFIG + 12, &wide, 8); /* across it */
	assert_int_equal(wide, 0);
	bus_write(&d->bus, DRV_BASE + R_CONFIG + 12, &wide, 8);
	drv_negotiate(d, VIRTIO_F_VERSION_1);
	drv_start(d);
	balloon_set_target(dev, 0);
	assert_int_equal(d->interrupts, 1);
	assert_int_equal(drv_read(d, R_INT_STATUS), VIRTIO_INT_CONFIG);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tells_what_it_is),
		TEST(refuses_features_it_did_not_offer),
		TEST(refuses_a_driver_without_version_1),
		TEST(features_are_fixed_once_accepted),
		TEST(status_bits_only_grow_until_reset),
		TEST(queues_are_set_up_by_their_registers),
		TEST(an_impossible_queue_needs_reset),
		TEST(used_buffers_interrupt_and_are_acknowledged),
		TEST(a_broken_ring_needs_reset_and_lives_again),
		TEST(nothing_is_handled_before_driver_ok),
		TEST(a_queue_alone_is_reset),
		TEST(event_indices_suppress_both_ways),
		TEST(more_requests_than_a_turn_are_all_done),
		TEST(reset_races_with_requests),
		TEST(configuration_is_bounded_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
