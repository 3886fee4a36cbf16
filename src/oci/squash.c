// SPDX-License-Identifier: Apache-2.0
/* The data half of the writer, and the order of the parts (squashfs 4.0 format: superblock,
 * compressor options, data, fragments, inodes, directories, tables). */
#include "oci/squash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sqfs/block_processor.h>
#include <sqfs/compressor.h>
#include <sqfs/error.h>
#include <sqfs/inode.h>
#include <sqfs/io.h>
#include <sqfs/meta_writer.h>

#include "oci/squash_int.h"

enum {
	BACKLOG_PER_WORKER = 8, /* blocks in flight: this bounds the memory */
	ZSTD_LEVEL = 1, /* of 288 MB: 3 costs 40 % more time for 4 % less, lz4 is 22 % larger */
};

static int create_compressors(struct squash *q)
{
	sqfs_compressor_config_t config;
	int r = sqfs_compressor_config_init(&config, SQFS_COMP_ZSTD, SQUASH_BLOCK_BYTES, 0);

	config.level = ZSTD_LEVEL;
	if (!r)
		r = sqfs_compressor_create(&config, &q->compress);
	config.flags |= SQFS_COMP_FLAG_UNCOMPRESS;
	if (!r)
		r = sqfs_compressor_create(&config, &q->uncompress);
	return r;
}

static int create_tables(struct squash *q)
{
	q->data = sqfs_block_writer_create(q->file, SQUASH_PAD_BYTES, 0);
	q->fragments = sqfs_frag_table_create(0);
	q->ids = sqfs_id_table_create(0);
	q->xattrs = sqfs_xattr_writer_create(0);
	return q->data && q->fragments && q->ids && q->xattrs ? 0 : SQFS_ERROR_ALLOC;
}

static int create_processor(struct squash *q, unsigned n_workers)
{
	sqfs_block_processor_desc_t desc = {
		.size = sizeof(desc),
		.max_block_size = SQUASH_BLOCK_BYTES,
		.num_workers = n_workers,
		.max_backlog = BACKLOG_PER_WORKER * n_workers,
		.cmp = q->compress,
		.wr = q->data,
		.tbl = q->fragments,
		.file = q->file, /* duplicates are compared byte by byte, not by checksum alone */
		.uncmp = q->uncompress,
	};

	return sqfs_block_processor_create_ex(&desc, &q->processor);
}

/* The superblock's place, filled in last; then what the kernel needs to know of zstd. */
static int begin_image(struct squash *q)
{
	int r = sqfs_super_init(&q->super, SQUASH_BLOCK_BYTES, 0, SQFS_COMP_ZSTD);

	if (!r)
		r = sqfs_super_write(&q->super, q->file);
	if (!r)
		r = q->compress->write_options(q->compress, q->file);
	if (r > 0)
		q->super.flags |= SQFS_FLAG_COMPRESSOR_OPTIONS;
	return r < 0 ? r : 0;
}

static int create_all(struct squash *q, unsigned n_workers)
{
	int r = create_compressors(q);

	if (!r)
		r = begin_image(q);
	if (!r)
		r = create_tables(q);
	return r ? r : create_processor(q, n_workers);
}

int squash_open(int fd, unsigned n_workers, struct squash **ret, struct err *e)
{
	struct squash *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return err_set(e, -ENOMEM, "out of memory");
	q->file = squash_file_new(fd);
	r = q->file ? create_all(q, n_workers) : SQFS_ERROR_ALLOC;
	if (r < 0) {
		squash_failed(q->file, r, "write the layer image", e);
		squash_close(q);
		return e ? e->code : -EIO;
	}
	*ret = q;
	return 0;
}

void squash_close(struct squash *q)
{
	if (!q)
		return;
	/* In this order: the processor's workers use all the others. */
	sqfs_destroy(q->processor);
	sqfs_destroy(q->xattrs);
	sqfs_destroy(q->ids);
	sqfs_destroy(q->fragments);
	sqfs_destroy(q->data);
	sqfs_destroy(q->uncompress);
	sqfs_destroy(q->compress);
	sqfs_destroy(q->file);
	while (q->files) {
		struct squash_data *next = q->files->next;

		sqfs_free(q->files->inode);
		free(q->files);
		q->files = next;
	}
	free(q);
}

int squash_begin_file(struct squash *q, struct tree_inode *i, struct err *e)
{
	struct squash_data *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_set(e, -ENOMEM, "out of memory");
	d->next = q->files;
	q->files = d;
	i->data = d;
	r = sqfs_block_processor_begin_file(q->processor, &d->inode, NULL, 0);
	return r < 0 ? squash_failed(q->file, r, "write file data", e) : 0;
}

int squash_append(struct squash *q, const void *data, size_t bytes, struct err *e)
{
	int r = sqfs_block_processor_append(q->processor, data, bytes);

	return r < 0 ? squash_failed(q->file, r, "write file data", e) : 0;
}

int squash_end_file(struct squash *q, struct err *e)
{
	int r = sqfs_block_processor_end_file(q->processor);

	return r < 0 ? squash_failed(q->file, r, "write file data", e) : 0;
}

static int write_tables(struct squash *q)
{
	int r = sqfs_frag_table_write(q->fragments, q->file, &q->super, q->compress);

	if (!r)
		r = sqfs_id_table_write(q->ids, q->file, &q->super, q->compress);
	if (!r)
		r = sqfs_xattr_writer_flush(q->xattrs, q->file, &q->super, q->compress);
	return r;
}

static int end_image(struct squash *q)
{
	int r;

	q->super.bytes_used = q->file->get_size(q->file);
	q->super.modification_time = 0;
	r = sqfs_super_write(&q->super, q->file);
	if (!r)
		r = q->file->truncate(
			q->file, ALIGN_UP(q->super.bytes_used, (uint64_t)SQUASH_PAD_BYTES));
	return r;
}

int squash_finish(struct squash *q, struct tree *t, struct err *e)
{
	int r = sqfs_block_processor_finish(q->processor);

	if (r < 0)
		return squash_failed(q->file, r, "write file data", e);
	r = squash_write_tree(q, t, e);
	if (r < 0)
		return r;
	r = write_tables(q);
	if (!r)
		r = end_image(q);
	return r < 0 ? squash_failed(q->file, r, "write the layer image's tables", e) : 0;
}
