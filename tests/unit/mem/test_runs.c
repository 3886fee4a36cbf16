// SPDX-License-Identifier: Apache-2.0
/* Lists of runs against a plain array of pages; their saved form against a stranger's. */
#include "mem/memfile_int.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/le.h"
#include "base/snapio.h"

enum { N = 400 };

#define PAGE	 ((uint64_t)MEMFILE_PAGE_BYTES)
#define RAM	 (N * PAGE)
#define autoruns CLEANUP(memfile_runs_fini)

/* The gap that must not be filled is the largest one, and so on: compare with one at a time. */
static void fill_one(bool *pages)
{
	int best = -1, best_len = N + 1;

	for (int i = 1, start = -1; i < N; i++) {
		if (pages[i - 1] && !pages[i])
			start = i;
		if (!pages[i - 1] && pages[i] && start > 0 && i - start < best_len) {
			best = start;
			best_len = i - start;
		}
	}
	for (int i = 0; i < best_len; i++)
		pages[best + i] = true;
}

static size_t count(const bool *pages)
{
	size_t n = pages[0];

	for (int i = 1; i < N; i++)
		n += pages[i] && !pages[i - 1];
	return n;
}

static void smallest_gaps_are_filled_first(void **state)
{
	(void)state;
	srand(7);
	for (unsigned round = 0; round < 300; round++) {
		size_t max = 1 + (size_t)rand() % 60;
		struct run_list l = {0};
		bool pages[N] = {0};
		uint64_t have = 0, want = 0;

		for (int i = 0; i < N; i++)
			pages[i] = rand() % 100 < (int)(round % 90);
		for (uint64_t i = 0; i < N; i++)
			if (pages[i])
				assert_int_equal(run_list_add(&l, i * PAGE, PAGE), 0);
		assert_int_equal(l.n, count(pages));
		assert_int_equal(run_list_limit(&l, max), 0);
		while (count(pages) > max)
			fill_one(pages);
		assert_int_equal(l.n, count(pages));
		/* which of two equal gaps is filled is open: the bytes are not */
		for (size_t i = 0; i < l.n; i++)
			have += l.items[i].bytes / PAGE;
		for (int i = 0; i < N; i++)
			want += pages[i];
		assert_int_equal(have, want);
		run_list_fini(&l);
	}
}

static void overlapping_runs_become_one(void **state)
{
	struct run_list l = {0};

	(void)state;
	assert_int_equal(run_list_add(&l, 0, 4 * PAGE), 0);
	assert_int_equal(run_list_add(&l, PAGE, PAGE), 0);
	assert_int_equal(run_list_add(&l, 4 * PAGE, PAGE), 0);
	assert_int_equal(run_list_add(&l, 6 * PAGE, PAGE), 0);
	assert_int_equal(l.n, 2);
	assert_int_equal(l.items[0].bytes, 5 * PAGE);
	run_list_fini(&l);
}

/* More than are ever kept: two million runs, whose memory stays bounded. */
static void a_list_has_a_ceiling(void **state)
{
	autoruns struct memfile_runs runs = {0};
	struct run_list l = {0};
	uint64_t bytes = 0, n = 2 << 20;
	struct err e = {0};

	(void)state;
	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(run_list_add(&l, 2 * i * PAGE, PAGE), 0);
	assert_true(l.room <= 1 << 20);
	assert_int_equal(run_list_take(&l, &runs), 0);
	assert_true(runs.n <= MEMFILE_RUNS_MAX);
	assert_int_equal(memfile_runs_check(&runs, 2 * n * PAGE, &bytes, &e), 0);
	assert_int_equal(runs.items[0].offset, 0);
	assert_int_equal(runs.items[runs.n - 1].offset + runs.items[runs.n - 1].bytes,
		(2 * (n - 1) + 1) * PAGE);
}

static void walk(struct memfile_runs *runs, struct buf *b, bool is_loading, struct err *e, int want)
{
	struct snapio io;

	if (is_loading)
		snapio_load_from(&io, "memory", 1, b->data, b->bytes);
	else
		snapio_save_to(&io, "memory", 1, b);
	memfile_runs_snap(runs, RAM, &io);
	assert_int_equal(snapio_end(&io, e), want);
}

static void runs_come_back_as_saved(void **state)
{
	struct memfile_run items[] = {{0, PAGE}, {3 * PAGE, 2 * PAGE}, {RAM - PAGE, PAGE}};
	struct err e = {0};

	(void)state;
	for (uint32_t n = 0; n <= ARRAY_LEN(items); n++) {
		autoruns struct memfile_runs back = {0};
		struct memfile_runs runs = {items, n};
		autobuf struct buf b;

		buf_init(&b, 1 << 20);
		walk(&runs, &b, false, &e, 0);
		walk(&back, &b, true, &e, 0);
		assert_int_equal(back.n, n);
		if (n)
			assert_memory_equal(back.items, items, n * sizeof(items[0]));
	}
}

/* What a stranger may write: valid fields, runs that are not. */
static void strange_runs_are_refused(void **state)
{
	static const uint64_t bad[][4] = {
		{0, 0, 8 * PAGE, PAGE},
		{1, PAGE, 8 * PAGE, PAGE},
		{0, PAGE, 0, PAGE},
		{0, PAGE, PAGE, PAGE},
		{8 * PAGE, PAGE, 0, PAGE},
		{0, PAGE, RAM, PAGE},
		{0, PAGE, UINT64_MAX - PAGE + 1, PAGE},
		{0, PAGE, 2 * PAGE, UINT64_MAX - PAGE + 1},
		{0, PAGE, 2 * PAGE, 2 * RAM},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct memfile_runs back = {.n = 42};
		uint8_t bytes[32];
		struct err e = {0};
		autobuf struct buf b;
		struct snapio io;
		uint32_t n = 2;

		for (unsigned j = 0; j < 4; j++)
			le64_store(bytes + 8 * j, bad[i][j]);
		buf_init(&b, 1 << 20);
		snapio_save_to(&io, "memory", 1, &b);
		snapio_count(&io, "n_runs", &n, 2);
		snapio_bytes(&io, "runs", bytes, sizeof(bytes));
		assert_int_equal(snapio_end(&io, &e), 0);
		walk(&back, &b, true, &e, -EBADMSG);
		assert_true(e.cause[0]);
		assert_int_equal(back.n, 42);
		assert_null(back.items);
	}
}

static void counts_are_bounded(void **state)
{
	struct memfile_runs back = {0};
	uint32_t n = MEMFILE_RUNS_MAX + 1;
	struct err e = {0};
	autobuf struct buf b;
	struct snapio io;

	(void)state;
	buf_init(&b, 1 << 20);
	snapio_save_to(&io, "memory", 1, &b);
	snapio_count(&io, "n_runs", &n, UINT32_MAX);
	assert_int_equal(snapio_end(&io, &e), 0);
	walk(&back, &b, true, &e, -EBADMSG);
	assert_null(back.items);
}

/* Each prefix, and each byte changed: an error or runs that fit, nothing else. */
static void damage_is_found_or_harmless(void **state)
{
	struct memfile_run items[] = {{0, PAGE}, {3 * PAGE, 2 * PAGE}, {RAM - PAGE, PAGE}};
	struct memfile_runs runs = {items, 3};
	autobuf struct buf b;
	struct err e = {0};
	struct snapio io;
	uint64_t bytes;

	(void)state;
	buf_init(&b, 1 << 20);
	walk(&runs, &b, false, &e, 0);
	for (size_t i = 0; i < b.bytes * 9; i++) {
		autoruns struct memfile_runs back = {0};
		size_t at = i / 9;
		uint8_t *byte = b.data + at, was = *byte;

		e = (struct err){0};
		if (i % 9 < 8)
			*byte ^= (uint8_t)(1u << (i % 9));
		snapio_load_from(&io, "memory", 1, b.data, i % 9 == 8 ? at : b.bytes);
		memfile_runs_snap(&back, RAM, &io);
		if (snapio_end(&io, &e) == 0)
			assert_int_equal(memfile_runs_check(&back, RAM, &bytes, &e), 0);
		else
			assert_true(e.cause[0]);
		*byte = was;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(smallest_gaps_are_filled_first),
		cmocka_unit_test(overlapping_runs_become_one),
		cmocka_unit_test(a_list_has_a_ceiling),
		cmocka_unit_test(runs_come_back_as_saved),
		cmocka_unit_test(strange_runs_are_refused),
		cmocka_unit_test(counts_are_bounded),
		cmocka_unit_test(damage_is_found_or_harmless),
	};

	return cmocka_run_group_tests_name("runs", tests, NULL, NULL);
}
