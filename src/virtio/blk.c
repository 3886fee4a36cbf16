// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/disk.h"
#include "base/iov.h"
#include "base/snapio.h"

enum {
	BLK_QUEUE_SIZE = VQ_SIZE_MAX,
	SEGMENTS_MAX = BLK_QUEUE_SIZE - 2, /* what a chain holds beside header and status */

	/* §5.2.6.1 */
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13,

	/* §5.2.6.2 */
	S_OK = 0,
	S_IOERR = 1,
	S_UNSUPP = 2,

	/* Ranges of one discard or write-zeroes request, sectors of one range (2 GiB). */
	RANGES_MAX = 8,
	RANGE_SECTORS_MAX = 1 << 22,
	RANGE_UNMAP = 1, /* §5.2.6: the only flag, of write-zeroes alone */

	SECTORS_ALIGNED = 8, /* of 4096 bytes: what file systems of the host can punch */
};

/* §5.2.3 */
#define F_SEG_MAX      (1ull << 2)
#define F_RO	       (1ull << 5)
#define F_BLK_SIZE     (1ull << 6)
#define F_FLUSH	       (1ull << 9)
#define F_DISCARD      (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

/* §5.2.4 */
struct blk_config {
	uint64_t capacity; /* in sectors */
	uint32_t size_max;
	uint32_t seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
} PACKED;

_Static_assert(sizeof(struct blk_config) == 60, "virtio 1.2 §5.2.4");

struct blk_header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};

struct blk_range {
	uint64_t sector;
	uint32_t n_sectors;
	uint32_t flags;
};

_Static_assert(sizeof(struct blk_header) == 16, "virtio 1.2 §5.2.6");
_Static_assert(sizeof(struct blk_range) == 16, "virtio 1.2 §5.2.6");

struct blk {
	struct virtio_dev dev;
	struct blk_config config;
	struct disk *disk;
	char serial[BLK_SERIAL_BYTES]; /* not terminated when it fills the field */
};

/* The data of a request, header and status taken off. */
struct data {
	struct iovec iov[VQ_SIZE_MAX];
	unsigned n;
	size_t bytes;
};

static struct blk *of(struct virtio_dev *d)
{
	return container_of(d, struct blk, dev);
}

/* Whether the sectors lie on the disk; their place in bytes. */
static bool is_on_disk(
	const struct disk *disk, uint64_t sector, uint64_t bytes, uint64_t *ret_offset)
{
	uint64_t end;

	return !mul_overflows(sector, (uint64_t)DISK_SECTOR_BYTES, ret_offset) &&
	       !add_overflows(*ret_offset, bytes, &end) && end <= disk->bytes &&
	       bytes % DISK_SECTOR_BYTES == 0;
}

static int status_of(int r)
{
	if (r == -EOPNOTSUPP)
		return S_UNSUPP;
	return r < 0 ? S_IOERR : S_OK;
}

static int transfer(struct blk *b, uint32_t type, uint64_t sector, const struct data *data)
{
	struct disk *disk = b->disk;
	uint64_t offset;

	if (!is_on_disk(disk, sector, data->bytes, &offset))
		return S_IOERR;
	if (!data->bytes)
		return S_OK;
	if (type == T_IN)
		return status_of(disk->ops->read(disk, data->iov, data->n, offset));
	if (disk->is_read_only)
		return S_IOERR; /* §5.2.6.2 */
	return status_of(disk->ops->write(disk, data->iov, data->n, offset));
}

static int check_ranges(
	const struct blk *b, uint32_t type, const struct blk_range *ranges, unsigned n)
{
	uint32_t allowed = type == T_WRITE_ZEROES ? RANGE_UNMAP : 0;
	uint64_t offset;

	for (unsigned i = 0; i < n; i++) {
		uint64_t bytes = (uint64_t)ranges[i].n_sectors * DISK_SECTOR_BYTES;

		if (ranges[i].flags & ~allowed)
			return S_UNSUPP;
		if (ranges[i].n_sectors > RANGE_SECTORS_MAX ||
			!is_on_disk(b->disk, ranges[i].sector, bytes, &offset))
			return S_IOERR;
	}
	return S_OK;
}

/* Discard and write-zeroes: all ranges are checked before the first is touched. */
static int clear_ranges(struct blk *b, uint32_t type, const struct data *data)
{
	struct disk *disk = b->disk;
	struct blk_range ranges[RANGES_MAX];
	unsigned n = (unsigned)(data->bytes / sizeof(ranges[0]));
	int status, r = 0;

	if (disk->is_read_only)
		return S_IOERR;
	if (!n || n > RANGES_MAX || data->bytes % sizeof(ranges[0]))
		return S_IOERR;
	if (iov_gather(ranges, data->iov, data->n, 0, data->bytes) < data->bytes)
		return S_IOERR;
	status = check_ranges(b, type, ranges, n);
	for (unsigned i = 0; i < n && status == S_OK; i++) {
		uint64_t offset = ranges[i].sector * DISK_SECTOR_BYTES;
		uint64_t bytes = (uint64_t)ranges[i].n_sectors * DISK_SECTOR_BYTES;

		if (!bytes)
			continue;
		if (type == T_DISCARD)
			r = disk->ops->discard(disk, offset, bytes);
		else
			r = disk->ops->write_zeroes(
				disk, offset, bytes, ranges[i].flags & RANGE_UNMAP);
		status = status_of(r);
	}
	return status;
}

static int get_id(const struct blk *b, const struct data *data)
{
	/* §5.2.6: a field of 20 bytes. A shorter buffer gets what fits. */
	iov_scatter(data->iov, data->n, 0, b->serial, sizeof(b->serial));
	return S_OK;
}

/* What the request reads from the guest (after the header) or writes to it (before the status). */
static void take_data(const struct vq_chain *chain, uint32_t type, struct data *ret)
{
	bool is_in = type == T_IN || type == T_GET_ID;

	if (is_in) {
		ret->bytes = chain->in_bytes - 1;
		ret->n = iov_slice(ret->iov, vq_in(chain), chain->n_in, 0, ret->bytes);
	} else {
		ret->bytes = chain->out_bytes - sizeof(struct blk_header);
		ret->n = iov_slice(
			ret->iov, chain->iov, chain->n_out, sizeof(struct blk_header), ret->bytes);
	}
}

static int carry_out(struct blk *b, const struct vq_chain *chain)
{
	struct blk_header header;
	struct data data;

	if (iov_gather(&header, chain->iov, chain->n_out, 0, sizeof(header)) < sizeof(header))
		return S_IOERR;
	take_data(chain, header.type, &data);
	switch (header.type) {
	case T_IN:
	case T_OUT:
		return transfer(b, header.type, header.sector, &data);
	case T_FLUSH:
		return status_of(b->disk->ops->flush(b->disk));
	case T_GET_ID:
		return get_id(b, &data);
	case T_DISCARD:
	case T_WRITE_ZEROES:
		return clear_ranges(b, header.type, &data);
	default:
		return S_UNSUPP;
	}
}

/* §5.2.6: the last writable byte is the status, wherever the driver cut its buffers (§2.7.4). A
 * request without one cannot be answered, so the device is given up. The length told is that of all
 * the buffers: any shorter one would say that the status is not there. */
static int64_t handle(struct virtio_dev *d, struct vq_chain *chain)
{
	uint8_t status;

	if (!chain->in_bytes || chain->in_bytes > UINT32_MAX)
		return -EPROTO;
	status = (uint8_t)carry_out(of(d), chain);
	iov_scatter(vq_in(chain), chain->n_in, chain->in_bytes - 1, &status, 1);
	return (int64_t)chain->in_bytes;
}

static void notify(struct virtio_dev *d, unsigned queue)
{
	virtio_serve(d, queue, handle);
}

/* Nothing but what the guest knows about its disk, which must be true of this one. */
static void snap(struct virtio_dev *d, struct snapio *io)
{
	struct blk *b = of(d);
	uint64_t sectors = b->config.capacity;
	bool is_read_only = b->disk->is_read_only;
	char serial[BLK_SERIAL_BYTES];

	memcpy(serial, b->serial, sizeof(serial));
	snapio_u64(io, "disk_sectors", &sectors);
	snapio_bool(io, "disk_is_read_only", &is_read_only);
	snapio_bytes(io, "disk_serial", serial, sizeof(serial));
	if (memcmp(serial, b->serial, sizeof(serial)) != 0)
		snapio_fail(io, "disk_serial", "another disk than \"%.*s\" was in its place",
			BLK_SERIAL_BYTES, b->serial);
	if (sectors != b->config.capacity)
		snapio_fail(io, "disk_sectors",
			"disk \"%.*s\" had %llu sectors of 512 bytes, the one here has %llu",
			BLK_SERIAL_BYTES, b->serial, (unsigned long long)sectors,
			(unsigned long long)b->config.capacity);
	if (is_read_only != b->disk->is_read_only)
		snapio_fail(io, "disk_is_read_only", "disk \"%.*s\" was %s, the one here is %s",
			BLK_SERIAL_BYTES, b->serial, is_read_only ? "read-only" : "writable",
			is_read_only ? "writable" : "read-only");
}

static void blk_free(struct virtio_dev *d)
{
	struct blk *b = of(d);

	virtio_fini(d);
	disk_free(b->disk);
	free(b);
}

static const struct virtio_ops ops = {
	.name = "virtio-blk",
	.id = VIRTIO_ID_BLOCK,
	.n_queues = 1,
	.queue_size = BLK_QUEUE_SIZE,
	.config_size = sizeof(struct blk_config),
	.notify = notify,
	.snap = snap,
	.free = blk_free,
};

static uint64_t describe(struct blk_config *c, const struct disk *disk)
{
	*c = (struct blk_config){
		.capacity = disk->bytes / DISK_SECTOR_BYTES,
		.seg_max = SEGMENTS_MAX,
		.blk_size = DISK_SECTOR_BYTES,
		.num_queues = 1,
	};
	if (disk->is_read_only)
		return F_SEG_MAX | F_BLK_SIZE | F_RO;
	c->max_discard_sectors = c->max_write_zeroes_sectors = RANGE_SECTORS_MAX;
	c->max_discard_seg = c->max_write_zeroes_seg = RANGES_MAX;
	c->discard_sector_alignment = SECTORS_ALIGNED;
	c->write_zeroes_may_unmap = 1;
	return F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_DISCARD | F_WRITE_ZEROES;
}

int blk_new(const struct virtio_host *host, struct disk *disk, const char *serial,
	struct virtio_dev **ret_dev, struct err *e)
{
	struct blk *b = calloc(1, sizeof(*b));
	uint64_t features;
	int r;

	if (!b)
		return err_set(e, -ENOMEM, "no memory for a block device");
	features = describe(&b->config, disk);
	memcpy(b->serial, serial, strnlen(serial, sizeof(b->serial)));
	r = virtio_init(&b->dev, &ops, host, features, &b->config, e);
	if (r < 0) {
		free(b);
		return err_object(e, "block device %s", serial);
	}
	b->disk = disk;
	*ret_dev = &b->dev;
	return 0;
}
