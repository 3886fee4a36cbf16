// SPDX-License-Identifier: Apache-2.0
/* Rings, good and bad: the queue alone, fed with what a guest can put into its memory. */
#include "virtio/queue.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <cmocka.h>

#include "driver.h"
#include "mem/gmem.h"

enum { SIZE = 8, DATA = 0x100000 };

struct fixture {
	struct gmem gmem;
	struct virtq q;
	struct drv_queue drv; /* the driver's view of the same rings */
};

static const gpa_t desc_gpa = 0x1000, avail_gpa = 0x2000, used_gpa = 0x3000;

static void enable(struct fixture *f, uint16_t size, bool has_event_idx)
{
	vq_init(&f->q, &f->gmem, VQ_SIZE_MAX);
	memset(gmem_ptr(&f->gmem, 0, 0x10000), 0, 0x10000);
	f->q.size = size;
	f->q.desc_gpa = desc_gpa;
	f->q.avail_gpa = avail_gpa;
	f->q.used_gpa = used_gpa;
	assert_int_equal(vq_enable(&f->q, has_event_idx), 0);
	f->drv = (struct drv_queue){
		.size = size,
		.desc = gmem_ptr(&f->gmem, desc_gpa, 1),
		.avail = gmem_ptr(&f->gmem, avail_gpa, 1),
		.used = gmem_ptr(&f->gmem, used_gpa, 1),
	};
}

static int setup(void **state)
{
	static struct fixture f;
	struct gmem_range ram[] = {{0, 4 << 20}, {0x10000000, 1 << 20}};
	struct err e = {0};

	memset(&f, 0, sizeof(f));
	assert_int_equal(gmem_init(&f.gmem, ram, 2, &e), 0);
	enable(&f, SIZE, true);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	gmem_fini(&((struct fixture *)*state)->gmem);
	return 0;
}

static void set(
	struct fixture *f, unsigned i, gpa_t gpa, uint32_t bytes, unsigned flags, uint16_t next)
{
	f->drv.desc[i] = (struct drv_desc){gpa, bytes, (uint16_t)flags, next};
}

static void expect_broken(struct fixture *f)
{
	struct vq_chain c;

	assert_int_equal(vq_pop(&f->q, &c), -EPROTO);
	assert_true(f->q.is_broken);
	/* For ever, even when the ring has become good again. */
	set(f, 0, DATA, 16, 0, 0);
	assert_int_equal(vq_pop(&f->q, &c), -EPROTO);
	assert_int_equal(f->drv.used->idx, 0);
	vq_reset(&f->q);
	assert_int_equal(vq_pop(&f->q, &c), 0);
}

static void a_chain_is_popped_and_pushed(void **state)
{
	struct fixture *f = *state;
	struct vq_chain c;

	assert_int_equal(vq_pop(&f->q, &c), 0);
	set(f, 3, DATA, 16, D_NEXT, 1);
	set(f, 1, DATA + 0x1000, 0, D_NEXT, 2); /* an empty buffer counts for nothing */
	set(f, 2, DATA + 0x2000, 100, D_NEXT | D_WRITE, 7);
	set(f, 7, 0x10000000, 1 << 20, D_WRITE, 0);
	drv_offer(&f->drv, 3);
	assert_int_equal(vq_pop(&f->q, &c), 1);
	assert_int_equal(c.head, 3);
	assert_int_equal(c.n_out, 1);
	assert_int_equal(c.n_in, 2);
	assert_int_equal(c.out_bytes, 16);
	assert_int_equal(c.in_bytes, 100 + (1 << 20));
	assert_ptr_equal(c.iov[0].iov_base, gmem_ptr(&f->gmem, DATA, 16));
	assert_ptr_equal(vq_in(&c)[1].iov_base, gmem_ptr(&f->gmem, 0x10000000, 1));
	assert_int_equal(vq_pop(&f->q, &c), 0);
	vq_push(&f->q, 3, 77);
	assert_int_equal(f->drv.used->idx, 1);
	assert_int_equal(f->drv.used->ring[0].head, 3);
	assert_int_equal(f->drv.used->ring[0].bytes, 77);
}

static void an_indirect_chain_is_followed(void **state)
{
	struct fixture *f = *state;
	struct drv_desc *table = gmem_ptr(&f->gmem, 0x8000, 4096);
	struct vq_chain c;

	set(f, 0, DATA, 8, D_NEXT, 5); /* §2.7.5.3.2: direct ones may come before */
	set(f, 5, 0x8000, 200 * 16, D_INDIRECT | D_WRITE, 0); /* WRITE is ignored */
	for (uint16_t i = 0; i < 200; i++)
		table[i] = (struct drv_desc){DATA + i * 16u, 16,
			(uint16_t)((i < 199 ? D_NEXT : 0) | (i >= 100 ? D_WRITE : 0)),
			(uint16_t)(i + 1)};
	drv_offer(&f->drv, 0);
	assert_int_equal(vq_pop(&f->q, &c), 1);
	assert_int_equal(c.head, 0);
	assert_int_equal(c.n_out, 101);
	assert_int_equal(c.n_in, 100);
}

static void the_longest_chain_passes_and_one_more_does_not(void **state)
{
	struct fixture *f = *state;
	struct vq_chain c;

	for (uint16_t i = 0; i < SIZE; i++)
		set(f, i, DATA, 1, i < SIZE - 1 ? D_NEXT : 0, (uint16_t)(i + 1));
	drv_offer(&f->drv, 0);
	assert_int_equal(vq_pop(&f->q, &c), 1);
	assert_int_equal(c.n_out, SIZE);
	vq_push(&f->q, 0, 0);

	enable(f, SIZE, true);
	for (uint16_t i = 0; i < SIZE; i++)
		set(f, i, DATA, 1, D_NEXT, (uint16_t)((i + 1) % SIZE)); /* a loop of all */
	drv_offer(&f->drv, 0);
	expect_broken(f);
}

static void an_indirect_table_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct drv_desc *table = gmem_ptr(&f->gmem, 0x8000, 8192);
	struct vq_chain c;

	for (uint16_t i = 0; i < VQ_SIZE_MAX + 1; i++)
		table[i] = (struct drv_desc){DATA, 1, D_NEXT, (uint16_t)(i + 1)};
	table[VQ_SIZE_MAX - 1].flags = 0;
	set(f, 0, 0x8000, (VQ_SIZE_MAX + 1) * 16, D_INDIRECT, 0);
	drv_offer(&f->drv, 0);
	assert_int_equal(vq_pop(&f->q, &c), 1);
	assert_int_equal(c.n_out, VQ_SIZE_MAX);
	vq_push(&f->q, 0, 0);
	table[VQ_SIZE_MAX - 1].flags = D_NEXT;
	table[VQ_SIZE_MAX].flags = 0;
	drv_offer(&f->drv, 0);
	assert_int_equal(vq_pop(&f->q, &c), -EPROTO);
}

static void a_descriptor_that_points_at_itself(void **state)
{
	struct fixture *f = *state;

	set(f, 0, DATA, 1, D_NEXT, 0);
	drv_offer(&f->drv, 0);
	expect_broken(f);
}

static void a_next_outside_the_table(void **state)
{
	struct fixture *f = *state;

	set(f, 0, DATA, 1, D_NEXT, SIZE);
	drv_offer(&f->drv, 0);
	expect_broken(f);
}

static void a_head_outside_the_table(void **state)
{
	struct fixture *f = *state;

	drv_offer(&f->drv, SIZE);
	expect_broken(f);
}

static void buffers_that_are_not_ram(void **state)
{
	static const struct {
		gpa_t gpa;
		uint32_t bytes;
	} bad[] = {
		{4 << 20, 1},
		{(4 << 20) - 1, 2},
		{UINT64_MAX, 1},
		{UINT64_MAX - 15, 16},
		{UINT64_MAX - 15, 32},
		{0, UINT32_MAX},
		{0x10000000 - 1, 1},
		{0x10000000, (1 << 20) + 1},
		{1ull << 63, 0},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		enable(f, SIZE, false);
		set(f, 0, bad[i].gpa, bad[i].bytes, D_WRITE, 0);
		drv_offer(&f->drv, 0);
		expect_broken(f);
	}
}

static void readable_after_writable(void **state)
{
	struct fixture *f = *state;

	set(f, 0, DATA, 1, D_NEXT | D_WRITE, 1);
	set(f, 1, DATA, 1, 0, 0);
	drv_offer(&f->drv, 0);
	expect_broken(f);
}

static void indirect_descriptors_that_break_rules(void **state)
{
	struct fixture *f = *state;
	struct drv_desc *table = gmem_ptr(&f->gmem, 0x8000, 4096);

	set(f, 0, 0x8000, 0, D_INDIRECT, 0); /* no table */
	drv_offer(&f->drv, 0);
	expect_broken(f);

	enable(f, SIZE, true);
	set(f, 0, 0x8000, 24, D_INDIRECT, 0); /* one descriptor and a half */
	drv_offer(&f->drv, 0);
	expect_broken(f);

	enable(f, SIZE, true);
	set(f, 0, 0x8000, 16, D_INDIRECT | D_NEXT, 1);
	drv_offer(&f->drv, 0);
	expect_broken(f);

	enable(f, SIZE, true);
	table[0] = (struct drv_desc){0x8000, 16, D_INDIRECT, 0}; /* itself, without end */
	set(f, 0, 0x8000, 16, D_INDIRECT, 0);
	drv_offer(&f->drv, 0);
	expect_broken(f);

	enable(f, SIZE, true);
	set(f, 0, (4 << 20) - 16, 32, D_INDIRECT, 0); /* half outside RAM */
	drv_offer(&f->drv, 0);
	expect_broken(f);

	enable(f, SIZE, true);
	set(f, 0, 0x8000, 0xfffffff0, D_INDIRECT, 0);
	drv_offer(&f->drv, 0);
	expect_broken(f);

	enable(f, SIZE, true);
	table[0] = (struct drv_desc){DATA, 1, D_NEXT, 1}; /* past the table of one */
	set(f, 0, 0x8000, 16, D_INDIRECT, 0);
	drv_offer(&f->drv, 0);
	expect_broken(f);
}

static void the_available_index_may_not_outrun_the_queue(void **state)
{
	struct fixture *f = *state;
	struct vq_chain c;

	for (unsigned i = 0; i < SIZE; i++)
		set(f, i, DATA, 1, 0, 0);
	f->drv.avail->idx = SIZE + 1;
	expect_broken(f);

	enable(f, SIZE, true);
	f->drv.avail->idx = UINT16_MAX; /* backwards */
	expect_broken(f);

	/* Chains that the device still has count too. */
	enable(f, SIZE, true);
	set(f, 0, DATA, 1, 0, 0);
	f->drv.avail->idx = SIZE;
	assert_int_equal(vq_pop(&f->q, &c), 1);
	f->drv.avail->idx = SIZE + 1;
	assert_int_equal(vq_pop(&f->q, &c), -EPROTO);
}

static void set_up_rules(void **state)
{
	struct fixture *f = *state;
	struct virtq *q = &f->q;
	static const uint16_t bad_sizes[] = {0, 3, 12, VQ_SIZE_MAX * 2, UINT16_MAX};

	for (size_t i = 0; i < ARRAY_LEN(bad_sizes); i++) {
		vq_reset(q);
		*q = (struct virtq){.gmem = &f->gmem,
			.size_max = VQ_SIZE_MAX,
			.size = bad_sizes[i],
			.desc_gpa = desc_gpa,
			.avail_gpa = avail_gpa,
			.used_gpa = used_gpa};
		assert_int_equal(vq_enable(q, false), -EINVAL);
		assert_false(q->is_ready);
	}
	q->size = SIZE;
	q->desc_gpa = desc_gpa + 8;
	assert_int_equal(vq_enable(q, false), -EINVAL);
	q->desc_gpa = desc_gpa;
	q->avail_gpa = avail_gpa + 1;
	assert_int_equal(vq_enable(q, false), -EINVAL);
	q->avail_gpa = avail_gpa;
	q->used_gpa = used_gpa + 2;
	assert_int_equal(vq_enable(q, false), -EINVAL);
	q->used_gpa = (4 << 20) - (4 + SIZE * 8); /* ends with RAM: but for the event index */
	assert_int_equal(vq_enable(q, true), -EINVAL);
	assert_int_equal(vq_enable(q, false), 0);
	vq_reset(q);
	assert_int_equal(q->size, 0);
	assert_int_equal(q->size_max, VQ_SIZE_MAX);
}

static void unpop_gives_the_same_chain_again(void **state)
{
	struct fixture *f = *state;
	struct vq_chain c;

	set(f, 4, DATA, 9, D_WRITE, 0);
	drv_offer(&f->drv, 4);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(vq_pop(&f->q, &c), 1);
		assert_int_equal(c.head, 4);
		assert_int_equal(c.in_bytes, 9);
		vq_unpop(&f->q);
	}
	assert_int_equal(f->q.in_flight, 0);
}

static void flags_decide_without_event_index(void **state)
{
	struct fixture *f = *state;
	struct vq_chain c;

	enable(f, SIZE, false);
	set(f, 0, DATA, 9, 0, 0);
	assert_false(vq_wants_interrupt(&f->q));
	vq_notify_off(&f->q);
	assert_int_equal(f->drv.used->flags, 1);
	assert_false(vq_notify_on(&f->q));
	assert_int_equal(f->drv.used->flags, 0);
	drv_offer(&f->drv, 0);
	assert_true(vq_notify_on(&f->q)); /* it came meanwhile */
	assert_int_equal(vq_pop(&f->q, &c), 1);
	vq_push(&f->q, 0, 0);
	assert_true(vq_wants_interrupt(&f->q));
	assert_false(vq_wants_interrupt(&f->q)); /* nothing new */
	drv_offer(&f->drv, 0);
	assert_int_equal(vq_pop(&f->q, &c), 1);
	vq_push(&f->q, 0, 0);
	f->drv.avail->flags = 1;
	assert_false(vq_wants_interrupt(&f->q));
}

/* Both event indices, once around the 16-bit counters and more, against the definition. */
static void event_indices_survive_the_wrap(void **state)
{
	struct fixture *f = *state;
	struct vq_chain c;
	unsigned interrupts = 0, kicks = 0;
	uint32_t done = 0;

	set(f, 0, DATA, 1, 0, 0);
	drv_want_interrupt_at(&f->drv, 0);
	while (done < 70000) {
		unsigned batch = done % SIZE + 1;
		uint16_t before = f->drv.next_avail;

		for (unsigned i = 0; i < batch; i++)
			drv_offer(&f->drv, 0);
		/* The device asked to be told of the next one, whatever its number. */
		assert_int_equal(drv_avail_event(&f->drv), before);
		kicks++;
		assert_true(done == 0 || f->q.next_avail == before);
		vq_notify_off(&f->q);
		while (vq_pop(&f->q, &c) == 1)
			vq_push(&f->q, 0, 0);
		assert_false(vq_notify_on(&f->q));
		done += batch;
		/* Interrupt wanted at the last of each batch, then in the far future. */
		drv_want_interrupt_at(&f->drv, (uint16_t)(done - 1));
		assert_true(vq_wants_interrupt(&f->q));
		interrupts++;
		drv_want_interrupt_at(&f->drv, (uint16_t)(done + 1000));
		assert_false(vq_wants_interrupt(&f->q));
	}
	assert_int_equal(interrupts, kicks);
	assert_int_equal(f->drv.used->idx, (uint16_t)done);

	/* Across 65535 -> 0 in one batch. */
	enable(f, SIZE, true);
	set(f, 0, DATA, 1, 0, 0);
	f->q.next_avail = f->q.next_used = f->q.signalled = 65533;
	f->drv.next_avail = f->drv.avail->idx = 65533;
	for (unsigned i = 0; i < 6; i++)
		drv_offer(&f->drv, 0);
	while (vq_pop(&f->q, &c) == 1)
		vq_push(&f->q, 0, 0);
	assert_int_equal(f->drv.used->idx, 3);
	drv_want_interrupt_at(&f->drv, 3); /* the next one: not yet */
	assert_false(vq_wants_interrupt(&f->q));
	f->q.signalled = 65533;
	drv_want_interrupt_at(&f->drv, 65535);
	assert_true(vq_wants_interrupt(&f->q));
	f->q.signalled = 65533;
	drv_want_interrupt_at(&f->drv, 0);
	assert_true(vq_wants_interrupt(&f->q));
	f->q.signalled = 65533;
	drv_want_interrupt_at(&f->drv, 65532); /* long past */
	assert_false(vq_wants_interrupt(&f->q));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_chain_is_popped_and_pushed),
		TEST(an_indirect_chain_is_followed),
		TEST(the_longest_chain_passes_and_one_more_does_not),
		TEST(an_indirect_table_is_bounded),
		TEST(a_descriptor_that_points_at_itself),
		TEST(a_next_outside_the_table),
		TEST(a_head_outside_the_table),
		TEST(buffers_that_are_not_ram),
		TEST(readable_after_writable),
		TEST(indirect_descriptors_that_break_rules),
		TEST(the_available_index_may_not_outrun_the_queue),
		TEST(set_up_rules),
		TEST(unpop_gives_the_same_chain_again),
		TEST(flags_decide_without_event_index),
		TEST(event_indices_survive_the_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
