// SPDX-License-Identifier: Apache-2.0
/*
 * First the names of all layers are laid over each other, then the data of the files that are
 * still there is copied. The inputs are our own files, but read with the care due to a stranger's.
 */
#include "oci/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/layer.h"
#include "oci/squash.h"
#include "oci/unsquash.h"

struct input {
	struct unsquash reader;
	bool is_open;
	sqfs_tree_node_t *names;
	struct tree_inode **inodes; /* by number: names that share a file keep sharing it */
};

struct merge {
	struct tree tree;
	struct squash *squash;
	struct merge_watch *watch;
	struct input *inputs;
	unsigned n_inputs;
	uint64_t done_bytes;
	uint8_t block[SQUASH_BLOCK_BYTES];
	struct err *e;
};

struct xattr_copy {
	struct merge *m;
	struct tree_inode *to;
	bool is_opaque;
};

static int copy_xattr(void *context, const char *key, const void *value, size_t bytes)
{
	struct xattr_copy *x = context;

	if (strcmp(key, "trusted.overlay.opaque"))
		return tree_xattr_add(&x->m->tree, x->to, key, value, bytes, x->m->e);
	x->is_opaque = true;
	return 0;
}

/* Linux new_decode_dev (include/linux/kdev_t.h). */
static void set_device(struct tree_inode *i, uint32_t number)
{
	i->major = (number & 0xfff00) >> 8;
	i->minor = (number & 0xff) | (number >> 12 & 0xfff00);
}

static uint32_t device_number(const sqfs_inode_generic_t *from)
{
	/* The basic and the extended form begin alike. */
	return from->data.dev.devno;
}

static int set_target(struct merge *m, struct tree_inode *i, const sqfs_inode_generic_t *from)
{
	size_t n = from->data.slink.target_size; /* both forms begin alike */
	char *target = n <= TREE_TARGET_MAX ? tree_alloc(&m->tree, n + 1, m->e) : NULL;

	if (!target)
		return -E2BIG;
	memcpy(target, from->extra, n);
	i->target = target;
	return 0;
}

static int new_inode(struct merge *m, unsigned layer, const sqfs_tree_node_t *from,
	struct tree_inode **ret, bool *ret_is_opaque)
{
	const sqfs_inode_generic_t *inode = from->inode;
	struct tree_inode *i = tree_inode_new(&m->tree, inode->base.mode, m->e);
	struct xattr_copy x = {.m = m, .to = i};
	int r = 0;

	if (!i)
		return -E2BIG;
	i->uid = from->uid;
	i->gid = from->gid;
	i->mtime = inode->base.mod_time;
	i->origin = inode;
	i->origin_layer = layer;
	if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
		set_device(i, device_number(inode));
	if (S_ISLNK(i->mode))
		r = set_target(m, i, inode);
	if (!r)
		r = unsquash_xattrs(&m->inputs[layer].reader, inode, copy_xattr, &x, m->e);
	*ret = i;
	*ret_is_opaque = x.is_opaque;
	return r;
}

/* The one inode of a file, however many names it has in its layer. */
static int inode_of(struct merge *m, unsigned layer, const sqfs_tree_node_t *from,
	struct tree_inode **ret, bool *ret_is_opaque)
{
	struct input *in = &m->inputs[layer];
	uint32_t number = from->inode->base.inode_number;
	int r;

	*ret_is_opaque = false;
	if (!number || number > in->reader.super.inode_count)
		return err_set(m->e, -EBADMSG, "the layer image is corrupt: inode %u", number);
	if (!S_ISDIR(from->inode->base.mode) && in->inodes[number]) {
		*ret = in->inodes[number];
		return 0;
	}
	r = new_inode(m, layer, from, ret, ret_is_opaque);
	if (!r)
		in->inodes[number] = *ret;
	return r;
}

static bool is_whiteout(const sqfs_tree_node_t *n)
{
	return S_ISCHR(n->inode->base.mode) && !device_number(n->inode);
}

static int lay_over(struct merge *m, unsigned layer, struct tree_node *dir, sqfs_tree_node_t *from);

static int lay_one(struct merge *m, unsigned layer, struct tree_node *dir, sqfs_tree_node_t *from)
{
	struct tree_node *to = tree_child(&m->tree, dir, (const char *)from->name, m->e);
	struct tree_inode *i;
	bool is_opaque;
	int r;

	if (!to)
		return -E2BIG;
	if (is_whiteout(from)) {
		tree_clear(to);
		return 0;
	}
	r = inode_of(m, layer, from, &i, &is_opaque);
	if (r < 0)
		return r;
	if (is_opaque)
		tree_clear(to);
	tree_set(to, i);
	return S_ISDIR(i->mode) ? lay_over(m, layer, to, from) : 0;
}

static int lay_over(struct merge *m, unsigned layer, struct tree_node *dir, sqfs_tree_node_t *from)
{
	int r = 0;

	for (sqfs_tree_node_t *n = from->children; !r && n; n = n->next)
		r = lay_one(m, layer, dir, n);
	return r;
}

static int open_input(struct merge *m, unsigned layer, int fd)
{
	struct input *in = &m->inputs[layer];
	int r = unsquash_open(&in->reader, fd, m->e);

	if (r < 0)
		return r;
	in->is_open = true;
	in->inodes = calloc((size_t)in->reader.super.inode_count + 1, sizeof(struct tree_inode *));
	if (!in->inodes)
		return err_set(m->e, -ENOMEM, "out of memory");
	return unsquash_names(&in->reader, &in->names, m->e);
}

static int add_layer(struct merge *m, unsigned layer, int fd)
{
	struct tree_inode *root;
	bool is_opaque;
	int r = open_input(m, layer, fd);

	if (!r)
		r = inode_of(m, layer, m->inputs[layer].names, &root, &is_opaque);
	if (r < 0)
		return r;
	if (is_opaque)
		tree_clear(m->tree.root);
	tree_set(m->tree.root, root);
	return lay_over(m, layer, m->tree.root, m->inputs[layer].names);
}

static int copy_data(struct merge *m, struct tree_inode *i, uint64_t size)
{
	struct unsquash *from = &m->inputs[i->origin_layer].reader;

	for (uint64_t at = 0; at < size;) {
		size_t n = (size_t)MIN(size - at, (uint64_t)sizeof(m->block));
		int r = unsquash_read(from, i->origin, at, m->block, n, m->e);

		if (!r)
			r = squash_append(m->squash, m->block, n, m->e);
		if (r < 0)
			return r;
		at += n;
		m->done_bytes += n;
		if (m->watch && m->watch->advanced(m->watch, m->done_bytes))
			return err_set(m->e, -ECANCELED, "was given up");
	}
	return 0;
}

static int copy_file(void *context, struct tree_node *n)
{
	struct merge *m = context;
	struct tree_inode *i = n->inode;
	uint64_t size;
	int r;

	if (S_ISDIR(i->mode))
		return tree_each(n, copy_file, m);
	if (!S_ISREG(i->mode) || i->data)
		return 0;
	r = sqfs_inode_get_file_size(i->origin, &size);
	if (r < 0)
		return err_set(m->e, -EBADMSG, "the layer image is corrupt");
	if (!size)
		return 0;
	r = squash_begin_file(m->squash, i, m->e);
	if (!r)
		r = copy_data(m, i, size);
	return r < 0 ? r : squash_end_file(m->squash, m->e);
}

static int run(struct merge *m, const int *layers, int fd, unsigned n_workers)
{
	int r = tree_init(&m->tree, LAYER_METADATA_BYTES_MAX, m->e);

	for (unsigned i = 0; !r && i < m->n_inputs; i++)
		r = add_layer(m, i, layers[i]);
	if (!r)
		r = squash_open(fd, n_workers, &m->squash, m->e);
	if (!r)
		r = tree_each(m->tree.root, copy_file, m);
	return r < 0 ? r : squash_finish(m->squash, &m->tree, m->e);
}

static void merge_free(struct merge *m)
{
	squash_close(m->squash);
	tree_fini(&m->tree);
	for (unsigned i = 0; i < m->n_inputs; i++) {
		if (m->inputs[i].names)
			sqfs_dir_tree_destroy(m->inputs[i].names);
		free(m->inputs[i].inodes);
		if (m->inputs[i].is_open)
			unsquash_close(&m->inputs[i].reader);
	}
	free(m->inputs);
	free(m);
}

int merge_layers(const int *layers, unsigned n, int fd, unsigned n_workers, struct merge_watch *w,
	struct err *e)
{
	struct merge *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return err_set(e, -ENOMEM, "out of memory");
	m->watch = w;
	m->e = e;
	m->inputs = calloc(n, sizeof(*m->inputs));
	if (!m->inputs) {
		free(m);
		return err_set(e, -ENOMEM, "out of memory");
	}
	m->n_inputs = n;
	r = run(m, layers, fd, n_workers);
	merge_free(m);
	return r;
}
