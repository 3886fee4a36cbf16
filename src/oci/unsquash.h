// SPDX-License-Identifier: Apache-2.0
/* Reads back a squashfs file that squash.h wrote, to merge it with others. One thread. */
#pragma once

#include <sqfs/dir_reader.h>
#include <sqfs/inode.h>
#include <sqfs/super.h>

#include "oci/tree.h"

struct unsquash {
	struct sqfs_file_t *file;
	sqfs_super_t super; /* the readers keep pointing at it: this struct must not move */
	sqfs_compressor_t *uncompress;
	sqfs_id_table_t *ids;
	sqfs_dir_reader_t *directories;
	sqfs_data_reader_t *data;
	sqfs_xattr_reader_t *xattrs;
	int fd;
};

/* fd: the file, open for reading; stays the caller's and must outlive the reader. */
int unsquash_open(struct unsquash *u, int fd, struct err *e) MUST_CHECK;
void unsquash_close(struct unsquash *u);

/* All names and inodes; free with sqfs_dir_tree_destroy. */
int unsquash_names(struct unsquash *u, sqfs_tree_node_t **ret, struct err *e) MUST_CHECK;

/* Calls `each` for all extended attributes of an inode; keys are whole ("user.x"). */
int unsquash_xattrs(struct unsquash *u, const sqfs_inode_generic_t *i,
	int (*each)(void *context, const char *key, const void *value, size_t bytes), void *context,
	struct err *e) MUST_CHECK;

/* Reads `bytes` bytes of a regular file, all of them. */
int unsquash_read(struct unsquash *u, const sqfs_inode_generic_t *i, uint64_t offset, void *data,
	size_t bytes, struct err *e) MUST_CHECK;

/* Whether the root directory hides everything below it (then `base` in record.h moves up). */
int unsquash_is_root_opaque(int fd, struct err *e) MUST_CHECK;
