// SPDX-License-Identifier: Apache-2.0
/*
 * Saved device state: a guest that uses its devices goes on in another machine as if nothing had
 * been, and what cannot be is refused with a sentence, the device then being as after a reset.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "../base/snap_edit.h"
#include "backend/disk.h"
#include "base/alloc.h"
#include "base/snapio.h"
#include "driver.h"
#include "virtio/balloon.h"
#include "virtio/blk.h"
#include "virtio/rng.h"

enum { SECTORS = 64, QUEUE_SIZE = 16, STATE_MAX = 65536, BLK_IN = 0, BLK_OK = 0 };

enum kind { RNG, BLK, BALLOON };

static const unsigned n_queues[] = {[RNG] = 1, [BLK] = 1, [BALLOON] = 5};

struct disk_shape {
	unsigned sectors;
	bool is_read_only;
	const char *name;
};

static const struct disk_shape usual = {SECTORS, true, "layer0"};

static struct virtio_dev *make_blk(struct drv *d, const struct disk_shape *shape)
{
	struct virtio_dev *dev;
	struct disk *disk;
	struct err e = {0};
	int fd = memfd_create("disk", MFD_CLOEXEC);

	for (unsigned i = 0; i < shape->sectors; i++)
		assert_int_equal(pwrite(fd, &(uint8_t){(uint8_t)(i + 1)}, 1, (off_t)i * 512), 1);
	assert_return_code(ftruncate(fd, (off_t)shape->sectors * 512), 0);
	assert_int_equal(disk_raw_new(fd, shape->is_read_only, &disk, &e), 0);
	assert_int_equal(blk_new(&d->host, disk, shape->name, &dev, &e), 0);
	return dev;
}

static void make(struct drv *d, enum kind kind)
{
	struct virtio_dev *dev = NULL;
	struct err e = {0};

	drv_init(d);
	if (kind == RNG)
		assert_int_equal(rng_new(&d->host, &dev, &e), 0);
	else if (kind == BALLOON)
		assert_int_equal(balloon_new(&d->host, &dev, &e), 0);
	else
		dev = make_blk(d, &usual);
	drv_plug(d, dev);
}

static struct buf save(struct drv *d)
{
	struct snapio io;
	struct err e = {0};
	struct buf b;

	buf_init(&b, STATE_MAX);
	snapio_save_to(&io, "device", 1, &b);
	virtio_snap(d->dev, &io);
	assert_int_equal(snapio_end(&io, &e), 0);
	return b;
}

static int load_bytes(struct drv *d, const void *data, size_t bytes, struct err *e)
{
	/* A copy of the exact size, so that a sanitizer sees what is read beyond it. */
	autofree uint8_t *exact = malloc(bytes ? bytes : 1);
	struct snapio io;

	memcpy(exact, data, bytes);
	memset(e, 0, sizeof(*e));
	snapio_load_from(&io, "device", 1, exact, bytes);
	virtio_snap(d->dev, &io);
	return snapio_end(&io, e);
}

static void load(struct drv *d, const struct buf *b)
{
	struct err e;

	if (load_bytes(d, b->data, b->bytes, &e) < 0)
		fail_msg("%s: %s", e.object, e.cause);
}

static void assert_is_reset(struct drv *d)
{
	assert_int_equal(drv_read(d, R_STATUS), 0);
	assert_int_equal(drv_read(d, R_INT_STATUS), 0);
	for (unsigned i = 0; i < d->dev->ops->n_queues; i++) {
		drv_write(d, R_QUEUE_SEL, i);
		assert_int_equal(drv_read(d, R_QUEUE_READY), 0);
		assert_false(d->dev->queues[i].is_ready);
	}
}

static void assert_refused(struct drv *d, const struct buf *b, const char *cause)
{
	struct err e;

	assert_int_equal(load_bytes(d, b->data, b->bytes, &e), -EBADMSG);
	if (!strstr(e.cause, cause))
		fail_msg("\"%s\" does not say \"%s\"", e.cause, cause);
	assert_true(e.object[0] && e.remedy[0]);
	assert_is_reset(d);
	/* And works for a driver that begins anew. */
	drv_up(d, drv_features(d), d->dev->ops->n_queues, QUEUE_SIZE);
	drv_turn(d);
	assert_int_equal(drv_read(d, R_STATUS) & VIRTIO_S_NEEDS_RESET, 0);
	drv_write(d, R_STATUS, 0);
}

/* --- The devices in use --- */

/* A request that the guest has made; what it must come to is looked at later. */
struct request {
	gpa_t at;
	uint16_t head;
};

static struct request ask(struct drv *d, enum kind kind, unsigned sector)
{
	struct request r = {.at = drv_alloc(d, 8192, 4096)};
	struct drv_buf bufs[3] = {
		{r.at + 4096, 16, false}, {r.at, 512, true}, {r.at + 512, 1, true}};

	if (kind == RNG) {
		r.head = drv_add(&d->queues[0], &bufs[1], 1);
	} else if (kind == BALLOON) {
		/* Inflate by the page after the list. */
		*(uint32_t *)drv_ptr(d, r.at) = (uint32_t)((r.at + 4096) >> 12);
		memset(drv_ptr(d, r.at + 4096), 0xee, 4096);
		r.head = drv_add(&d->queues[0], &(struct drv_buf){r.at, 4, false}, 1);
	} else {
		memcpy(drv_ptr(d, r.at + 4096), (uint64_t[]){BLK_IN, sector}, 16);
		memset(drv_ptr(d, r.at), 0xff, 513);
		r.head = drv_add(&d->queues[0], bufs, 3);
	}
	return r;
}

static void assert_answered(struct drv *d, enum kind kind, struct request r, unsigned sector)
{
	const uint8_t *at = drv_ptr(d, r.at);
	uint16_t head;
	uint32_t bytes;
	unsigned n_set = 0;

	assert_true(drv_used(&d->queues[0], &head, &bytes));
	assert_int_equal(head, r.head);
	if (kind == BALLOON) {
		assert_int_equal(bytes, 0);
		assert_int_equal(*(uint8_t *)drv_ptr(d, r.at + 4096), 0); /* given back */
		return;
	}
	if (kind == BLK) {
		assert_int_equal(bytes, 513);
		assert_int_equal(at[0], sector + 1);
		assert_int_equal(at[512], BLK_OK);
		return;
	}
	assert_int_equal(bytes, 512);
	for (unsigned i = 0; i < 512; i++)
		n_set += at[i] != 0;
	assert_in_range(n_set, 400, 512);
}

static void use(struct drv *d, enum kind kind, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		struct request r = ask(d, kind, i % SECTORS);

		drv_kick(d, &d->queues[0]);
		drv_turn(d);
		assert_answered(d, kind, r, i % SECTORS);
	}
}

static void goes_on_elsewhere(enum kind kind, uint64_t without)
{
	struct drv a, b;
	struct request r;
	struct buf saved, again;

	make(&a, kind);
	drv_up(&a, drv_features(&a) & ~without, n_queues[kind], QUEUE_SIZE);
	use(&a, kind, 37); /* round the ring, and not a multiple of it */
	/* One is asked for and notified, but the device has not looked yet; it is to interrupt. */
	drv_want_interrupt_at(&a.queues[0], a.queues[0].next_used);
	r = ask(&a, kind, 5);
	drv_kick(&a, &a.queues[0]);
	drv_write(&a, R_QUEUE_SEL, 0);
	drv_write(&a, R_FEATURES_SEL, 1);
	saved = save(&a);
	make(&b, kind);
	drv_move(&b, &a);
	load(&b, &saved);
	again = save(&b);
	assert_int_equal(again.bytes, saved.bytes);
	assert_memory_equal(again.data, saved.data, saved.bytes);
	assert_int_equal(drv_read(&b, R_STATUS), drv_read(&a, R_STATUS));
	assert_int_equal(drv_read(&b, R_INT_STATUS), drv_read(&a, R_INT_STATUS));
	assert_int_equal(drv_read(&b, R_FEATURES), drv_read(&a, R_FEATURES));
	/* Both go on, apart from each other; nothing of it is lost or done twice. */
	for (unsigned i = 0; i < 2; i++) {
		struct drv *d = i ? &a : &b;

		drv_write(d, R_INT_ACK, drv_read(d, R_INT_STATUS));
		drv_turn(d);
		assert_answered(d, kind, r, 5);
		assert_int_equal(drv_read(d, R_INT_STATUS), VIRTIO_INT_USED);
		use(d, kind, 40);
		drv_turn(d);
		assert_false(drv_used(&d->queues[0], &(uint16_t){0}, &(uint32_t){0}));
	}
	drv_write(&b, R_STATUS, 0);
	drv_up(&b, drv_features(&b), n_queues[kind], QUEUE_SIZE);
	use(&b, kind, 3);
	buf_fini(&saved);
	buf_fini(&again);
	drv_fini(&a);
	drv_fini(&b);
}

static void every_device_goes_on_elsewhere(void **state)
{
	(void)state;
	for (enum kind kind = RNG; kind <= BALLOON; kind++) {
		goes_on_elsewhere(kind, 0);
		goes_on_elsewhere(kind, VIRTIO_F_EVENT_IDX);
	}
}

/* The machine that saved is its snapshot again: what it did meanwhile is forgotten. */
static void a_device_is_rolled_back(void **state)
{
	struct drv a, before;
	struct buf saved;

	(void)state;
	make(&a, BLK);
	make(&before, BLK);
	drv_up(&a, drv_features(&a), 1, QUEUE_SIZE);
	use(&a, BLK, 5);
	saved = save(&a);
	drv_move(&before, &a);
	use(&a, BLK, 21);
	drv_write(&a, R_STATUS, 0);
	drv_up(&a, drv_features(&a) & ~VIRTIO_F_EVENT_IDX, 1, 4);
	use(&a, BLK, 3);
	drv_move(&a, &before);
	load(&a, &saved);
	use(&a, BLK, 21);
	buf_fini(&saved);
	drv_fini(&a);
	drv_fini(&before);
}

static void a_device_without_a_driver(void **state)
{
	struct drv a, b;
	struct buf saved;

	(void)state;
	for (enum kind kind = RNG; kind <= BALLOON; kind++) {
		make(&a, kind);
		make(&b, kind);
		saved = save(&a);
		drv_up(&b, drv_features(&b), n_queues[kind], QUEUE_SIZE);
		load(&b, &saved);
		assert_is_reset(&b);
		drv_up(&b, drv_features(&b), n_queues[kind], QUEUE_SIZE);
		use(&b, kind, 3);
		buf_fini(&saved);
		drv_fini(&a);
		drv_fini(&b);
	}
}

/* Half way through its set-up: the driver goes on with the next register. */
static void a_driver_that_is_setting_up(void **state)
{
	struct drv a, b;
	struct buf saved;

	(void)state;
	make(&a, BLK);
	make(&b, BLK);
	assert_true(drv_negotiate(&a, drv_features(&a)));
	drv_set_queue(&a, 0, QUEUE_SIZE);
	saved = save(&a);
	drv_move(&b, &a);
	load(&b, &saved);
	assert_int_equal(drv_read(&b, R_QUEUE_READY), 1);
	drv_start(&b);
	use(&b, BLK, 20);
	buf_fini(&saved);
	drv_fini(&a);
	drv_fini(&b);
}

static void the_balloon_remembers_its_target(void **state)
{
	struct drv a, b;
	struct buf saved;
	uint32_t target, actual = 77;

	(void)state;
	make(&a, BALLOON);
	make(&b, BALLOON);
	drv_up(&a, drv_features(&a), 5, QUEUE_SIZE);
	balloon_set_target(a.dev, 4 << 20);
	drv_write(&a, R_CONFIG + 4, actual);
	saved = save(&a);
	drv_move(&b, &a);
	load(&b, &saved);
	target = drv_read(&b, R_CONFIG);
	assert_int_equal(target, (4 << 20) / 4096);
	assert_int_equal(balloon_actual(b.dev), 77 * 4096);
	assert_int_equal(drv_read(&b, R_GENERATION), drv_read(&a, R_GENERATION));
	assert_int_equal(drv_read(&b, R_INT_STATUS), VIRTIO_INT_CONFIG);
	assert_true(snap_edit(&saved, "balloon_wanted_pages", 0, DRV_RAM / 4096 + 1));
	assert_refused(&b, &saved, "more than the guest has");
	buf_fini(&saved);
	drv_fini(&a);
	drv_fini(&b);
}

/* --- What is refused --- */

struct fixture {
	struct drv a, b;
	struct buf saved;
};

static int setup(void **state)
{
	static struct fixture f;

	make(&f.a, BLK);
	make(&f.b, BLK);
	drv_up(&f.a, drv_features(&f.a), 1, QUEUE_SIZE);
	use(&f.a, BLK, 37);
	f.saved = save(&f.a);
	drv_move(&f.b, &f.a);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	buf_fini(&f->saved);
	drv_fini(&f->a);
	drv_fini(&f->b);
	return 0;
}

/* Loads it with one field changed. */
static void refused_with(struct fixture *f, const char *field, uint64_t value, const char *cause)
{
	uint32_t bytes = 0;
	uint8_t *at = snap_field(&f->saved, field, 0, &bytes), was[8];

	if (!at)
		fail_msg("no field %s", field);
	memcpy(was, at, bytes);
	assert_true(snap_edit(&f->saved, field, 0, value));
	assert_refused(&f->b, &f->saved, cause);
	memcpy(at, was, bytes);
	drv_move(&f->b, &f->a);
}

static void values_that_cannot_be(void **state)
{
	struct fixture *f = *state;
	const uint64_t areas[] = {DRV_RAM, DRV_RAM - 16, 1ull << 40, UINT64_MAX - 15, 0x10008};

	refused_with(f, "virtio_id", VIRTIO_ID_VSOCK, "kind 19, here is a virtio-blk");
	refused_with(f, "n_queues", 2, "2 queues");
	refused_with(f, "driver_features", 1ull << 40 | 1ull << 63, "offers");
	refused_with(f, "driver_features", 0, "offers"); /* without VERSION_1 */
	refused_with(f, "status", VIRTIO_S_DRIVER_OK, "without features");
	refused_with(f, "status", 1 << 5, "do not exist");
	refused_with(f, "status", UINT32_MAX, "do not exist");
	refused_with(f, "interrupt_status", 4, "do not exist");
	for (unsigned size = 0; size <= 17; size++)
		if (!size || size & (size - 1))
			refused_with(f, "queue_size", size, "a queue of");
	refused_with(f, "queue_size", 512, "more than the 256");
	refused_with(f, "queue_size", UINT16_MAX, "more than the 256");
	for (unsigned i = 0; i < ARRAY_LEN(areas); i++) {
		refused_with(f, "queue_desc", areas[i], "cannot be");
		refused_with(f, "queue_avail", areas[i] | 1, "cannot be");
		refused_with(f, "queue_used", areas[i] | 2, "cannot be");
	}
	refused_with(f, "queue_avail", DRV_RAM - 4, "cannot be");
	refused_with(f, "queue_used", DRV_RAM - 4, "cannot be");
	refused_with(f, "queue_in_flight", 1, "under way");
	refused_with(f, "queue_is_ready", 0, "but it was used");
	refused_with(f, "queue_next_used", 36, "37 requests were taken, 36 completed");
	load(&f->b, &f->saved);
	use(&f->b, BLK, 3);
}

static void indices_far_from_the_ring(void **state)
{
	static const uint16_t bad[] = {0, 20, 38, 1000, 0x8000, UINT16_MAX};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		assert_true(snap_edit(&f->saved, "queue_next_used", 0, bad[i]));
		refused_with(f, "queue_next_avail", bad[i], "is not near 37");
	}
}

/* A guest that breaks its ring without a word can still be saved and restored, and is told then
 * what it would have been told. */
static void a_ring_that_the_guest_broke(void **state)
{
	struct fixture *f = *state;
	struct buf saved;

	f->a.queues[0].avail->idx += 1000;
	saved = save(&f->a);
	drv_move(&f->b, &f->a);
	load(&f->b, &saved);
	assert_int_equal(drv_read(&f->b, R_STATUS) & VIRTIO_S_NEEDS_RESET, 0);
	drv_turn(&f->b);
	assert_true(drv_read(&f->b, R_STATUS) & VIRTIO_S_NEEDS_RESET);
	buf_fini(&saved);
	saved = save(&f->b);
	load(&f->b, &saved);
	assert_true(drv_read(&f->b, R_STATUS) & VIRTIO_S_NEEDS_RESET);
	drv_up(&f->b, drv_features(&f->b), 1, QUEUE_SIZE);
	use(&f->b, BLK, 3);
	buf_fini(&saved);
}

static void requests_under_way_are_not_saved(void **state)
{
	struct fixture *f = *state;
	struct vq_chain chain;
	struct snapio io;
	struct err e = {0};
	struct buf b;

	ask(&f->a, BLK, 1);
	assert_int_equal(vq_pop(&f->a.dev->queues[0], &chain), 1);
	buf_init(&b, STATE_MAX);
	snapio_save_to(&io, "blk", 1, &b);
	virtio_snap(f->a.dev, &io);
	assert_int_equal(snapio_end(&io, &e), -EINVAL);
	assert_non_null(strstr(e.cause, "1 requests are under way"));
	/* It is as it was. */
	vq_unpop(&f->a.dev->queues[0]);
	assert_true(virtio_is_running(f->a.dev));
	buf_fini(&b);
}

static void another_disk(void **state)
{
	static const struct {
		struct disk_shape shape;
		const char *cause;
	} others[] = {
		{{SECTORS + 1, true, "layer0"}, "had 64 sectors of 512 bytes, the one here has 65"},
		{{SECTORS - 1, true, "layer0"}, "the one here has 63"},
		{{SECTORS, true, "layer1"}, "than \"layer1\""},
		/* Features first: it says what the guest would miss. */
		{{SECTORS, false, "layer0"}, "offers"},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
		struct drv d;

		drv_init(&d);
		drv_plug(&d, make_blk(&d, &others[i].shape));
		drv_move(&d, &f->a);
		assert_refused(&d, &f->saved, others[i].cause);
		drv_fini(&d);
	}
	refused_with(f, "disk_is_read_only", 0, "was writable, the one here is read-only");
}

static void another_device(void **state)
{
	struct fixture *f = *state;
	struct drv d;

	for (enum kind kind = RNG; kind <= BALLOON; kind++) {
		if (kind == BLK)
			continue;
		make(&d, kind);
		assert_refused(&d, &f->saved, "it is of a device of kind 2");
		drv_fini(&d);
	}
}

static void cut_off_anywhere(void **state)
{
	struct fixture *f = *state;
	struct err e;

	for (size_t n = 0; n < f->saved.bytes; n++) {
		load(&f->b, &f->saved);
		assert_int_equal(load_bytes(&f->b, f->saved.data, n, &e), -EBADMSG);
		assert_is_reset(&f->b);
	}
}

/* Whatever a stranger writes there, it is refused, or it is a device that works or needs a reset:
 * never memory that is not the guest's. */
static void any_byte_may_be_anything(void **state)
{
	struct fixture *f = *state;
	struct err e;
	unsigned n_good = 0, n_bad = 0;

	for (size_t i = 0; i < f->saved.bytes; i++) {
		for (unsigned flip = 1; flip <= 0xff; flip = flip * 2 + 1) {
			f->saved.data[i] ^= (uint8_t)flip;
			drv_move(&f->b, &f->a);
			if (load_bytes(&f->b, f->saved.data, f->saved.bytes, &e) < 0) {
				assert_is_reset(&f->b);
				n_bad++;
			} else {
				ask(&f->b, BLK, 1);
				drv_write(&f->b, R_NOTIFY, 0);
				drv_turn(&f->b);
				n_good++;
			}
			f->saved.data[i] ^= (uint8_t)flip;
		}
	}
	assert_in_range(n_good, 1, f->saved.bytes * 2);
	assert_in_range(n_bad, f->saved.bytes * 6, SIZE_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_device_goes_on_elsewhere),
		cmocka_unit_test(a_device_is_rolled_back),
		cmocka_unit_test(a_device_without_a_driver),
		cmocka_unit_test(a_driver_that_is_setting_up),
		cmocka_unit_test(the_balloon_remembers_its_target),
		TEST(values_that_cannot_be),
		TEST(indices_far_from_the_ring),
		TEST(a_ring_that_the_guest_broke),
		TEST(requests_under_way_are_not_saved),
		TEST(another_disk),
		TEST(another_device),
		TEST(cut_off_anywhere),
		TEST(any_byte_may_be_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
