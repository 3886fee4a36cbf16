// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>

#include "arch/layout.h"
#include "arch/plan.h"

/* Two block devices: vsock, blk, blk, rng, balloon, each base one stride after the last. */
static void test_two_blocks(void **state)
{
	static const enum virtio_slot_kind kinds[] = {VIRTIO_SLOT_VSOCK, VIRTIO_SLOT_BLOCK,
		VIRTIO_SLOT_BLOCK, VIRTIO_SLOT_RNG, VIRTIO_SLOT_BALLOON};
	struct virtio_mmio_slot slots[VIRTIO_MMIO_SLOTS_MAX];

	(void)state;
	assert_int_equal(virtio_mmio_plan(2, slots, ARRAY_LEN(slots)), 5);
	assert_int_equal(slots[0].base, LAYOUT_VIRTIO_MMIO_BASE);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(slots[i].kind, kinds[i]);
		if (i > 0)
			assert_int_equal(
				slots[i].base, slots[i - 1].base + LAYOUT_VIRTIO_MMIO_STRIDE);
	}
}

/* The contract's table: IRQ_BASE, then IRQ_BASE + slot + 1. */
static void test_interrupts(void **state)
{
	struct virtio_mmio_slot slots[VIRTIO_MMIO_SLOTS_MAX];

	(void)state;
	assert_int_equal(virtio_mmio_plan(2, slots, ARRAY_LEN(slots)), 5);
	assert_int_equal(slots[0].irq, LAYOUT_IRQ_BASE);
	for (unsigned i = 1; i < 5; i++)
		assert_int_equal(slots[i].irq, LAYOUT_IRQ_BASE + i + 1);
}

static void test_every_line_is_its_own(void **state)
{
	struct virtio_mmio_slot slots[VIRTIO_MMIO_SLOTS_MAX];

	(void)state;
	for (unsigned n = 0; n <= VIRTIO_MMIO_BLOCKS_MAX; n++) {
		int count = virtio_mmio_plan(n, slots, ARRAY_LEN(slots));

		assert_int_equal(count, n + 3);
		for (int i = 0; i < count; i++) {
			assert_int_not_equal(slots[i].irq, LAYOUT_SERIAL_IRQ);
			assert_int_not_equal(slots[i].irq, LAYOUT_GENERATION_IRQ);
			assert_in_range(slots[i].irq, 0, LAYOUT_IOAPIC_PINS - 1);
			for (int j = 0; j < i; j++)
				assert_int_not_equal(slots[i].irq, slots[j].irq);
		}
	}
}

static void test_stays_in_its_window(void **state)
{
	struct virtio_mmio_slot slots[VIRTIO_MMIO_SLOTS_MAX];
	int n = virtio_mmio_plan(VIRTIO_MMIO_BLOCKS_MAX, slots, ARRAY_LEN(slots));

	(void)state;
	assert_int_equal(n, VIRTIO_MMIO_SLOTS_MAX);
	assert_true(slots[0].base >= LAYOUT_LOW_RAM_END);
	assert_true(slots[n - 1].base + LAYOUT_VIRTIO_MMIO_STRIDE <= LAYOUT_IOAPIC_BASE);
}

static void test_refuses(void **state)
{
	struct virtio_mmio_slot slots[VIRTIO_MMIO_SLOTS_MAX] = {{.irq = 99}};

	(void)state;
	assert_int_equal(virtio_mmio_plan(VIRTIO_MMIO_BLOCKS_MAX + 1, slots, 100), -E2BIG);
	assert_int_equal(virtio_mmio_plan(UINT32_MAX, slots, UINT32_MAX), -E2BIG);
	assert_int_equal(virtio_mmio_plan(2, slots, 4), -ENOSPC);
	assert_int_equal(slots[0].irq, 99);
	assert_int_equal(virtio_mmio_plan(2, slots, 5), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_blocks),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_every_line_is_its_own),
		cmocka_unit_test(test_stays_in_its_window),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
