// SPDX-License-Identifier: Apache-2.0
/* The writer's insides, for squash.c (data, order) and squash_tree.c (inodes, directories). */
#pragma once

#include <sqfs/block_writer.h>
#include <sqfs/dir_writer.h>
#include <sqfs/frag_table.h>
#include <sqfs/id_table.h>
#include <sqfs/super.h>
#include <sqfs/xattr_writer.h>

#include "oci/squash.h"

/* Where a regular file's data went. libsquashfs keeps a pointer to `inode` until all blocks are
 * out, so these live as long as the writer, even when the name is replaced. */
struct squash_data {
	struct squash_data *next;
	sqfs_inode_generic_t *inode;
};

struct squash {
	sqfs_file_t *file;
	sqfs_compressor_t *compress, *uncompress;
	sqfs_block_writer_t *data;
	sqfs_frag_table_t *fragments;
	sqfs_id_table_t *ids;
	sqfs_xattr_writer_t *xattrs;
	sqfs_block_processor_t *processor;
	sqfs_super_t super;
	struct squash_data *files;
	/* While the tree is written: */
	sqfs_meta_writer_t *inode_table, *directory_table;
	sqfs_dir_writer_t *directories;
	uint32_t n_inodes;
};

int squash_write_tree(struct squash *q, struct tree *t, struct err *e) MUST_CHECK;
