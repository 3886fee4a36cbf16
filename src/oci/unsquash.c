// SPDX-License-Identifier: Apache-2.0
#include "oci/unsquash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <sqfs/compressor.h>
#include <sqfs/data_reader.h>
#include <sqfs/error.h>
#include <sqfs/id_table.h>
#include <sqfs/io.h>
#include <sqfs/xattr.h>
#include <sqfs/xattr_reader.h>

#include "oci/layer.h"
#include "oci/squash.h"

enum { NO_XATTRS = 0xffffffffu };

static int failed(const struct unsquash *u, int code, struct err *e)
{
	return squash_failed(u->file, code, "read the layer image", e);
}

static int create_readers(struct unsquash *u)
{
	u->ids = sqfs_id_table_create(0);
	u->directories = sqfs_dir_reader_create(&u->super, u->uncompress, u->file, 0);
	u->data = sqfs_data_reader_create(u->file, u->super.block_size, u->uncompress, 0);
	u->xattrs = sqfs_xattr_reader_create(0);
	return u->ids && u->directories && u->data && u->xattrs ? 0 : SQFS_ERROR_ALLOC;
}

/* Numbers that size memory, here and in libsquashfs: no layer of ours can have more inodes, nor any
 * file more fragment blocks than bytes. */
static int check_counts(const struct unsquash *u)
{
	const uint64_t n_inodes_max = LAYER_METADATA_BYTES_MAX / sizeof(struct tree_inode);

	if (u->super.inode_count > n_inodes_max ||
		u->super.fragment_entry_count > u->file->get_size(u->file))
		return SQFS_ERROR_CORRUPTED;
	return 0;
}

static int load_all(struct unsquash *u)
{
	sqfs_compressor_config_t config;
	int r = sqfs_super_read(&u->super, u->file);

	if (!r)
		r = check_counts(u);
	if (!r)
		r = sqfs_compressor_config_init(&config, (SQFS_COMPRESSOR)u->super.compression_id,
			u->super.block_size, SQFS_COMP_FLAG_UNCOMPRESS);
	if (!r)
		r = sqfs_compressor_create(&config, &u->uncompress);
	if (!r)
		r = create_readers(u);
	if (!r)
		r = sqfs_id_table_read(u->ids, u->file, &u->super, u->uncompress);
	if (!r)
		r = sqfs_data_reader_load_fragment_table(u->data, &u->super);
	if (!r && !(u->super.flags & SQFS_FLAG_NO_XATTRS))
		r = sqfs_xattr_reader_load(u->xattrs, &u->super, u->file, u->uncompress);
	return r;
}

int unsquash_open(struct unsquash *u, int fd, struct err *e)
{
	int r;

	*u = (struct unsquash){.fd = fd, .file = squash_file_new(fd)};
	r = u->file ? load_all(u) : SQFS_ERROR_ALLOC;
	if (!r)
		return 0;
	r = failed(u, r, e);
	unsquash_close(u);
	return r;
}

void unsquash_close(struct unsquash *u)
{
	sqfs_destroy(u->xattrs);
	sqfs_destroy(u->data);
	sqfs_destroy(u->directories);
	sqfs_destroy(u->ids);
	sqfs_destroy(u->uncompress);
	sqfs_destroy(u->file);
	*u = (struct unsquash){.fd = -1};
}

int unsquash_names(struct unsquash *u, sqfs_tree_node_t **ret, struct err *e)
{
	int r = sqfs_dir_reader_get_full_hierarchy(u->directories, u->ids, NULL, 0, ret);

	return r < 0 ? failed(u, r, e) : 0;
}

struct pair_visit {
	int (*each)(void *context, const char *key, const void *value, size_t bytes);
	void *context;
	int result; /* what `each` said last */
};

/* libsquashfs puts the name space in front of the key already. */
static int visit_pair(struct unsquash *u, struct pair_visit *v)
{
	char key[TREE_NAME_MAX + 16];
	sqfs_xattr_entry_t *k;
	sqfs_xattr_value_t *value;
	int r = sqfs_xattr_reader_read_key(u->xattrs, &k);

	if (r < 0)
		return r;
	r = sqfs_xattr_reader_read_value(u->xattrs, k, &value);
	if (!r) {
		snprintf(key, sizeof(key), "%s", (const char *)k->key);
		v->result = v->each(v->context, key, value->value, value->size);
		sqfs_free(value);
	}
	sqfs_free(k);
	return r;
}

int unsquash_xattrs(struct unsquash *u, const sqfs_inode_generic_t *i,
	int (*each)(void *context, const char *key, const void *value, size_t bytes), void *context,
	struct err *e)
{
	struct pair_visit v = {.each = each, .context = context};
	sqfs_xattr_id_t where;
	sqfs_u32 index;
	int r = sqfs_inode_get_xattr_index(i, &index);

	if (!r && index == NO_XATTRS)
		return 0;
	if (!r)
		r = sqfs_xattr_reader_get_desc(u->xattrs, index, &where);
	if (!r)
		r = sqfs_xattr_reader_seek_kv(u->xattrs, &where);
	for (sqfs_u32 n = 0; !r && !v.result && n < where.count; n++)
		r = visit_pair(u, &v);
	return r < 0 ? failed(u, r, e) : v.result;
}

int unsquash_read(struct unsquash *u, const sqfs_inode_generic_t *i, uint64_t offset, void *data,
	size_t bytes, struct err *e)
{
	sqfs_s32 n = sqfs_data_reader_read(u->data, i, offset, data, (sqfs_u32)bytes);

	if (n < 0)
		return failed(u, n, e);
	return (size_t)n == bytes ? 0 : failed(u, SQFS_ERROR_CORRUPTED, e);
}

static int is_opaque_pair(void *context, const char *key, const void *value, size_t bytes)
{
	bool *is_opaque = context;

	if (!strcmp(key, "trusted.overlay.opaque") && bytes == 1 && *(const char *)value == 'y')
		*is_opaque = true;
	return 0;
}

int unsquash_is_root_opaque(int fd, struct err *e)
{
	sqfs_inode_generic_t *root;
	bool is_opaque = false;
	struct unsquash u;
	int r = unsquash_open(&u, fd, e);

	if (r < 0)
		return r;
	r = sqfs_dir_reader_get_root_inode(u.directories, &root);
	if (r < 0) {
		r = failed(&u, r, e);
	} else {
		r = unsquash_xattrs(&u, root, is_opaque_pair, &is_opaque, e);
		sqfs_free(root);
	}
	unsquash_close(&u);
	return r < 0 ? r : is_opaque;
}
