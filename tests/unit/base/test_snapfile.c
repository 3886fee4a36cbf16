// SPDX-License-Identifier: Apache-2.0
/* State files: written, read back, and damaged in every place; fields likewise. */
#include "base/snapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/checksum.h"
#include "base/fd.h"
#include "base/le.h"

enum { HEADER = 32, ENTRY = 64, NAME = 0, VERSION = 32, RESERVED = 36, OFFSET = 40, BYTES = 48 };

struct thing {
	uint8_t a;
	uint16_t b;
	uint32_t c;
	uint64_t d;
	bool is_e;
	uint32_t n;
	uint8_t list[5];
};

static const struct thing full = {1, 0x2345, 0x6789abcd, 0x1122334455667788, true, 3, "xyz"};

static void thing_snap(struct thing *t, struct snapio *io)
{
	snapio_u8(io, "a", &t->a);
	snapio_u16(io, "b", &t->b);
	snapio_u32(io, "c", &t->c);
	snapio_u64(io, "d", &t->d);
	snapio_bool(io, "e", &t->is_e);
	snapio_count(io, "n", &t->n, sizeof(t->list));
	snapio_bytes(io, "list", t->list, t->n);
}

static void save_thing(struct snapfile_writer *w, const char *name, const struct thing *thing)
{
	struct thing t = *thing;
	struct err e = {0};

	thing_snap(&t, snapfile_begin(w, name, 2));
	assert_int_equal(snapfile_end(w, &e), 0);
}

/* A file of three sections, one of them empty. */
static struct buf make_file(void)
{
	struct snapfile_writer w;
	struct thing other = full;
	struct err e = {0};
	struct buf b;
	uint64_t bytes;
	int fd = memfd_create("state", MFD_CLOEXEC);

	other.n = 0;
	snapfile_writer_init(&w);
	save_thing(&w, "first", &full);
	snapfile_begin(&w, "nothing", 1);
	assert_int_equal(snapfile_end(&w, &e), 0);
	save_thing(&w, "an-other.0", &other);
	assert_int_equal(snapfile_write(&w, fd, &bytes, &e), 0);
	snapfile_writer_fini(&w);
	buf_init(&b, SNAPFILE_BYTES_MAX);
	assert_int_equal(buf_read_fd(&b, fd), 0);
	assert_int_equal(b.bytes, bytes);
	close(fd);
	return b;
}

static int open_file(const struct buf *b, struct err *e)
{
	/* A copy of the exact size, so that a sanitizer sees what is read beyond it. */
	autofree uint8_t *exact = malloc(b->bytes ? b->bytes : 1);
	struct snapfile f;

	memcpy(exact, b->data, b->bytes);
	memset(e, 0, sizeof(*e));
	return snapfile_open(exact, b->bytes, &f, e);
}

static void assert_refused(const struct buf *b, const char *cause)
{
	struct err e;

	assert_int_equal(open_file(b, &e), -EBADMSG);
	assert_int_equal(e.code, -EBADMSG);
	assert_string_equal(e.object, "state");
	assert_true(e.remedy[0]);
	if (cause && !strstr(e.cause, cause))
		fail_msg("\"%s\" does not say \"%s\"", e.cause, cause);
}

/* Makes header and table consistent again after a change: what only a stranger would do. */
static void reseal(struct buf *b, uint32_t n)
{
	uint64_t sum = checksum_of(b->data, 24);

	le64_store(b->data + 24, checksum_more(sum, b->data + HEADER, (size_t)n * ENTRY));
}

static uint8_t *entry(struct buf *b, unsigned i)
{
	return b->data + HEADER + i * ENTRY;
}

static void what_is_saved_is_loaded(void **state)
{
	struct buf b = make_file();
	struct thing t = {0};
	struct snapfile f;
	struct snapio io;
	struct err e = {0};

	(void)state;
	assert_int_equal(snapfile_open(b.data, b.bytes, &f, &e), 0);
	assert_int_equal(f.n, 3);
	assert_string_equal(f.sections[0].name, "first");
	assert_int_equal(snapfile_load(&f, "first", 2, &io, &e), 0);
	assert_int_equal(io.version, 2);
	assert_true(snapio_is_loading(&io));
	thing_snap(&t, &io);
	assert_int_equal(snapio_end(&io, &e), 0);
	assert_memory_equal(&t, &full, sizeof(t));
	assert_int_equal(snapfile_load(&f, "an-other.0", 5, &io, &e), 0);
	thing_snap(&t, &io);
	assert_int_equal(snapio_end(&io, &e), 0);
	assert_int_equal(t.n, 0);
	assert_int_equal(snapfile_load(&f, "nothing", 1, &io, &e), 0);
	assert_int_equal(snapio_end(&io, &e), 0);
	buf_fini(&b);
}

static void sections_are_asked_for_by_name_and_version(void **state)
{
	struct buf b = make_file();
	struct snapfile f;
	struct snapio io;
	struct err e = {0};

	(void)state;
	assert_int_equal(snapfile_open(b.data, b.bytes, &f, &e), 0);
	assert_int_equal(snapfile_load(&f, "firs", 9, &io, &e), -ENOENT);
	assert_non_null(strstr(e.cause, "\"firs\""));
	assert_int_equal(snapfile_load(&f, "first", 1, &io, &e), -ENOTSUP);
	assert_non_null(strstr(e.cause, "version 2"));
	assert_true(e.remedy[0]);
	le32_store(entry(&b, 0) + VERSION, 0);
	reseal(&b, 3);
	assert_int_equal(snapfile_open(b.data, b.bytes, &f, &e), 0);
	assert_int_equal(snapfile_load(&f, "first", 2, &io, &e), -ENOTSUP);
	buf_fini(&b);
}

static void every_flipped_bit_is_found(void **state)
{
	struct buf b = make_file();
	struct err e;

	(void)state;
	assert_int_equal(open_file(&b, &e), 0);
	for (size_t i = 0; i < b.bytes * 8; i++) {
		bool is_format = i / 8 >= 8 && i / 8 < 12;

		b.data[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(open_file(&b, &e), is_format ? -ENOTSUP : -EBADMSG);
		assert_true(e.object[0] && e.cause[0] && e.remedy[0]);
		b.data[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	/* Where it is one section that suffered, it is named. */
	b.data[b.bytes - 9] ^= 1;
	assert_refused(&b, "an-other.0");
	buf_fini(&b);
}

static void every_truncation_is_found(void **state)
{
	struct buf b = make_file();
	size_t whole = b.bytes;

	(void)state;
	for (b.bytes = 0; b.bytes < whole; b.bytes++)
		assert_refused(&b, "cut off");
	assert_int_equal(buf_append(&b, "", 1), 0);
	assert_refused(&b, "more than");
	/* A stranger makes the header fit the length. */
	for (b.bytes = HEADER; b.bytes < whole; b.bytes++) {
		le64_store(b.data + 16, b.bytes);
		reseal(&b, 3);
		assert_refused(&b, NULL);
	}
	b.bytes = whole + 1;
	le64_store(b.data + 16, b.bytes);
	reseal(&b, 3);
	assert_refused(&b, "follow the last");
	buf_fini(&b);
}

static void format_and_size_come_first(void **state)
{
	struct buf b = make_file();
	struct err e;

	(void)state;
	le32_store(b.data + 8, 2);
	reseal(&b, 3);
	assert_int_equal(open_file(&b, &e), -ENOTSUP);
	assert_non_null(strstr(e.cause, "format 2"));
	le32_store(b.data + 8, 1);
	for (uint64_t n = 129; n <= UINT32_MAX; n = n * 3 + 1) {
		le32_store(b.data + 12, (uint32_t)n);
		assert_refused(&b, "sections");
	}
	le32_store(b.data + 12, 100); /* few enough, but they do not fit */
	assert_refused(&b, "sections");
	buf_fini(&b);
}

static void tables_that_lie(void **state)
{
	static const uint64_t bad[] = {0, 8, 224, 1 << 20, INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
	struct buf b = make_file();
	uint64_t right;

	(void)state;
	for (unsigned field = OFFSET; field <= BYTES; field += 8) {
		for (unsigned i = 0; i < 3; i++) {
			uint8_t *at = entry(&b, i) + field;

			right = le64_load(at);
			for (unsigned k = 0; k < ARRAY_LEN(bad); k++) {
				if (bad[k] == right)
					continue;
				le64_store(at, bad[k]);
				reseal(&b, 3);
				assert_refused(&b, "section");
			}
			le64_store(at, right);
		}
	}
	/* Two sections that share their bytes. */
	right = le64_load(entry(&b, 2) + OFFSET);
	le64_store(entry(&b, 2) + OFFSET, le64_load(entry(&b, 0) + OFFSET));
	reseal(&b, 3);
	assert_refused(&b, "an-other.0");
	le64_store(entry(&b, 2) + OFFSET, right);
	le32_store(entry(&b, 1) + RESERVED, 1);
	reseal(&b, 3);
	assert_refused(&b, "reserved");
	buf_fini(&b);
}

static void names_that_lie(void **state)
{
	static const char *const bad[] = {"", "a b", "\033[2J", "tab\t", "caf\xc3\xa9", "\x7f"};
	struct buf b = make_file();
	struct err e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		memset(entry(&b, 1), 0, 32);
		memcpy(entry(&b, 1), bad[i], strlen(bad[i]));
		reseal(&b, 3);
		assert_refused(&b, "name of section 1");
	}
	memset(entry(&b, 1), 'x', 32); /* does not end */
	reseal(&b, 3);
	assert_refused(&b, "name of section 1");
	memcpy(entry(&b, 1), "x\0hidden", 8);
	reseal(&b, 3);
	assert_refused(&b, "name of section 1");
	memset(entry(&b, 1), 0, 32);
	memcpy(entry(&b, 1), "first", 5);
	reseal(&b, 3);
	assert_refused(&b, "twice");
	memset(entry(&b, 1), 'x', 31);
	entry(&b, 1)[31] = 0;
	reseal(&b, 3);
	assert_int_equal(open_file(&b, &e), 0);
	buf_fini(&b);
}

static void padding_hides_nothing(void **state)
{
	struct buf b = make_file();
	uint64_t end = le64_load(entry(&b, 0) + OFFSET) + le64_load(entry(&b, 0) + BYTES);

	(void)state;
	assert_true(end % 8);
	b.data[end] = 1;
	assert_refused(&b, "zeroes");
	buf_fini(&b);
}

static void a_file_without_sections(void **state)
{
	struct snapfile_writer w;
	struct snapfile f;
	struct err e = {0};
	uint8_t data[HEADER];
	uint64_t bytes;
	int fd = memfd_create("state", MFD_CLOEXEC);

	(void)state;
	snapfile_writer_init(&w);
	assert_int_equal(snapfile_write(&w, fd, &bytes, &e), 0);
	assert_int_equal(bytes, HEADER);
	assert_int_equal(fd_pread_full(fd, data, HEADER, 0), 0);
	assert_int_equal(snapfile_open(data, HEADER, &f, &e), 0);
	assert_int_equal(f.n, 0);
	/* It is there already: not over it. */
	assert_int_equal(snapfile_write(&w, fd, &bytes, &e), -EEXIST);
	assert_string_equal(e.object, "state");
	snapfile_writer_fini(&w);
	close(fd);
}

static void no_space(void **state)
{
	struct snapfile_writer w;
	struct err e = {0};
	uint64_t bytes = 77;
	int fd = open("/dev/full", O_RDWR | O_CLOEXEC);

	(void)state;
	snapfile_writer_init(&w);
	save_thing(&w, "x", &full);
	assert_int_equal(snapfile_write(&w, fd, &bytes, &e), -ENOSPC);
	assert_string_equal(e.object, "state");
	assert_true(e.remedy[0]);
	assert_int_equal(bytes, 77);
	snapfile_writer_fini(&w);
	close(fd);
}

static void a_writer_has_its_limits(void **state)
{
	struct snapfile_writer w;
	struct err e = {0};
	char name[64], long_name[SNAPFILE_NAME_MAX + 2];
	uint8_t *huge = calloc(1, SNAPFILE_BYTES_MAX);

	(void)state;
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = 0;
	snapfile_writer_init(&w);
	save_thing(&w, "one", &full);
	/* What cannot be saved leaves no trace, and the next one can be. */
	snapio_bytes(snapfile_begin(&w, "huge", 1), "all", huge, SNAPFILE_BYTES_MAX);
	assert_int_equal(snapfile_end(&w, &e), -E2BIG);
	assert_non_null(strstr(e.object, "huge"));
	snapfile_begin(&w, "one", 1);
	assert_int_equal(snapfile_end(&w, &e), -EINVAL);
	snapfile_begin(&w, long_name, 1);
	assert_int_equal(snapfile_end(&w, &e), -EINVAL);
	thing_snap(&(struct thing){.n = 6}, snapfile_begin(&w, "count", 1));
	assert_int_equal(snapfile_end(&w, &e), -EINVAL);
	assert_int_equal(w.n, 1);
	for (unsigned i = 1; i < SNAPFILE_SECTIONS_MAX; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		save_thing(&w, name, &full);
	}
	thing_snap(&(struct thing){0}, snapfile_begin(&w, "more", 1));
	assert_int_equal(snapfile_end(&w, &e), -EINVAL);
	assert_int_equal(w.n, SNAPFILE_SECTIONS_MAX);
	snapfile_writer_fini(&w);
	free(huge);
}

/* --- Fields --- */

struct fields {
	struct buf b;
	struct snapio io;
};

static void save_fields(struct fields *f)
{
	struct thing t = full;

	buf_init(&f->b, 4096);
	snapio_save_to(&f->io, "thing", 1, &f->b);
	thing_snap(&t, &f->io);
	assert_int_equal(snapio_end(&f->io, NULL), 0);
}

static int load_fields(struct fields *f, size_t bytes, struct thing *ret, struct err *e)
{
	autofree uint8_t *exact = malloc(bytes ? bytes : 1);

	memcpy(exact, f->b.data, bytes);
	memset(e, 0, sizeof(*e));
	snapio_load_from(&f->io, "thing", 1, exact, bytes);
	thing_snap(ret, &f->io);
	return snapio_end(&f->io, e);
}

static void fields_cut_off_anywhere(void **state)
{
	struct fields f;
	struct thing t;
	struct err e;

	(void)state;
	save_fields(&f);
	for (size_t n = 0; n < f.b.bytes; n++) {
		memset(&t, 0x55, sizeof(t));
		t.is_e = false;
		assert_int_equal(load_fields(&f, n, &t, &e), -EBADMSG);
		assert_non_null(strstr(e.object, "thing"));
		assert_non_null(strstr(e.cause, "ends"));
		assert_true(e.remedy[0]);
		if (n < 9)
			assert_int_equal(t.a, 0x55); /* untouched */
	}
	assert_int_equal(load_fields(&f, f.b.bytes, &t, &e), 0);
	assert_int_equal(buf_append(&f.b, "12345678", 8), 0);
	assert_int_equal(load_fields(&f, f.b.bytes, &t, &e), -EBADMSG);
	assert_non_null(strstr(e.cause, "8 bytes follow"));
	buf_fini(&f.b);
}

static void fields_of_another_kind(void **state)
{
	struct fields f;
	struct thing t;
	struct err e;

	(void)state;
	save_fields(&f);
	f.b.data[0] ^= 1; /* the first one's name */
	assert_int_equal(load_fields(&f, f.b.bytes, &t, &e), -EBADMSG);
	assert_non_null(strstr(e.cause, "\"a\": another field"));
	f.b.data[0] ^= 1;
	for (uint64_t size = 0; size <= UINT32_MAX; size = size * 2 + 2) {
		le32_store(f.b.data + 4, (uint32_t)size);
		assert_int_equal(load_fields(&f, f.b.bytes, &t, &e), -EBADMSG);
		assert_non_null(strstr(e.cause, "\"a\": it has"));
	}
	buf_fini(&f.b);
}

static void values_out_of_bounds(void **state)
{
	struct fields f;
	struct thing t = {.is_e = true, .n = 1};
	struct err e;

	(void)state;
	save_fields(&f);
	f.b.data[9 + 10 + 12 + 16 + 8] = 2; /* e */
	assert_int_equal(load_fields(&f, f.b.bytes, &t, &e), -EBADMSG);
	assert_non_null(strstr(e.cause, "\"e\": 2 is neither"));
	assert_int_equal(t.is_e, true);
	assert_int_equal(t.n, 1);
	f.b.data[9 + 10 + 12 + 16 + 8] = 0;
	f.b.data[9 + 10 + 12 + 16 + 9 + 8] = 6; /* n */
	assert_int_equal(load_fields(&f, f.b.bytes, &t, &e), -EBADMSG);
	assert_non_null(strstr(e.cause, "\"n\": 6 are more than the 5"));
	assert_int_equal(t.n, 1);
	buf_fini(&f.b);
}

static void the_first_failure_stays(void **state)
{
	struct fields f;
	struct err e = {0};
	uint32_t v = 5;

	(void)state;
	buf_init(&f.b, 4096);
	snapio_load_from(&f.io, "s", 1, NULL, 0);
	snapio_fail(&f.io, "x", "%s", "first");
	snapio_fail(&f.io, "y", "second");
	snapio_u32(&f.io, "z", &v);
	assert_false(snapio_is_good(&f.io));
	assert_int_equal(snapio_end(&f.io, &e), -EBADMSG);
	assert_string_equal(e.cause, "field \"x\": first");
	assert_int_equal(v, 5);
	/* Saving, nothing more is written. */
	snapio_save_to(&f.io, "s", 1, &f.b);
	snapio_u32(&f.io, "z", &v);
	snapio_fail(&f.io, "x", "first");
	snapio_u32(&f.io, "z", &v);
	assert_int_equal(f.b.bytes, 12);
	assert_int_equal(snapio_end(&f.io, &e), -EINVAL);
	assert_int_equal(e.remedy[0], 0);
	buf_fini(&f.b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_saved_is_loaded),
		cmocka_unit_test(sections_are_asked_for_by_name_and_version),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(every_truncation_is_found),
		cmocka_unit_test(format_and_size_come_first),
		cmocka_unit_test(tables_that_lie),
		cmocka_unit_test(names_that_lie),
		cmocka_unit_test(padding_hides_nothing),
		cmocka_unit_test(a_file_without_sections),
		cmocka_unit_test(no_space),
		cmocka_unit_test(a_writer_has_its_limits),
		cmocka_unit_test(fields_cut_off_anywhere),
		cmocka_unit_test(fields_of_another_kind),
		cmocka_unit_test(values_out_of_bounds),
		cmocka_unit_test(the_first_failure_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
