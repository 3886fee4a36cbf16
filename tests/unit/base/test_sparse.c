// SPDX-License-Identifier: Apache-2.0
/* Sparse files and their checksum: on real files, with holes and without, known or not. */
#include "base/sparse.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/checksum.h"
#include "base/fd.h"
#include "base/le.h"

enum { PAGE = SPARSE_PAGE_BYTES, PAGES = 600 };

/* What a file system does that knows no holes; see the link arguments. */
static bool knows_no_holes;
static unsigned n_refused;
off_t real_lseek(int fd, off_t at, int whence) __asm__("__real_lseek64");
off_t wrapped_lseek(int fd, off_t at, int whence) __asm__("__wrap_lseek64");

off_t wrapped_lseek(int fd, off_t at, int whence)
{
	if (!knows_no_holes || (whence != SEEK_DATA && whence != SEEK_HOLE))
		return real_lseek(fd, at, whence);
	n_refused++;
	errno = EINVAL;
	return -1;
}

struct fixture {
	uint8_t *ram;
	int fd;
	uint64_t data_bytes;
	uint64_t expected; /* the checksum, worked out from its definition */
};

/* Runs of data and of zeroes of all lengths; some pages hold one byte, first or last. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	uint32_t seed = 1;
	uint8_t place[8];

	f->ram = calloc(PAGES, PAGE);
	for (unsigned page = 0, run = 0; page < PAGES; page += run) {
		run = 1 + page % 23;
		for (unsigned i = page; i < page + run && i < PAGES && page % 2; i++) {
			uint8_t *at = f->ram + (size_t)i * PAGE;

			for (unsigned k = 0; k < PAGE && i % 5 > 1; k++)
				at[k] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
			at[i % 5 == 0 ? 0 : PAGE - 1] = 7;
		}
	}
	for (uint64_t at = 0; at < PAGES * PAGE; at += PAGE) {
		bool is_data = false;

		for (unsigned k = 0; k < PAGE; k++)
			is_data |= f->ram[at + k] != 0;
		if (!is_data)
			continue;
		le64_store(place, at);
		f->expected = checksum_more(f->expected, place, 8);
		f->expected = checksum_more(f->expected, f->ram + at, PAGE);
		f->data_bytes += PAGE;
	}
	f->fd = memfd_create("memory", MFD_CLOEXEC);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	knows_no_holes = false;
	close(f->fd);
	free(f->ram);
	free(f);
	return 0;
}

static void write_all(struct fixture *f, unsigned pages_at_once)
{
	struct sparse_writer w;

	sparse_begin(&w, f->fd);
	for (unsigned at = 0; at < PAGES; at += pages_at_once) {
		unsigned n = MIN(pages_at_once, PAGES - at);

		assert_int_equal(sparse_write(&w, (uint64_t)at * PAGE, f->ram + (size_t)at * PAGE,
					 (uint64_t)n * PAGE),
			0);
	}
	assert_int_equal(sparse_end(&w, PAGES * PAGE), 0);
	assert_true(w.checksum == f->expected);
	assert_int_equal(w.data_bytes, f->data_bytes);
}

static void assert_checksum(int fd, const struct fixture *f)
{
	uint64_t checksum, bytes;
	struct err e = {0};

	assert_int_equal(sparse_checksum(fd, &checksum, &bytes, &e), 0);
	assert_true(checksum == f->expected);
	assert_int_equal(bytes, f->data_bytes);
}

static void assert_content(struct fixture *f)
{
	uint8_t *back = malloc(PAGES * PAGE);
	struct stat st;

	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_size, PAGES * PAGE);
	assert_int_equal(fd_pread_full(f->fd, back, PAGES * PAGE, 0), 0);
	assert_memory_equal(back, f->ram, PAGES * PAGE);
	free(back);
}

static void zeroes_are_holes(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	write_all(f, PAGES);
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_blocks * 512, f->data_bytes);
	assert_content(f);
	assert_checksum(f->fd, f);
}

static void pieces_make_the_same_file(void **state)
{
	struct fixture *f = *state;
	static const unsigned pieces[] = {1, 2, 7, 64, 599};

	for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
		assert_int_equal(ftruncate(f->fd, 0), 0);
		write_all(f, pieces[i]);
		assert_content(f);
		assert_checksum(f->fd, f);
	}
}

/* As `cp --sparse=never` makes it. */
static void stored_zeroes_count_as_holes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fd_pwrite_full(f->fd, f->ram, PAGES * PAGE, 0), 0);
	assert_checksum(f->fd, f);
}

static void a_file_system_without_holes(void **state)
{
	struct fixture *f = *state;

	write_all(f, PAGES);
	knows_no_holes = true;
	assert_checksum(f->fd, f);
	assert_in_range(n_refused, 1, 2);
}

static void every_page_and_its_place_count(void **state)
{
	struct fixture *f = *state;
	uint64_t checksum, bytes;
	struct err e = {0};

	write_all(f, PAGES);
	for (unsigned page = 0; page < PAGES; page++) {
		off_t at = (off_t)page * PAGE + page * 7 % PAGE;
		uint8_t was, other;

		assert_int_equal(pread(f->fd, &was, 1, at), 1);
		other = was ^ 0x10;
		assert_int_equal(pwrite(f->fd, &other, 1, at), 1);
		assert_int_equal(sparse_checksum(f->fd, &checksum, &bytes, &e), 0);
		assert_true(checksum != f->expected);
		assert_int_equal(pwrite(f->fd, &was, 1, at), 1);
	}
	assert_checksum(f->fd, f);
}

static void a_moved_page_is_another_file(void **state)
{
	struct fixture *f = *state;
	struct sparse_writer a, b;
	int other = memfd_create("other", MFD_CLOEXEC);

	memset(f->ram, 1, PAGE);
	sparse_begin(&a, f->fd);
	sparse_begin(&b, other);
	assert_int_equal(sparse_write(&a, 0, f->ram, PAGE), 0);
	assert_int_equal(sparse_write(&b, PAGE, f->ram, PAGE), 0);
	assert_true(a.checksum != b.checksum);
	close(other);
}

static void a_file_that_ends_inside_a_page(void **state)
{
	struct fixture *f = *state;
	uint64_t checksum, bytes, whole;
	struct err e = {0};

	assert_int_equal(pwrite(f->fd, "abc", 3, 5000), 3);
	assert_int_equal(sparse_checksum(f->fd, &checksum, &bytes, &e), 0);
	assert_int_equal(bytes, PAGE);
	assert_int_equal(ftruncate(f->fd, 2 * PAGE), 0);
	assert_int_equal(sparse_checksum(f->fd, &whole, &bytes, &e), 0);
	assert_true(checksum == whole);
	assert_int_equal(ftruncate(f->fd, 0), 0);
	assert_int_equal(sparse_checksum(f->fd, &checksum, &bytes, &e), 0);
	assert_true(!checksum && !bytes);
}

static void a_huge_hole_costs_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t checksum, bytes;
	struct err e = {0};

	assert_int_equal(ftruncate(f->fd, INT64_C(1) << 45), 0);
	assert_int_equal(pwrite(f->fd, "x", 1, (INT64_C(1) << 44) + 5), 1);
	assert_int_equal(sparse_checksum(f->fd, &checksum, &bytes, &e), 0);
	assert_int_equal(bytes, PAGE);
}

static void misuse_and_trouble(void **state)
{
	struct fixture *f = *state;
	struct sparse_writer w;
	uint64_t checksum = 5, bytes = 6;
	struct err e = {0};
	int full = open("/dev/full", O_RDWR | O_CLOEXEC);

	memset(f->ram, 1, PAGE);
	sparse_begin(&w, f->fd);
	assert_int_equal(sparse_write(&w, 1, f->ram, PAGE), -EINVAL);
	assert_int_equal(sparse_write(&w, 0, f->ram, PAGE - 1), -EINVAL);
	assert_int_equal(sparse_write(&w, UINT64_MAX - PAGE + 1, f->ram, PAGE), -EINVAL);
	assert_int_equal(sparse_write(&w, UINT64_C(1) << 63, f->ram, PAGE), -EINVAL);
	assert_int_equal(sparse_write(&w, PAGE, f->ram, PAGE), 0);
	assert_int_equal(sparse_write(&w, 0, f->ram, PAGE), -EINVAL);
	assert_int_equal(sparse_end(&w, PAGE), -EINVAL);
	assert_int_equal(sparse_end(&w, UINT64_MAX), -EINVAL);
	sparse_begin(&w, full);
	assert_int_equal(sparse_write(&w, 0, f->ram, PAGE), -ENOSPC);
	assert_int_equal(sparse_checksum(-1, &checksum, &bytes, &e), -EBADF);
	assert_true(e.cause[0]);
	assert_true(checksum == 5 && bytes == 6);
	close(full);
}

/* The algorithm is part of the format: the value for nothing at all is published with XXH3. */
static void checksums_are_xxh3(void **state)
{
	(void)state;
	assert_true(checksum_of("", 0) == 0x2d06800538d394c2);
	assert_true(checksum_more(0, "abc", 3) == checksum_of("abc", 3));
	assert_true(checksum_more(checksum_of("a", 1), "bc", 2) !=
		    checksum_more(checksum_of("ab", 2), "c", 1));
	assert_true(checksum_more(1, "abc", 3) != checksum_more(2, "abc", 3));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(zeroes_are_holes),
		TEST(pieces_make_the_same_file),
		TEST(stored_zeroes_count_as_holes),
		TEST(a_file_system_without_holes),
		TEST(every_page_and_its_place_count),
		TEST(a_moved_page_is_another_file),
		TEST(a_file_that_ends_inside_a_page),
		TEST(a_huge_hole_costs_nothing),
		TEST(misuse_and_trouble),
		TEST(checksums_are_xxh3),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
