// SPDX-License-Identifier: Apache-2.0
/* Overlay disks on real files, against a plain array that has the same done to it. */
#include "disk_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend/disk_overlay.h"

static void two_disks_share_a_base_and_nothing_else(void **state)
{
	static uint8_t content[BYTES];
	int base = new_base(content);
	struct model a, b;

	(void)state;
	model_init(&a, base, content);
	model_init(&b, base, content);
	assert_disk(&a);
	for (unsigned round = 0; round < 40; round++) {
		disturb(&a, 40);
		disturb(&b, 40);
		assert_disk(&a);
		assert_disk(&b);
	}
	assert_int_equal(a.d->ops->flush(a.d), 0);
	assert_file(base, content);
	model_fini(&a);
	model_fini(&b);
	close(base);
}

static void a_saved_disk_is_the_base_of_the_next(void **state)
{
	static uint8_t content[BYTES];
	int base = new_base(content);

	(void)state;
	for (unsigned round = 0; round < 12; round++) {
		struct model m;
		int next;

		model_init(&m, base, content);
		disturb(&m, round * 20);
		next = save(&m);
		memcpy(content, m.now, BYTES);
		model_fini(&m);
		close(base);
		base = next;
	}
	close(base);
}

static void rollback_forgets_every_write(void **state)
{
	static uint8_t content[BYTES];
	int base = new_base(content);
	struct err e = {0};
	struct model m;

	(void)state;
	model_init(&m, base, content);
	assert_int_equal(disk_overlay_rollback(m.d, &e), 0);
	for (unsigned round = 0; round < 20; round++) {
		disturb(&m, 60);
		assert_int_equal(disk_overlay_rollback(m.d, &e), 0);
		memcpy(m.now, content, BYTES);
		assert_disk(&m);
	}
	model_fini(&m);
	close(base);
}

/* Saves the difference to the base, and goes on with a disk made of both. */
static void through_a_chain(struct model *m, int base)
{
	struct disk_runs runs = {0};
	struct disk_saved saved;
	int fd = new_file();
	struct err e = {0};
	struct disk *d;
	uint64_t bytes = 0;
	struct stat st;

	assert_int_equal(disk_overlay_save_diff(m->d, fd, &runs, &saved, &e), 0);
	assert_saved(fd, &saved);
	for (uint32_t i = 0; i < runs.n; i++)
		bytes += runs.items[i].bytes;
	assert_return_code(fstat(fd, &st), errno);
	assert_int_equal(st.st_size, bytes);
	assert_int_equal(disk_overlay_new(dup(base), new_file(), &d, &e), 0);
	assert_int_equal(disk_overlay_load_diff(d, fd, &runs, &e), 0);
	close(fd);
	free(runs.items);
	disk_free(m->d);
	m->d = d;
	assert_disk(m);
}

static void a_differential_snapshot_survives_rollback(void **state)
{
	static uint8_t content[BYTES], then[BYTES];
	int base = new_base(content);
	struct err e = {0};
	struct model m;

	(void)state;
	model_init(&m, base, content);
	for (unsigned round = 0; round < 20; round++) {
		disturb(&m, round * 8);
		through_a_chain(&m, base);
		memcpy(then, m.now, BYTES);
		disturb(&m, 40);
		close(save(&m));
		if (round % 3)
			continue;
		assert_int_equal(disk_overlay_rollback(m.d, &e), 0);
		memcpy(m.now, then, BYTES);
		assert_disk(&m);
	}
	model_fini(&m);
	close(base);
}

static blkcnt_t blocks_of(int fd)
{
	struct stat st;

	assert_return_code(fstat(fd, &st), errno);
	return st.st_blocks;
}

static void zeroes_and_what_is_discarded_take_no_room(void **state)
{
	const uint64_t bytes = 64 << 20;
	int base = memfd_create("base", MFD_CLOEXEC), own = memfd_create("own", MFD_CLOEXEC);
	struct disk_runs runs = {0};
	struct disk_saved saved;
	struct err e = {0};
	struct disk *d;
	char *data = malloc(1 << 20), c;
	struct iovec iov = {data, 1 << 20}, one = {data, 512};
	int fd = memfd_create("saved", MFD_CLOEXEC);

	(void)state;
	memset(data, 5, 1 << 20);
	assert_return_code(ftruncate(base, (off_t)bytes), errno);
	assert_int_equal(pwrite(base, data, CLUSTER, 3 * CLUSTER), CLUSTER);
	assert_int_equal(disk_overlay_new(base, own, &d, &e), 0);
	for (uint64_t at = 0; at < bytes; at += 1 << 20)
		assert_int_equal(d->ops->write(d, &iov, 1, at), 0);
	assert_int_equal(blocks_of(own), bytes / 512);
	assert_int_equal(d->ops->discard(d, 0, bytes / 2), 0);
	assert_int_equal(d->ops->write_zeroes(d, bytes / 2, bytes / 2, true), 0);
	assert_int_equal(blocks_of(own), 0);
	assert_int_equal(d->ops->read(d, &one, 1, 3 * CLUSTER), 0);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(data[i], 0);
	/* all that differs from the base is the one cluster that has data there */
	assert_int_equal(disk_overlay_save_diff(d, fd, &runs, &saved, &e), 0);
	assert_int_equal(runs.n, 1);
	assert_int_equal(runs.items[0].offset, 3 * CLUSTER);
	assert_int_equal(runs.items[0].bytes, CLUSTER);
	assert_int_equal(saved.data_bytes, 0);
	assert_int_equal(pread(base, &c, 1, 3 * CLUSTER), 1);
	assert_int_equal(c, 5);
	free(runs.items);
	disk_free(d);
	free(data);
	close(fd);
}

/* What /proc/self/pagemap's owner pays: pages of the bitmap that have memory. */
static unsigned bitmap_pages(const struct disk_layers *l)
{
	unsigned n = 0;
	unsigned char resident[64];

	assert_true(l->own_bytes <= sizeof(resident) * 4096);
	assert_return_code(mincore(l->own, l->own_bytes, resident), errno);
	for (size_t i = 0; i < (l->own_bytes + 4095) / 4096; i++)
		n += resident[i] & 1;
	return n;
}

static void the_bitmap_of_an_idle_disk_takes_no_memory(void **state)
{
	struct disk_layers l;

	(void)state;
	assert_int_equal(disk_layers_init(&l, 8ull << 30), 0);
	assert_int_equal(l.own_bytes, 256 << 10);
	assert_int_equal(bitmap_pages(&l), 0);
	disk_layers_set(&l, 100000, 100003);
	assert_int_equal(bitmap_pages(&l), 1);
	assert_true(disk_layers_is_own(&l, 100002));
	assert_false(disk_layers_is_own(&l, 100003));
	disk_layers_forget(&l);
	assert_int_equal(bitmap_pages(&l), 0);
	assert_false(disk_layers_is_own(&l, 100002));
	disk_layers_fini(&l);
}

static void fragments_beyond_the_ceiling_are_joined(void **state)
{
	const uint64_t bytes = 4ull << 30;
	int base = memfd_create("base", MFD_CLOEXEC), fd = memfd_create("diff", MFD_CLOEXEC);
	struct disk_runs runs = {0};
	struct disk_saved saved;
	struct err e = {0};
	struct disk_layers *l;
	struct disk *d, *back;
	char data[512] = "own", got[512];
	struct iovec iov = {data, 512}, in = {got, 512};

	(void)state;
	assert_return_code(ftruncate(base, (off_t)bytes), errno);
	assert_int_equal(pwrite(base, "base", 4, 3 * CLUSTER), 4);
	assert_int_equal(disk_overlay_new(dup(base), memfd_create("own", MFD_CLOEXEC), &d, &e), 0);
	/* every other cluster of the bitmap, but only a few with data behind them */
	l = disk_overlay_layers(d, &e);
	assert_non_null(l);
	for (uint64_t i = 0; i < bytes / CLUSTER; i += 2)
		disk_layers_set(l, i, i + 1);
	for (uint64_t at = 0; at < bytes; at += bytes / 16)
		assert_int_equal(d->ops->write(d, &iov, 1, at), 0);
	assert_int_equal(disk_overlay_save_diff(d, fd, &runs, &saved, &e), 0);
	assert_true(runs.n > 0 && runs.n <= DISK_RUNS_MAX);
	assert_int_equal(disk_overlay_new(base, memfd_create("own", MFD_CLOEXEC), &back, &e), 0);
	assert_int_equal(disk_overlay_load_diff(back, fd, &runs, &e), 0);
	for (uint64_t at = 0; at < bytes; at += bytes / 16) {
		assert_int_equal(back->ops->read(back, &in, 1, at), 0);
		assert_string_equal(got, "own");
	}
	assert_int_equal(back->ops->read(back, &in, 1, 3 * CLUSTER), 0);
	assert_string_equal(got, "base"); /* a gap that was filled */
	free(runs.items);
	disk_free(d);
	disk_free(back);
	close(fd);
}

static void a_whole_request_is_one_transfer(void **state)
{
	static uint8_t content[BYTES];
	int base = new_base(content);
	struct iovec iov[DISK_IOV_MAX + 1];
	uint8_t *data = malloc(BYTES);
	struct model m;

	(void)state;
	model_init(&m, base, content);
	memset(data, 3, BYTES);
	for (unsigned i = 0; i <= DISK_IOV_MAX; i++)
		iov[i] = (struct iovec){data + i * SECTOR, SECTOR};
	/* as many pieces as may be, beginning and ending inside a cluster */
	assert_int_equal(m.d->ops->write(m.d, iov, DISK_IOV_MAX, 3 * SECTOR), 0);
	memset(m.now + 3 * SECTOR, 3, DISK_IOV_MAX * SECTOR);
	assert_disk(&m);
	assert_int_equal(m.d->ops->write(m.d, iov, DISK_IOV_MAX + 1, 0), -EINVAL);
	assert_int_equal(m.d->ops->read(m.d, iov, DISK_IOV_MAX + 1, 0), -EINVAL);
	assert_int_equal(m.d->ops->write(m.d, iov, 0, 0), 0);
	assert_disk(&m);
	free(data);
	model_fini(&m);
	close(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_disks_share_a_base_and_nothing_else),
		cmocka_unit_test(a_saved_disk_is_the_base_of_the_next),
		cmocka_unit_test(rollback_forgets_every_write),
		cmocka_unit_test(a_differential_snapshot_survives_rollback),
		cmocka_unit_test(zeroes_and_what_is_discarded_take_no_room),
		cmocka_unit_test(the_bitmap_of_an_idle_disk_takes_no_memory),
		cmocka_unit_test(fragments_beyond_the_ceiling_are_joined),
		cmocka_unit_test(a_whole_request_is_one_transfer),
	};

	return cmocka_run_group_tests_name("disk_overlay", tests, NULL, NULL);
}
