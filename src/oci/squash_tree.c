// SPDX-License-Identifier: Apache-2.0
/*
 * Inodes and directories of the squashfs writer. First every inode gets its number and count of
 * links (children of one directory next to each other, which is what the format packs best), then
 * they are written from the leaves up, because a directory lists where its children's inodes are.
 *
 * Recursion is as deep as the deepest path, which tree.h bounds to TREE_PATH_MAX / 2.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sqfs/error.h>
#include <sqfs/inode.h>
#include <sqfs/io.h>
#include <sqfs/meta_writer.h>
#include <sqfs/xattr.h>

#include "oci/squash_int.h"

enum { NO_XATTRS = 0xffffffffu };

static const char opaque_key[] = "trusted.overlay.opaque"; /* Linux overlayfs.rst */

static int number_child(void *context, struct tree_node *n)
{
	struct squash *q = context;

	if (!n->inode->number)
		n->inode->number = ++q->n_inodes;
	n->inode->n_links++;
	return 0;
}

static int number_below(void *context, struct tree_node *n)
{
	int r;

	if (!tree_is_directory(n))
		return 0;
	r = tree_each(n, number_child, context);
	return r ? r : tree_each(n, number_below, context);
}

static int count_directory(void *context, struct tree_node *n)
{
	*(uint32_t *)context += tree_is_directory(n);
	return 0;
}

/* squashfs has only these three name spaces; POSIX ACLs (system.*) have no place in it. */
static bool can_hold(const char *key)
{
	return sqfs_get_xattr_prefix_id(key) >= 0;
}

static int add_xattrs(struct squash *q, const struct tree_inode *i)
{
	for (const struct tree_xattr *x = i->xattrs; x; x = x->next) {
		int r = can_hold(x->key)
				? sqfs_xattr_writer_add(q->xattrs, x->key, x->value, x->bytes)
				: 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static int collect_xattrs(struct squash *q, const struct tree_node *n, uint32_t *ret)
{
	int r;

	*ret = NO_XATTRS;
	if (!n->inode->xattrs && !n->is_opaque)
		return 0;
	r = sqfs_xattr_writer_begin(q->xattrs, 0);
	if (!r)
		r = add_xattrs(q, n->inode);
	if (!r && n->is_opaque)
		r = sqfs_xattr_writer_add(q->xattrs, opaque_key, "y", 1);
	return r ? r : sqfs_xattr_writer_end(q->xattrs, ret);
}

static sqfs_inode_generic_t *new_inode(unsigned type, size_t payload_bytes)
{
	sqfs_inode_generic_t *i = calloc(1, sizeof(*i) + payload_bytes);

	if (!i)
		return NULL;
	i->base.type = (sqfs_u16)type;
	i->payload_bytes_available = i->payload_bytes_used = (sqfs_u32)payload_bytes;
	return i;
}

static sqfs_inode_generic_t *new_link(const struct tree_inode *t)
{
	size_t n = strlen(t->target);
	sqfs_inode_generic_t *i = new_inode(SQFS_INODE_SLINK, n + 1);

	if (!i)
		return NULL;
	i->payload_bytes_used = (sqfs_u32)n;
	i->data.slink.nlink = t->n_links;
	i->data.slink.target_size = (sqfs_u32)n;
	memcpy(i->extra, t->target, n + 1);
	return i;
}

static sqfs_inode_generic_t *new_device(const struct tree_inode *t)
{
	sqfs_inode_generic_t *i =
		new_inode(S_ISCHR(t->mode) ? SQFS_INODE_CDEV : SQFS_INODE_BDEV, 0);

	if (!i)
		return NULL;
	i->data.dev.nlink = t->n_links;
	/* Linux new_encode_dev (include/linux/kdev_t.h). */
	i->data.dev.devno = (t->minor & 0xff) | t->major << 8 | (t->minor & ~0xffu) << 12;
	return i;
}

static sqfs_inode_generic_t *new_ipc(const struct tree_inode *t)
{
	sqfs_inode_generic_t *i =
		new_inode(S_ISFIFO(t->mode) ? SQFS_INODE_FIFO : SQFS_INODE_SOCKET, 0);

	if (i)
		i->data.ipc.nlink = t->n_links;
	return i;
}

/* A regular file's inode was begun when its data was written; a file without data has none. */
static sqfs_inode_generic_t *take_file(struct tree_inode *t)
{
	struct squash_data *d = t->data;
	sqfs_inode_generic_t *i = d ? d->inode : NULL;

	if (d)
		d->inode = NULL;
	if (!i) {
		i = new_inode(SQFS_INODE_FILE, 0);
		if (i)
			i->data.file.fragment_index = i->data.file.fragment_offset = 0xffffffff;
	}
	if (i && t->n_links > 1) {
		if (sqfs_inode_make_extended(i) < 0) {
			sqfs_free(i);
			return NULL;
		}
		i->data.file_ext.nlink = t->n_links;
	}
	return i;
}

/* Of the directory whose listing was written last. */
static sqfs_inode_generic_t *new_directory(
	struct squash *q, const struct tree_node *n, uint32_t xattrs)
{
	/* The root's parent is a number that no inode has. */
	uint32_t parent = n->parent ? n->parent->inode->number : q->n_inodes + 1;
	uint32_t n_links = 2;
	sqfs_inode_generic_t *i = sqfs_dir_writer_create_inode(q->directories, 0, xattrs, parent);

	if (!i)
		return NULL;
	/* libsquashfs counts all entries; file systems count only directories. */
	tree_each(n, count_directory, &n_links);
	if (i->base.type == SQFS_INODE_DIR)
		i->data.dir.nlink = n_links;
	else
		i->data.dir_ext.nlink = n_links;
	return i;
}

static sqfs_inode_generic_t *inode_for(struct squash *q, const struct tree_node *n, uint32_t xattrs)
{
	switch (n->inode->mode & S_IFMT) {
	case S_IFDIR:
		return new_directory(q, n, xattrs);
	case S_IFLNK:
		return new_link(n->inode);
	case S_IFCHR:
	case S_IFBLK:
		return new_device(n->inode);
	case S_IFREG:
		return take_file(n->inode);
	default:
		return new_ipc(n->inode);
	}
}

static int write_inode(
	struct squash *q, struct tree_inode *t, sqfs_inode_generic_t *i, uint32_t xattrs)
{
	uint32_t offset;
	uint64_t block;
	int r = sqfs_id_table_id_to_index(q->ids, t->uid, &i->base.uid_idx);

	if (!r)
		r = sqfs_id_table_id_to_index(q->ids, t->gid, &i->base.gid_idx);
	if (!r && xattrs != NO_XATTRS)
		r = sqfs_inode_set_xattr_index(i, xattrs);
	if (r < 0)
		return r;
	i->base.mode = (sqfs_u16)t->mode;
	i->base.mod_time = t->mtime;
	i->base.inode_number = t->number;
	sqfs_meta_writer_get_position(q->inode_table, &block, &offset);
	t->reference = block << 16 | offset;
	t->is_written = true;
	return sqfs_meta_writer_write_inode(q->inode_table, i);
}

static int write_node(void *context, struct tree_node *n);

static int add_entry(void *context, struct tree_node *n)
{
	struct squash *q = context;

	return sqfs_dir_writer_add_entry(q->directories, n->name, n->inode->number,
		n->inode->reference, (sqfs_u16)n->inode->mode);
}

static int write_listing(struct squash *q, const struct tree_node *dir)
{
	int r = tree_each(dir, write_node, q);

	if (!r)
		r = sqfs_dir_writer_begin(q->directories, 0);
	if (!r)
		r = tree_each(dir, add_entry, q);
	return r ? r : sqfs_dir_writer_end(q->directories);
}

static int write_node(void *context, struct tree_node *n)
{
	struct squash *q = context;
	sqfs_inode_generic_t *i;
	uint32_t xattrs;
	int r = 0;

	if (n->inode->is_written)
		return 0;
	if (tree_is_directory(n))
		r = write_listing(q, n);
	if (!r)
		r = collect_xattrs(q, n, &xattrs);
	if (r)
		return r;
	i = inode_for(q, n, xattrs);
	if (!i)
		return SQFS_ERROR_ALLOC;
	r = write_inode(q, n->inode, i, xattrs);
	sqfs_free(i);
	return r;
}

static int create_writers(struct squash *q)
{
	q->inode_table = sqfs_meta_writer_create(q->file, q->compress, 0);
	q->directory_table =
		sqfs_meta_writer_create(q->file, q->compress, SQFS_META_WRITER_KEEP_IN_MEMORY);
	if (q->directory_table)
		q->directories = sqfs_dir_writer_create(q->directory_table, 0);
	return q->inode_table && q->directories ? 0 : SQFS_ERROR_ALLOC;
}

static void destroy_writers(struct squash *q)
{
	sqfs_destroy(q->directories);
	sqfs_destroy(q->directory_table);
	sqfs_destroy(q->inode_table);
	q->directories = NULL;
	q->directory_table = q->inode_table = NULL;
}

static int write_all(struct squash *q, struct tree *t)
{
	int r = number_below(q, t->root);

	if (r)
		return r;
	t->root->inode->number = ++q->n_inodes;
	q->super.inode_count = q->n_inodes;
	q->super.inode_table_start = q->file->get_size(q->file);
	r = write_node(q, t->root);
	if (!r)
		r = sqfs_meta_writer_flush(q->inode_table);
	if (!r)
		r = sqfs_meta_writer_flush(q->directory_table);
	if (r)
		return r;
	q->super.root_inode_ref = t->root->inode->reference;
	q->super.directory_table_start = q->file->get_size(q->file);
	return sqfs_meta_write_write_to_file(q->directory_table);
}

int squash_write_tree(struct squash *q, struct tree *t, struct err *e)
{
	int r = create_writers(q);

	if (!r)
		r = write_all(q, t);
	destroy_writers(q);
	return r < 0 ? squash_failed(q->file, r, "write the layer image's files and names", e) : 0;
}
