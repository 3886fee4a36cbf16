// SPDX-License-Identifier: Apache-2.0
/* RAM saved to, mapped from and thrown back to real files, by this process's own pagemap. */
#include "memfile_model.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "mem/pagemap.h"

#define autoruns CLEANUP(memfile_runs_fini)

static void fresh_memory_is_saved_as_the_guest_reads_it(void **state)
{
	struct model m;

	(void)state;
	model_init(&m);
	for (unsigned round = 0; round < 12; round++) {
		int fd = new_file();
		struct stat st;

		disturb(&m, round * 60);
		save(&m, fd);
		assert_return_code(fstat(fd, &st), errno);
		if (round == 0)
			assert_int_equal(st.st_blocks, 0);
		close(fd);
	}
	model_fini(&m);
}

static void nothing_needs_pagemap_to_be_right(void **state)
{
	struct memfile_saved saved;
	struct err e = {0};
	struct model m;
	int fd = new_file(), again = new_file();

	(void)state;
	model_init(&m);
	disturb(&m, 500);
	assert_int_equal(memfile_save(&m.g, -1, fd, &saved, &e), 0);
	assert_file(fd, m.now, TOTAL);
	assert_saved(fd, &saved);
	remap(&m, fd);
	disturb(&m, 500);
	assert_int_equal(memfile_save(&m.g, -1, again, &saved, &e), 0);
	assert_file(again, m.now, TOTAL);
	model_fini(&m);
	close(fd);
	close(again);
}

static void a_mapped_file_is_ram_that_is_nobody_elses(void **state)
{
	int fd = new_file();
	struct model a, b;

	(void)state;
	model_init(&a);
	disturb(&a, 2000);
	save(&a, fd);
	remap(&a, fd);
	model_init(&b);
	memcpy(b.now, a.now, TOTAL);
	remap(&b, fd);
	disturb(&a, 1000);
	disturb(&b, 1000);
	assert_ram(&a.g, a.now);
	assert_ram(&b.g, b.now);
	assert_file(fd, a.base, TOTAL);
	model_fini(&a);
	model_fini(&b);
	close(fd);
}

static void a_restored_vm_is_saved_without_mapping_what_it_did_not_touch(void **state)
{
	uint64_t counts[3];
	struct model m;
	int fd = new_file(), again;

	(void)state;
	model_init(&m);
	disturb(&m, 2000);
	save(&m, fd);
	remap(&m, fd);
	again = new_file();
	save(&m, again);
	close(again);
	count_kinds(&m, counts);
	assert_int_equal(counts[PAGE_UNTOUCHED], N_PAGES);
	for (unsigned round = 0; round < 8; round++) {
		again = new_file();
		disturb(&m, 200);
		save(&m, again);
		close(again);
	}
	model_fini(&m);
	close(fd);
}

static void rollback_makes_ram_the_files_again(void **state)
{
	struct err e = {0};
	uint64_t counts[3];
	struct model m;
	int fd = new_file();

	(void)state;
	model_init(&m);
	disturb(&m, 1000);
	assert_int_equal(memfile_rollback(&m.g, m.pagemap_fd, &e), -EINVAL);
	assert_true(e.remedy[0]);
	save(&m, fd);
	remap(&m, fd);
	for (unsigned round = 0; round < 4; round++) {
		disturb(&m, 300);
		assert_int_equal(memfile_rollback(&m.g, round % 2 ? -1 : m.pagemap_fd, &e), 0);
		count_kinds(&m, counts);
		assert_int_equal(counts[PAGE_OWN], 0);
		memcpy(m.now, m.base, TOTAL);
		assert_ram(&m.g, m.now);
	}
	model_fini(&m);
	close(fd);
}

static void the_same_addresses_can_take_another_snapshot(void **state)
{
	uint8_t *hosts[N_RANGES];
	unsigned before = open_files();
	int first = new_file(), second = new_file();
	struct err e = {0};
	struct model m;

	(void)state;
	model_init(&m);
	for (unsigned i = 0; i < m.g.n; i++)
		hosts[i] = m.g.regions[i].host;
	disturb(&m, 400);
	save(&m, first);
	disturb(&m, 400);
	save(&m, second);
	disturb(&m, 400);
	assert_int_equal(memfile_map_over(&m.g, first, &e), 0);
	assert_int_equal(memfile_map_over(&m.g, second, &e), 0);
	for (unsigned i = 0; i < m.g.n; i++)
		assert_ptr_equal(m.g.regions[i].host, hosts[i]);
	assert_int_equal(pread(second, m.now, TOTAL, 0), TOTAL);
	assert_ram(&m.g, m.now);
	model_fini(&m);
	close(first);
	close(second);
	assert_int_equal(open_files(), before);
}

static void a_differential_snapshot_holds_what_changed(void **state)
{
	struct memfile_runs inherited = {0};
	struct err e = {0};
	int fd = new_file(), full;
	struct model m;

	(void)state;
	model_init(&m);
	disturb(&m, 3000);
	save(&m, fd);
	remap(&m, fd);
	for (unsigned round = 0; round < 10; round++) {
		disturb(&m, round * 30);
		if (round == 3) { /* a run over the border of two regions */
			write_page(&m, 6 * MIB / PAGE - 1, 9);
			write_page(&m, 6 * MIB / PAGE, 8);
		}
		through_a_chain(&m, fd, &inherited, round == 0);
		disturb(&m, 50);
		full = new_file();
		save(&m, full);
		close(full);
		assert_int_equal(memfile_rollback(&m.g, m.pagemap_fd, &e), 0);
		assert_ram(&m.g, m.base);
		memcpy(m.now, m.base, TOTAL);
		assert_int_equal(
			memfile_rollback(&m.g, m.pagemap_fd, &e), 0); /* unmaps what was compared */
	}
	memfile_runs_fini(&inherited);
	model_fini(&m);
	close(fd);
}

static void only_what_changed_is_written(void **state)
{
	autoruns struct memfile_runs runs = {0};
	struct memfile_saved saved;
	struct err e = {0};
	int fd = new_file(), diff = new_file();
	struct model m;

	(void)state;
	model_init(&m);
	for (uint64_t i = 0; i < N_PAGES; i++)
		write_page(&m, i, 1);
	save(&m, fd);
	remap(&m, fd);
	write_page(&m, 7, 2);
	write_page(&m, 8, 0); /* differs, and is a hole */
	write_page(&m, 100, 3);
	discard_page(&m, 100);
	assert_int_equal(*host_at(&m.g, PAGES(200)), 1); /* read, not written */
	write_page(&m, N_PAGES - 1, 1);			 /* written, to the same */
	assert_int_equal(memfile_save_diff(&m.g, NULL, m.pagemap_fd, diff, &runs, &saved, &e), 0);
	assert_int_equal(runs.n, 2);
	assert_int_equal(runs.items[0].offset, PAGES(7));
	assert_int_equal(runs.items[0].bytes, PAGES(2));
	assert_int_equal(runs.items[1].offset, PAGES(N_PAGES - 1));
	assert_int_equal(saved.data_bytes, PAGES(2));
	model_fini(&m);
	close(fd);
	close(diff);
}

static void a_booted_vm_has_no_difference(void **state)
{
	struct memfile_runs runs = {.n = 42};
	struct memfile_saved saved;
	struct err e = {0};
	struct model m;

	(void)state;
	model_init(&m);
	assert_int_equal(
		memfile_save_diff(&m.g, NULL, m.pagemap_fd, 1, &runs, &saved, &e), -EINVAL);
	assert_string_equal(e.object, "memory");
	assert_int_equal(runs.n, 42);
	model_fini(&m);
}

/* Every other page of 40 MiB is more runs than there may be. */
static void too_many_runs_have_their_gaps_filled(void **state)
{
	const struct gmem_range range = {0, 40 * MIB};
	autoruns struct memfile_runs runs = {0};
	autogmem struct gmem g = {0}, back = {0};
	int fd = new_file(), diff = new_file();
	struct memfile_saved saved;
	struct err e = {0};
	int pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_return_code(ftruncate(fd, 40 * MIB), errno);
	assert_int_equal(pwrite(fd, "base", 4, PAGES(5001)), 4);
	assert_int_equal(memfile_map(fd, &range, 1, &g, &e), 0);
	for (uint64_t page = 0; page < 40 * MIB / PAGE; page += 2)
		memcpy(g.regions[0].host + PAGES(page), &page, sizeof(page));
	assert_int_equal(memfile_save_diff(&g, NULL, pagemap_fd, diff, &runs, &saved, &e), 0);
	assert_int_equal(runs.n, MEMFILE_RUNS_MAX);
	assert_saved(diff, &saved);
	assert_int_equal(memfile_map(fd, &range, 1, &back, &e), 0);
	assert_int_equal(memfile_map_runs(&back, diff, &runs, &e), 0);
	assert_int_equal(memcmp(back.regions[0].host, g.regions[0].host, 40 * MIB), 0);
	close(fd);
	close(diff);
	close(pagemap_fd);
}

static void touched_pages_are_told_apart(void **state)
{
	autoruns struct memfile_runs written = {0}, read = {0};
	struct err e = {0};
	struct model m;
	int fd = disk_file();

	(void)state;
	model_init(&m);
	for (uint64_t i = 0; i < N_PAGES; i++)
		write_page(&m, i, 1);
	save(&m, fd);
	remap(&m, fd);
	write_page(&m, 1000, 5);
	write_page(&m, 1001, 5);
	assert_int_equal(*host_at(&m.g, PAGES(2000)), 1);
	assert_int_equal(memfile_touched(&m.g, m.pagemap_fd, &written, &read, &e), 0);
	assert_int_equal(written.n, 1);
	assert_int_equal(written.items[0].offset, PAGES(1000));
	assert_int_equal(written.items[0].bytes, PAGES(2));
	assert_true(read.n >= 1);
	for (uint32_t i = 0, found = 0; i < read.n; i++) {
		uint64_t end = read.items[i].offset + read.items[i].bytes;

		found += read.items[i].offset <= PAGES(2000) && end > PAGES(2000);
		if (i == read.n - 1)
			assert_int_equal(found, 1);
	}
	memfile_runs_fini(&read);
	assert_int_equal(memfile_touched(&m.g, -1, &written, &read, &e), -EINVAL);
	close(m.pagemap_fd);
	m.pagemap_fd = memfd_create("empty", MFD_CLOEXEC);
	e = (struct err){0};
	assert_int_equal(memfile_touched(&m.g, m.pagemap_fd, &written, &read, &e), -ENODATA);
	assert_true(e.remedy[0]);
	model_fini(&m);
	close(fd);
}

static void populated_pages_are_own_and_unchanged(void **state)
{
	struct memfile_run items[] = {
		{PAGES(3), PAGES(2)},
		{6 * MIB - PAGE, PAGES(2)},	   /* two regions */
		{TOTAL - PAGE, PAGES(2)},	   /* beyond RAM */
		{UINT64_MAX - PAGE + 1, PAGES(2)}, /* overflows */
		{PAGE / 2, PAGE},
		{PAGES(50), 0},
		{PAGES(60), UINT64_MAX},
	};
	const struct memfile_runs runs = {items, ARRAY_LEN(items)};
	uint64_t counts[3];
	struct model m;
	int fd = new_file();

	(void)state;
	model_init(&m);
	disturb(&m, 1000);
	save(&m, fd);
	remap(&m, fd);
	memfile_populate(&m.g, &runs);
	count_kinds(&m, counts);
	assert_int_equal(counts[PAGE_OWN], 4);
	assert_ram(&m.g, m.now);
	model_fini(&m);
	close(fd);
}

static void nothing_is_leaked(void **state)
{
	unsigned before = open_files();
	struct memfile_runs inherited = {0};
	struct model m;
	int fd = new_file();

	(void)state;
	model_init(&m);
	disturb(&m, 100);
	save(&m, fd);
	remap(&m, fd);
	disturb(&m, 100);
	through_a_chain(&m, fd, &inherited, true);
	memfile_runs_fini(&inherited);
	model_fini(&m);
	close(fd);
	assert_int_equal(open_files(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fresh_memory_is_saved_as_the_guest_reads_it),
		cmocka_unit_test(nothing_needs_pagemap_to_be_right),
		cmocka_unit_test(a_mapped_file_is_ram_that_is_nobody_elses),
		cmocka_unit_test(a_restored_vm_is_saved_without_mapping_what_it_did_not_touch),
		cmocka_unit_test(rollback_makes_ram_the_files_again),
		cmocka_unit_test(the_same_addresses_can_take_another_snapshot),
		cmocka_unit_test(a_differential_snapshot_holds_what_changed),
		cmocka_unit_test(only_what_changed_is_written),
		cmocka_unit_test(a_booted_vm_has_no_difference),
		cmocka_unit_test(too_many_runs_have_their_gaps_filled),
		cmocka_unit_test(touched_pages_are_told_apart),
		cmocka_unit_test(populated_pages_are_own_and_unchanged),
		cmocka_unit_test(nothing_is_leaked),
	};

	return cmocka_run_group_tests_name("memfile", tests, NULL, NULL);
}
