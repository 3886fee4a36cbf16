// SPDX-License-Identifier: Apache-2.0
/* Random bytes reach the guest's buffers, bounded, and never anything else. */
#include "virtio/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "backend/entropy.h"
#include "driver.h"

static int setup(void **state)
{
	static struct drv d;
	struct virtio_dev *dev;
	struct err e = {0};

	drv_init(&d);
	assert_int_equal(rng_new(&d.host, &dev, &e), 0);
	drv_plug(&d, dev);
	drv_up(&d, VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC, 1, 16);
	*state = &d;
	return 0;
}

static int teardown(void **state)
{
	drv_fini(*state);
	return 0;
}

static void fills_every_buffer_and_no_more(void **state)
{
	struct drv *d = *state;
	gpa_t at = drv_alloc(d, 4096, 4096);
	struct drv_buf bufs[] = {{at, 100, true}, {at + 200, 1, true}, {at + 300, 64, true}};
	uint8_t *p = drv_ptr(d, at), first[64];
	static const uint8_t zeroes[100];

	assert_int_equal(drv_do(d, &d->queues[0], bufs, 3), 165);
	assert_memory_not_equal(p, zeroes, 100);
	assert_memory_equal(p + 100, zeroes, 100);
	assert_memory_equal(p + 201, zeroes, 99);
	assert_memory_not_equal(p + 300, zeroes, 64);
	assert_memory_equal(p + 364, zeroes, 100);
	memcpy(first, p + 300, 64);
	assert_int_equal(drv_do(d, &d->queues[0], bufs, 3), 165);
	assert_memory_not_equal(p + 300, first, 64);
}

static void one_request_is_bounded(void **state)
{
	struct drv *d = *state;
	gpa_t at = drv_alloc(d, ENTROPY_REQUEST_MAX * 2, 4096);
	struct drv_buf buf = {at, ENTROPY_REQUEST_MAX * 2, true};

	assert_int_equal(drv_do(d, &d->queues[0], &buf, 1), ENTROPY_REQUEST_MAX);
	assert_int_equal(*(uint64_t *)drv_ptr(d, at + ENTROPY_REQUEST_MAX), 0);
}

static void readable_buffers_are_left_alone(void **state)
{
	struct drv *d = *state;
	gpa_t at = drv_alloc(d, 4096, 4096);
	struct drv_buf bufs[] = {{at, 64, false}, {at + 64, 32, true}};

	memset(drv_ptr(d, at), 0x55, 64);
	assert_int_equal(drv_do(d, &d->queues[0], bufs, 2), 32);
	assert_int_equal(*(uint8_t *)drv_ptr(d, at + 63), 0x55);
	assert_int_equal(drv_do(d, &d->queues[0], bufs, 1), 0);
	assert_int_equal(*(uint8_t *)drv_ptr(d, at), 0x55);
}

static void indirect_buffers_work(void **state)
{
	struct drv *d = *state;
	gpa_t at = drv_alloc(d, 4096, 4096);
	struct drv_buf bufs[] = {{at, 10, true}, {at + 100, 20, true}};
	uint16_t head;
	uint32_t bytes;

	drv_add_indirect(d, &d->queues[0], bufs, 2);
	drv_kick(d, &d->queues[0]);
	drv_turn(d);
	assert_true(drv_used(&d->queues[0], &head, &bytes));
	assert_int_equal(bytes, 30);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fills_every_buffer_and_no_more),
		TEST(one_request_is_bounded),
		TEST(readable_buffers_are_left_alone),
		TEST(indirect_buffers_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
