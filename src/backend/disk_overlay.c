// SPDX-License-Identifier: Apache-2.0
/*
 * A disk that writes to a file of its own, cluster by cluster, over files that it only reads. A
 * write that begins or ends inside a cluster that is not its own yet takes the rest of it along, in
 * the same call. What is on the disk is in disk_layers.c, saving and restoring in disk_save.c.
 */
#include "backend/disk_overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/disk_io.h"
#include "base/fd.h"
#include "base/iov.h"
#include "base/sparse.h"

enum { ZEROES_IOVS = 64 }; /* of a cluster each, for one write */

#define CLUSTER ((uint64_t)DISK_CLUSTER_BYTES)

static struct disk_layers *layers_of(struct disk *d)
{
	return &container_of(d, struct disk_overlay, disk)->layers;
}

static int read_piece(const struct disk_piece *piece, const struct iovec *iov, unsigned n)
{
	ssize_t got = disk_io_read(piece->fd, iov, n, piece->bytes, piece->at);

	if (got < 0)
		return (int)got;
	return (uint64_t)got == piece->bytes ? 0 : -EIO; /* a file became shorter */
}

static int overlay_read(struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset)
{
	const struct disk_layers *l = layers_of(d);
	uint64_t bytes = iov_bytes(iov, n), done = 0;
	struct iovec part[DISK_IOV_MAX];
	int r = 0;

	if (n > DISK_IOV_MAX)
		return -EINVAL;
	while (done < bytes && r == 0) {
		struct disk_piece piece = disk_layers_piece(l, offset + done, offset + bytes);

		if (piece.bytes == bytes)
			return read_piece(&piece, iov, n);
		r = read_piece(&piece, part, iov_slice(part, iov, n, done, piece.bytes));
		done += piece.bytes;
	}
	return r;
}

static int read_here(struct disk *d, uint64_t offset, void *to, uint64_t bytes)
{
	struct iovec iov = {to, bytes};

	return overlay_read(d, &iov, 1, offset);
}

/* What goes to the own file for one request: perhaps the start of its first cluster, then the
 * guest's bytes, then perhaps the rest of its last. */
struct padded_write {
	uint8_t head[DISK_CLUSTER_BYTES], tail[DISK_CLUSTER_BYTES];
	struct iovec iov[DISK_IOV_MAX + 2];
	unsigned n;
	uint64_t offset, bytes;
};

static int pad_head(struct disk *d, struct padded_write *w)
{
	uint64_t bytes = w->offset % CLUSTER;
	int r;

	if (!bytes || disk_layers_is_own(layers_of(d), w->offset / CLUSTER))
		return 0;
	w->offset -= bytes;
	w->bytes += bytes;
	r = read_here(d, w->offset, w->head, bytes);
	w->iov[w->n++] = (struct iovec){w->head, bytes};
	return r;
}

static int pad_tail(struct disk *d, struct padded_write *w)
{
	uint64_t end = w->offset + w->bytes, bytes = ALIGN_UP(end, CLUSTER) - end;
	int r;

	if (!bytes || disk_layers_is_own(layers_of(d), end / CLUSTER))
		return 0;
	w->bytes += bytes;
	r = read_here(d, end, w->tail, bytes);
	w->iov[w->n++] = (struct iovec){w->tail, bytes};
	return r;
}

static int overlay_write(struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset)
{
	struct disk_layers *l = layers_of(d);
	struct padded_write w;
	ssize_t got;
	int r;

	w.n = 0;
	w.offset = offset;
	w.bytes = iov_bytes(iov, n);
	if (n > DISK_IOV_MAX)
		return -EINVAL;
	if (!w.bytes)
		return 0;
	r = pad_head(d, &w);
	if (r < 0)
		return r;
	memcpy(&w.iov[w.n], iov, n * sizeof(*iov));
	w.n += n;
	r = pad_tail(d, &w);
	if (r < 0)
		return r;
	l->is_written = true;
	got = disk_io_write(l->own_fd, w.iov, w.n, w.bytes, w.offset);
	if (got != (ssize_t)w.bytes)
		return got < 0 ? (int)got : -EIO;
	/* only now: a cluster that was not wholly written stays what it was */
	disk_layers_set(l, w.offset / CLUSTER, ALIGN_UP(w.offset + w.bytes, CLUSTER) / CLUSTER);
	return 0;
}

static int overlay_flush(struct disk *d)
{
	return fdatasync(layers_of(d)->own_fd) < 0 ? -errno : 0;
}

/* Where the layers below have no data, in whole clusters, at or after `offset`; empty at `end` when
 * there is no such place. Those that a differential snapshot has count as data. */
static int find_hole(const struct disk_layers *l, uint64_t offset, uint64_t end,
	uint64_t *ret_first, uint64_t *ret_end)
{
	while (offset < end) {
		struct disk_piece piece = disk_layers_below(l, offset, end);
		uint64_t limit = offset + piece.bytes, data = limit, data_end = limit;
		int r = 1;

		if (piece.layer == LAYER_BASE)
			r = sparse_next_data(l->base_fd, offset, limit, &data, &data_end);
		else
			data = offset;
		if (r < 0)
			return r;
		data = r == 0 ? limit : MIN(data, limit);
		if (data > offset) {
			*ret_first = offset;
			*ret_end = data;
			return 0;
		}
		offset = data_end;
	}
	*ret_first = *ret_end = end;
	return 0;
}

/* Makes whole clusters read as zeroes, with no storage: as holes of the own file, or as holes of
 * the base where it has them, which leaves nothing to remember. */
static int drop(struct disk *d, uint64_t offset, uint64_t end)
{
	struct disk_layers *l = layers_of(d);
	uint64_t hole, hole_end;
	int r;

	if (offset >= end)
		return 0;
	l->is_written = true;
	r = disk_io_punch(l->own_fd, offset, end - offset);
	for (; r == 0 && offset < end; offset = hole_end) {
		r = find_hole(l, offset, end, &hole, &hole_end);
		if (r < 0)
			break;
		disk_layers_set(l, offset / CLUSTER, hole / CLUSTER);
		disk_layers_clear(l, hole / CLUSTER, hole_end / CLUSTER);
	}
	return r;
}

/* A cluster of which only a part is discarded stays. */
static int overlay_discard(struct disk *d, uint64_t offset, uint64_t bytes)
{
	return drop(d, ALIGN_UP(offset, CLUSTER), ALIGN_DOWN(offset + bytes, CLUSTER));
}

static int write_zeroes_by_hand(struct disk *d, uint64_t offset, uint64_t bytes)
{
	uint8_t zeroes[DISK_CLUSTER_BYTES] = {0};
	struct iovec iov[ZEROES_IOVS];
	int r = 0;

	while (bytes && r == 0) {
		uint64_t done = 0;
		unsigned n = 0;

		for (; n < ZEROES_IOVS && done < bytes; done += iov[n++].iov_len)
			iov[n] = (struct iovec){zeroes, MIN(bytes - done, CLUSTER)};
		r = overlay_write(d, iov, n, offset);
		offset += done;
		bytes -= done;
	}
	return r;
}

/* The disk is sparse: no storage was ever promised, so may_unmap makes no difference. */
static int overlay_write_zeroes(struct disk *d, uint64_t offset, uint64_t bytes, bool may_unmap)
{
	uint64_t end = offset + bytes, first = MIN(ALIGN_UP(offset, CLUSTER), end);
	uint64_t last = MAX(ALIGN_DOWN(end, CLUSTER), first);
	int r;

	(void)may_unmap;
	r = write_zeroes_by_hand(d, offset, first - offset);
	if (r == 0)
		r = drop(d, first, last);
	if (r == -EOPNOTSUPP)
		r = write_zeroes_by_hand(d, first, last - first);
	if (r == 0)
		r = write_zeroes_by_hand(d, last, end - last);
	return r;
}

static void overlay_free(struct disk *d)
{
	disk_layers_fini(layers_of(d));
	free(container_of(d, struct disk_overlay, disk));
}

static const struct disk_ops overlay_ops = {
	.read = overlay_read,
	.write = overlay_write,
	.flush = overlay_flush,
	.discard = overlay_discard,
	.write_zeroes = overlay_write_zeroes,
	.free = overlay_free,
};

struct disk_layers *disk_overlay_layers(struct disk *d, struct err *e)
{
	if (d->ops == &overlay_ops)
		return layers_of(d);
	err_set(e, -EINVAL, "this disk keeps no writes of its own");
	err_object(e, "disk");
	return NULL;
}

static int check_base(int fd, uint64_t *ret_bytes, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "look at the base of the disk");
	if (!S_ISREG(st.st_mode)) {
		err_set(e, -EINVAL, "the base of the disk is not a regular file");
		return err_remedy(e, "name a disk image");
	}
	if (!st.st_size || st.st_size % DISK_CLUSTER_BYTES) {
		err_set(e, -EINVAL, "the base of the disk has %lld bytes, not a multiple of %d",
			(long long)st.st_size, DISK_CLUSTER_BYTES);
		return err_remedy(e, "make the disk again with a size of whole MiB");
	}
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static int prepare_own(int fd, uint64_t bytes, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "look at the file for the disk's writes");
	if (!S_ISREG(st.st_mode) || st.st_size) {
		err_set(e, -EINVAL, "the file for the disk's writes is not an empty regular file");
		return err_remedy(e, "give each VM an empty file of its own");
	}
	if (ftruncate(fd, (off_t)bytes) < 0) {
		err_sys(e, "give the file for the disk's writes %llu bytes",
			(unsigned long long)bytes);
		return err_remedy(
			e, "raise the file size limit (ulimit -f), or give the VM a smaller disk");
	}
	return 0;
}

static int overlay_new(int base_fd, int delta_fd, struct disk **ret_disk, struct err *e)
{
	struct disk_overlay *o;
	uint64_t bytes = 0;
	int r;

	r = check_base(base_fd, &bytes, e);
	if (r == 0)
		r = prepare_own(delta_fd, bytes, e);
	if (r < 0)
		return r;
	o = malloc(sizeof(*o));
	r = o ? disk_layers_init(&o->layers, bytes) : -ENOMEM;
	if (r < 0) {
		free(o);
		return err_set(e, r, "no memory for a disk");
	}
	o->disk = (struct disk){.ops = &overlay_ops, .bytes = bytes};
	o->layers.base_fd = base_fd;
	o->layers.own_fd = delta_fd;
	*ret_disk = &o->disk;
	return 0;
}

int disk_overlay_new(int base_fd, int delta_fd, struct disk **ret_disk, struct err *e)
{
	int r = overlay_new(base_fd, delta_fd, ret_disk, e);

	return r < 0 ? err_object(e, "disk") : 0;
}
