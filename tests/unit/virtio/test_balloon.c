// SPDX-License-Identifier: Apache-2.0
/* What the guest gives up is gone from the host at once: seen with mincore(2), not with counters.
 */
#include "virtio/balloon.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver.h"

enum { PAGE = 4096, INFLATE = 0, DEFLATE = 1 };

#define F_REPORTING (1ull << 5)

static int setup(void **state)
{
	static struct drv d;
	struct virtio_dev *dev;
	struct err e = {0};

	drv_init(&d);
	assert_int_equal(balloon_new(&d.host, &dev, &e), 0);
	drv_plug(&d, dev);
	drv_up(&d, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | F_REPORTING, 5, 128);
	*state = &d;
	return 0;
}

static int teardown(void **state)
{
	drv_fini(*state);
	return 0;
}

static unsigned resident(struct drv *d, gpa_t gpa, unsigned pages)
{
	unsigned char seen[1024];
	unsigned n = 0;

	assert_in_range(pages, 1, sizeof(seen));
	assert_int_equal(mincore(drv_ptr(d, gpa), (size_t)pages * PAGE, seen), 0);
	for (unsigned i = 0; i < pages; i++)
		n += seen[i] & 1;
	return n;
}

static gpa_t dirty_pages(struct drv *d, unsigned pages)
{
	gpa_t gpa = drv_alloc(d, (size_t)pages * PAGE, PAGE);

	memset(drv_ptr(d, gpa), 0xaa, (size_t)pages * PAGE);
	assert_int_equal(resident(d, gpa, pages), pages);
	return gpa;
}

static void put_pfns(struct drv *d, gpa_t list, gpa_t gpa, unsigned n, int step)
{
	uint32_t *pfns = drv_ptr(d, list);

	for (unsigned i = 0; i < n; i++)
		pfns[i] = (uint32_t)((gpa >> 12) + (unsigned)((int)i * step));
}

static void inflated_pages_leave_the_host(void **state)
{
	struct drv *d = *state;
	gpa_t gpa = dirty_pages(d, 300), list = drv_alloc(d, 4 * 300, 4);
	struct drv_buf buf = {list, 4 * 256, false};

	put_pfns(d, list, gpa, 256, 1);
	assert_int_equal(drv_do(d, &d->queues[INFLATE], &buf, 1), 0);
	assert_int_equal(resident(d, gpa, 300), 44);
	assert_int_equal(*(uint8_t *)drv_ptr(d, gpa + 256 * PAGE), 0xaa);
	assert_int_equal(*(uint8_t *)drv_ptr(d, gpa), 0);
	assert_int_equal(balloon_given_back(d->dev), 256 * PAGE);
}

static void pages_in_falling_order_and_with_gaps(void **state)
{
	struct drv *d = *state;
	gpa_t gpa = dirty_pages(d, 64), list = drv_alloc(d, 4 * 64, 4);
	struct drv_buf buf = {list, 4 * 32, false};

	put_pfns(d, list, gpa + 31 * PAGE, 32, -1);
	drv_do(d, &d->queues[INFLATE], &buf, 1);
	assert_int_equal(resident(d, gpa, 32), 0);
	assert_int_equal(resident(d, gpa + 32 * PAGE, 32), 32);
	put_pfns(d, list, gpa + 32 * PAGE, 16, 2);
	buf.bytes = 4 * 16;
	drv_do(d, &d->queues[INFLATE], &buf, 1);
	assert_int_equal(resident(d, gpa + 32 * PAGE, 32), 16);
	assert_int_equal(balloon_given_back(d->dev), 48 * PAGE);
}

static void deflating_gives_pages_back_to_the_guest(void **state)
{
	struct drv *d = *state;
	gpa_t gpa = dirty_pages(d, 4), list = drv_alloc(d, 16, 4);
	struct drv_buf buf = {list, 16, false};

	put_pfns(d, list, gpa, 4, 1);
	drv_do(d, &d->queues[INFLATE], &buf, 1);
	assert_int_equal(drv_do(d, &d->queues[DEFLATE], &buf, 1), 0);
	memset(drv_ptr(d, gpa), 1, 4 * PAGE);
	assert_int_equal(resident(d, gpa, 4), 4);
}

static void nonsense_page_numbers_hurt_nobody(void **state)
{
	struct drv *d = *state;
	gpa_t gpa = dirty_pages(d, 2), list = drv_alloc(d, 64, 4);
	uint32_t *pfns = drv_ptr(d, list);
	struct drv_buf buf = {list, 4 * 5 + 3, false}; /* and a number cut in half */

	pfns[0] = UINT32_MAX;
	pfns[1] = DRV_RAM >> 12;
	pfns[2] = (uint32_t)(gpa >> 12);
	pfns[3] = 0x80000000;
	pfns[4] = (uint32_t)(gpa >> 12); /* twice */
	assert_int_equal(drv_do(d, &d->queues[INFLATE], &buf, 1), 0);
	assert_int_equal(resident(d, gpa, 1), 0);
	assert_int_equal(resident(d, gpa + PAGE, 1), 1);
	assert_true(drv_read(d, R_STATUS) & VIRTIO_S_DRIVER_OK);
	assert_false(drv_read(d, R_STATUS) & VIRTIO_S_NEEDS_RESET);
}

/* Drivers differ in the number of the reporting queue: 2 or 4. */
static void reported_pages_leave_the_host(void **state)
{
	struct drv *d = *state;

	for (unsigned queue = 2; queue <= 4; queue += 2) {
		gpa_t gpa = dirty_pages(d, 64);
		struct drv_buf bufs[] = {{gpa, 16 * PAGE, true}, {gpa + 32 * PAGE, 100, true},
			{gpa + 48 * PAGE, 16 * PAGE, true}};

		assert_int_equal(drv_do(d, &d->queues[queue], bufs, 3), 0);
		assert_int_equal(resident(d, gpa, 16), 0);
		assert_int_equal(resident(d, gpa + 16 * PAGE, 32), 32);
		assert_int_equal(resident(d, gpa + 48 * PAGE, 16), 0);
	}
	assert_int_equal(balloon_given_back(d->dev), 64 * PAGE);
}

static void the_target_interrupts_and_the_answer_is_read(void **state)
{
	struct drv *d = *state;

	balloon_set_target(d->dev, 8 << 20);
	assert_int_equal(d->interrupts, 1);
	assert_int_equal(drv_read(d, R_CONFIG), (8 << 20) >> 12);
	drv_write(d, R_CONFIG + 4, 1000);
	assert_int_equal(balloon_actual(d->dev), 1000 * PAGE);
	drv_write(d, R_STATUS, 0);
	assert_int_equal(balloon_actual(d->dev), 0);
	assert_int_equal(drv_read(d, R_CONFIG), (8 << 20) >> 12); /* the wish outlives a reset */
}

static void *set_targets(void *ctx)
{
	for (unsigned i = 0; i < 2000; i++)
		balloon_set_target(ctx, (uint64_t)i * PAGE);
	return NULL;
}

static void targets_from_another_thread(void **state)
{
	struct drv *d = *state;
	gpa_t list = drv_alloc(d, 16, 4), gpa = dirty_pages(d, 4);
	struct drv_buf buf = {list, 16, false};
	pthread_t setter;
	uint16_t head;
	uint32_t bytes;

	put_pfns(d, list, gpa, 4, 1);
	drv_run_thread(d);
	assert_int_equal(pthread_create(&setter, NULL, set_targets, d->dev), 0);
	for (unsigned i = 0; i < 500; i++) {
		drv_add(&d->queues[INFLATE], &buf, 1);
		drv_kick(d, &d->queues[INFLATE]);
		drv_read(d, R_CONFIG);
		drv_write(d, R_INT_ACK, drv_read(d, R_INT_STATUS));
		assert_true(drv_wait_used(&d->queues[INFLATE], &head, &bytes));
	}
	pthread_join(setter, NULL);
	assert_int_equal(drv_read(d, R_CONFIG), 1999);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(inflated_pages_leave_the_host),
		TEST(pages_in_falling_order_and_with_gaps),
		TEST(deflating_gives_pages_back_to_the_guest),
		TEST(nonsense_page_numbers_hurt_nobody),
		TEST(reported_pages_leave_the_host),
		TEST(the_target_interrupts_and_the_answer_is_read),
		TEST(targets_from_another_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
