// SPDX-License-Identifier: Apache-2.0
/* The block device over a real file: every type of request, good and bad. */
#include "virtio/blk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend/disk.h"
#include "driver.h"

enum {
	SECTORS = 256,
	IN = 0,
	OUT = 1,
	FLUSH = 4,
	GET_ID = 8,
	DISCARD = 11,
	WRITE_ZEROES = 13,
	OK = 0,
	IOERR = 1,
	UNSUPP = 2,
};

#define F_RO	       (1ull << 5)
#define F_FLUSH	       (1ull << 9)
#define F_DISCARD      (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

struct fixture {
	struct drv d;
	int fd; /* the device has a duplicate */
	gpa_t header, data, status;
};

static void make(struct fixture *f, bool is_read_only, off_t bytes)
{
	struct virtio_dev *dev;
	struct disk *disk;
	struct err e = {0};

	memset(f, 0, sizeof(*f));
	f->fd = memfd_create("disk", MFD_CLOEXEC);
	assert_return_code(ftruncate(f->fd, bytes), 0);
	for (off_t i = 0; i < bytes; i++)
		assert_int_equal(pwrite(f->fd, &(uint8_t){(uint8_t)(i / 512 + 1)}, 1, i), 1);
	drv_init(&f->d);
	assert_int_equal(disk_raw_new(dup(f->fd), is_read_only, &disk, &e), 0);
	assert_int_equal(blk_new(&f->d.host, disk, "layer0", &dev, &e), 0);
	drv_plug(&f->d, dev);
	drv_up(&f->d, drv_features(&f->d), 1, 128);
	f->header = drv_alloc(&f->d, 16, 16);
	f->data = drv_alloc(&f->d, SECTORS * 512, 4096);
	f->status = drv_alloc(&f->d, 1, 1);
}

static int setup_writable(void **state)
{
	static struct fixture f;

	make(&f, false, SECTORS * 512);
	*state = &f;
	return 0;
}

static int setup_read_only(void **state)
{
	static struct fixture f;

	make(&f, true, SECTORS * 512 - 100); /* the last sector is padded */
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	drv_fini(&f->d);
	close(f->fd);
	return 0;
}

static void put_header(struct fixture *f, uint32_t type, uint64_t sector)
{
	uint64_t header[2] = {type, sector};

	memcpy(drv_ptr(&f->d, f->header), header, sizeof(header));
	*(uint8_t *)drv_ptr(&f->d, f->status) = 0xee;
}

static int status(struct fixture *f)
{
	return *(uint8_t *)drv_ptr(&f->d, f->status);
}

/* One request with one data buffer (none when bytes is 0). Returns its status. */
static int request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t bytes)
{
	bool is_in = type == IN || type == GET_ID;
	struct drv_buf bufs[3] = {{f->header, 16, false}, {f->data, bytes, is_in}};
	unsigned n = bytes ? 2 : 1;

	bufs[n++] = (struct drv_buf){f->status, 1, true};
	put_header(f, type, sector);
	assert_int_equal(drv_do(&f->d, &f->d.queues[0], bufs, n), is_in ? bytes + 1 : 1);
	return status(f);
}

static uint8_t file_byte(struct fixture *f, off_t at)
{
	uint8_t byte = 0;

	assert_int_equal(pread(f->fd, &byte, 1, at), 1);
	return byte;
}

static void describes_itself(void **state)
{
	struct fixture *f = *state;
	uint64_t features = drv_features(&f->d);

	assert_int_equal(drv_read(&f->d, R_ID), VIRTIO_ID_BLOCK);
	assert_int_equal(drv_read(&f->d, R_CONFIG), SECTORS);
	assert_int_equal(drv_read(&f->d, R_CONFIG + 12), 254); /* seg_max */
	assert_int_equal(drv_read(&f->d, R_CONFIG + 20), 512); /* blk_size */
	assert_false(features & F_RO);
	assert_true(features & F_FLUSH && features & F_DISCARD && features & F_WRITE_ZEROES);
}

static void a_read_only_disk_says_so_and_stays_so(void **state)
{
	struct fixture *f = *state;
	uint64_t features = drv_features(&f->d);
	struct stat st;

	assert_true(features & F_RO);
	assert_false(features & (F_FLUSH | F_DISCARD | F_WRITE_ZEROES));
	assert_int_equal(drv_read(&f->d, R_CONFIG), SECTORS);
	memset(drv_ptr(&f->d, f->data), 0xff, 512);
	assert_int_equal(request(f, OUT, 0, 512), IOERR);
	assert_int_equal(file_byte(f, 0), 1);
	memset(drv_ptr(&f->d, f->data), 0, 16);
	*(uint32_t *)drv_ptr(&f->d, f->data + 8) = 1;
	assert_int_equal(request(f, DISCARD, 0, 16), IOERR);
	assert_int_equal(request(f, WRITE_ZEROES, 0, 16), IOERR);
	assert_int_equal(file_byte(f, 0), 1);
	assert_return_code(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_size, SECTORS * 512 - 100);
}

static void the_tail_of_an_odd_image_reads_as_zeroes(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = drv_ptr(&f->d, f->data);

	memset(p, 0x77, 1024);
	assert_int_equal(request(f, IN, SECTORS - 2, 1024), OK);
	assert_int_equal(p[0], (uint8_t)(SECTORS - 1));
	assert_int_equal(p[512 + 411], (uint8_t)SECTORS);
	for (unsigned i = 412; i < 512; i++)
		assert_int_equal(p[512 + i], 0);
}

static void reads_and_writes_sectors(void **state)
{
	struct fixture *f = *state;
	uint8_t *p = drv_ptr(&f->d, f->data);

	assert_int_equal(request(f, IN, 7, 1024), OK);
	assert_int_equal(p[0], 8);
	assert_int_equal(p[1023], 9);
	memset(p, 0xab, 512);
	assert_int_equal(request(f, OUT, 255, 512), OK);
	assert_int_equal(file_byte(f, 255 * 512), 0xab);
	assert_int_equal(file_byte(f, 255 * 512 - 1), 255);
	assert_int_equal(request(f, FLUSH, 0, 0), OK);
	assert_int_equal(request(f, IN, 0, SECTORS * 512), OK);
	assert_int_equal(p[100 * 512], 101);
}

static void sectors_beyond_the_end_fail(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(request(f, IN, SECTORS, 512), IOERR);
	assert_int_equal(request(f, IN, SECTORS - 1, 1024), IOERR);
	assert_int_equal(request(f, OUT, SECTORS, 512), IOERR);
	assert_int_equal(request(f, OUT, UINT64_MAX, 512), IOERR);
	assert_int_equal(request(f, OUT, UINT64_MAX / 512, 512), IOERR);
	assert_int_equal(request(f, IN, 1ull << 55, 512), IOERR);
	assert_int_equal(request(f, IN, 0, 511), IOERR);
	assert_int_equal(request(f, OUT, 0, 513), IOERR);
	assert_return_code(fstat(f->fd, &st), 0);
	assert_int_equal(st.st_size, SECTORS * 512);
}

static void the_serial_is_given(void **state)
{
	struct fixture *f = *state;
	char id[21] = {0};

	memset(drv_ptr(&f->d, f->data), 0x77, 20);
	assert_int_equal(request(f, GET_ID, 0, 20), OK);
	memcpy(id, drv_ptr(&f->d, f->data), 20);
	assert_string_equal(id, "layer0");
	assert_int_equal(request(f, GET_ID, 0, 4), OK);
	assert_int_equal(request(f, GET_ID, 0, 0), OK);
}

static void unknown_types_are_unsupported(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, 2, 0, 512), UNSUPP);
	assert_int_equal(request(f, UINT32_MAX, 0, 0), UNSUPP);
}

static void put_range(struct fixture *f, unsigned i, uint64_t sector, uint32_t n, uint32_t flags)
{
	struct {
		uint64_t sector;
		uint32_t n, flags;
	} range = {sector, n, flags};

	memcpy(drv_ptr(&f->d, f->data + i * 16), &range, sizeof(range));
}

static void discarded_sectors_leave_the_file(void **state)
{
	struct fixture *f = *state;
	struct stat before, after;

	assert_return_code(fstat(f->fd, &before), 0);
	put_range(f, 0, 0, 64, 0);
	put_range(f, 1, 128, 8, 0);
	assert_int_equal(request(f, DISCARD, 0, 32), OK);
	assert_return_code(fstat(f->fd, &after), 0);
	assert_int_equal(before.st_blocks - after.st_blocks, 72);
	assert_int_equal(after.st_size, before.st_size);
	assert_int_equal(file_byte(f, 0), 0);
	assert_int_equal(file_byte(f, 64 * 512), 65);
}

static void zeroed_sectors_read_as_zeroes(void **state)
{
	struct fixture *f = *state;

	for (uint32_t may_unmap = 0; may_unmap < 2; may_unmap++) {
		off_t at = may_unmap ? 100 : 10;

		put_range(f, 0, (uint64_t)at, 9, may_unmap);
		assert_int_equal(request(f, WRITE_ZEROES, 0, 16), OK);
		assert_int_equal(file_byte(f, at * 512 - 1), at);
		assert_int_equal(file_byte(f, at * 512), 0);
		assert_int_equal(file_byte(f, (at + 9) * 512 - 1), 0);
		assert_int_equal(file_byte(f, (at + 9) * 512), at + 10);
	}
}

static void ranges_are_checked_before_any_is_touched(void **state)
{
	struct fixture *f = *state;

	put_range(f, 0, 0, 1, 0);
	put_range(f, 1, SECTORS, 1, 0);
	assert_int_equal(request(f, DISCARD, 0, 32), IOERR);
	put_range(f, 1, UINT64_MAX, UINT32_MAX, 0);
	assert_int_equal(request(f, WRITE_ZEROES, 0, 32), IOERR);
	put_range(f, 1, 0, 1, 1); /* discard has no flags */
	assert_int_equal(request(f, DISCARD, 0, 32), UNSUPP);
	put_range(f, 1, 0, 1, 2);
	assert_int_equal(request(f, WRITE_ZEROES, 0, 32), UNSUPP);
	assert_int_equal(request(f, DISCARD, 0, 0), IOERR);
	assert_int_equal(request(f, DISCARD, 0, 15), IOERR);
	assert_int_equal(request(f, DISCARD, 0, 9 * 16), IOERR);
	assert_int_equal(file_byte(f, 0), 1);
	put_range(f, 0, 5, 0, 0);
	assert_int_equal(request(f, DISCARD, 0, 16), OK); /* nothing of it */
}

/* §2.7.4: the driver may cut header, data and status into buffers as it likes. */
static void framing_is_free(void **state)
{
	struct fixture *f = *state;
	struct drv_buf bufs[] = {{f->header, 3, false}, {f->header + 3, 13, false},
		{f->data, 100, true}, {f->data + 100, 400, true}, {f->data + 500, 13, true}};
	uint8_t *p = drv_ptr(&f->d, f->data);

	put_header(f, IN, 3);
	p[512] = 0xee;
	assert_int_equal(drv_do(&f->d, &f->d.queues[0], bufs, 5), 513);
	assert_int_equal(p[0], 4);
	assert_int_equal(p[511], 4);
	assert_int_equal(p[512], OK);
}

static void a_short_header_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct drv_buf bufs[] = {{f->header, 15, false}, {f->status, 1, true}};

	put_header(f, FLUSH, 0);
	drv_do(&f->d, &f->d.queues[0], bufs, 2);
	assert_int_equal(status(f), IOERR);
	put_header(f, FLUSH, 0);
	drv_do(&f->d, &f->d.queues[0], bufs + 1, 1);
	assert_int_equal(status(f), IOERR);
}

static void a_request_without_status_ends_the_device(void **state)
{
	struct fixture *f = *state;
	struct drv_buf buf = {f->header, 16, false};

	put_header(f, FLUSH, 0);
	assert_int_equal(drv_do(&f->d, &f->d.queues[0], &buf, 1), 0); /* completed all the same */
	assert_true(drv_read(&f->d, R_STATUS) & VIRTIO_S_NEEDS_RESET);
}

static void many_requests_at_once_from_a_thread(void **state)
{
	struct fixture *f = *state;
	struct drv_queue *q = &f->d.queues[0];
	unsigned done = 0, sent = 0;

	drv_run_thread(&f->d);
	for (unsigned i = 0; i < 32; i++) { /* slot i: header, status, data of its own */
		uint64_t header[2] = {IN, i * 2};

		memcpy(drv_ptr(&f->d, f->data + i * 2048), header, 16);
	}
	while (done < 2000) {
		uint16_t head;
		uint32_t bytes;

		while (sent < 2000 && sent - done < 32) {
			gpa_t at = f->data + sent % 32 * 2048;
			struct drv_buf bufs[] = {
				{at, 16, false}, {at + 512, 1024, true}, {at + 16, 1, true}};

			*(uint8_t *)drv_ptr(&f->d, at + 16) = 0xee;
			drv_add(q, bufs, 3);
			sent++;
		}
		drv_kick(&f->d, q);
		assert_true(drv_wait_used(q, &head, &bytes));
		assert_int_equal(bytes, 1025);
		assert_int_equal(*(uint8_t *)drv_ptr(&f->d, f->data + done % 32 * 2048 + 16), OK);
		assert_int_equal(
			*(uint8_t *)drv_ptr(&f->d, f->data + done % 32 * 2048 + 512 + 1023),
			done % 32 * 2 + 2);
		done++;
	}
}

#define WRITABLE(name)	cmocka_unit_test_setup_teardown(name, setup_writable, teardown)
#define READ_ONLY(name) cmocka_unit_test_setup_teardown(name, setup_read_only, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WRITABLE(describes_itself),
		READ_ONLY(a_read_only_disk_says_so_and_stays_so),
		READ_ONLY(the_tail_of_an_odd_image_reads_as_zeroes),
		WRITABLE(reads_and_writes_sectors),
		WRITABLE(sectors_beyond_the_end_fail),
		WRITABLE(the_serial_is_given),
		WRITABLE(unknown_types_are_unsupported),
		WRITABLE(discarded_sectors_leave_the_file),
		WRITABLE(zeroed_sectors_read_as_zeroes),
		WRITABLE(ranges_are_checked_before_any_is_touched),
		WRITABLE(framing_is_free),
		WRITABLE(a_short_header_is_an_error),
		WRITABLE(a_request_without_status_ends_the_device),
		WRITABLE(many_requests_at_once_from_a_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
