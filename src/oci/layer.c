// SPDX-License-Identifier: Apache-2.0
/* Layer semantics: OCI image-spec layer.md. */
#include "oci/layer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/alloc.h"
#include "base/str.h"
#include "oci/squash.h"
#include "oci/tarstream.h"
#include "oci/tree.h"

static const char whiteout_prefix[] = ".wh.";
static const char reserved_prefix[] = ".wh..wh."; /* AUFS' own files, and the next: */
static const char opaque_name[] = ".wh..wh..opq";

struct conversion {
	struct tar_stream *tar;
	struct squash *squash;
	struct tree tree;
	uint64_t file_bytes, max_bytes;
};

static int refuse(struct err *e, const char *why)
{
	err_set(e, -EINVAL, "%s", why);
	return err_remedy(
		e, "the layer is malformed or hostile: get the image from its maker again");
}

/* Where an entry belongs. */
struct place {
	char *path; /* owned; name points into it */
	struct tree_node *dir;
	char *name; /* NULL: the root itself */
};

static void place_fini(struct place *p)
{
	free(p->path);
}

/* Inside a directory with a reserved name, there is nothing for us; within any other whiteout
 * name there can be nothing at all. Returns 1 to pass over the entry. */
static int check_reserved(const char *path, struct err *e)
{
	for (const char *part = path; part; part = strchr(part, '/')) {
		part += *part == '/';
		if (!strchr(part, '/'))
			return 0;
		if (str_starts_with(part, reserved_prefix))
			return 1;
		if (str_starts_with(part, whiteout_prefix))
			return refuse(e, "lies within a whiteout");
	}
	return 0;
}

static int find_place(struct conversion *c, const char *path, struct place *ret, struct err *e)
{
	int r;

	if (!path || !*path)
		return refuse(e, "has no name");
	r = check_reserved(path, e);
	if (r)
		return r;
	ret->path = strdup(path);
	if (!ret->path)
		return err_set(e, -ENOMEM, "out of memory");
	return tree_walk(&c->tree, ret->path, &ret->dir, &ret->name, e);
}

static int add_whiteout(struct conversion *c, const struct place *p, struct err *e)
{
	const char *hidden = p->name + strlen(whiteout_prefix);
	struct tree_node *n;

	if (!strcmp(p->name, opaque_name)) {
		p->dir->is_opaque = true;
		return 0;
	}
	if (str_starts_with(p->name, reserved_prefix))
		return 0;
	if (!*hidden || !strcmp(hidden, ".") || !strcmp(hidden, ".."))
		return refuse(e, "is a whiteout of nothing");
	n = tree_child(&c->tree, p->dir, hidden, e);
	return n ? tree_white_out(&c->tree, n, e) : -E2BIG;
}

static uint32_t clamp_time(int64_t seconds)
{
	return (uint32_t)MIN(MAX(seconds, (int64_t)0), (int64_t)UINT32_MAX);
}

static int set_owner(struct tree_inode *i, struct archive_entry *entry, struct err *e)
{
	int64_t uid = archive_entry_uid(entry), gid = archive_entry_gid(entry);

	if (uid < 0 || uid > UINT32_MAX || gid < 0 || gid > UINT32_MAX)
		return refuse(e, "has an owner that is not a 32-bit number");
	i->uid = (uint32_t)uid;
	i->gid = (uint32_t)gid;
	return 0;
}

/* Of the overlay's own attributes only we may speak. */
static bool is_wanted_xattr(const char *key)
{
	return (str_starts_with(key, "user.") || str_starts_with(key, "trusted.") ||
		       str_starts_with(key, "security.")) &&
	       !str_starts_with(key, "trusted.overlay.") &&
	       !str_starts_with(key, "user.overlay.") && strlen(key) <= TREE_NAME_MAX &&
	       key[strcspn(key, ".") + 1];
}

static int add_xattrs(
	struct conversion *c, struct tree_inode *i, struct archive_entry *entry, struct err *e)
{
	const char *key;
	const void *value;
	size_t bytes;
	int r = 0;

	archive_entry_xattr_reset(entry);
	while (!r && archive_entry_xattr_next(entry, &key, &value, &bytes) == ARCHIVE_OK) {
		if (!key || !is_wanted_xattr(key))
			continue;
		if (bytes > TREE_XATTR_MAX)
			return refuse(e, "has an extended attribute of more than 64 KiB");
		r = tree_xattr_add(&c->tree, i, key, value, bytes, e);
	}
	return r;
}

static int set_device(struct tree_inode *i, struct archive_entry *entry, struct err *e)
{
	int64_t high = (int64_t)archive_entry_rdevmajor(entry);
	int64_t low = (int64_t)archive_entry_rdevminor(entry);

	/* Linux: MINORBITS is 20, and 12 bits of major fit squashfs. */
	if (high < 0 || high > 0xfff || low < 0 || low > 0xfffff)
		return refuse(e, "is a device with an impossible number");
	i->major = (uint32_t)high;
	i->minor = (uint32_t)low;
	return 0;
}

static int set_target(
	struct conversion *c, struct tree_inode *i, struct archive_entry *entry, struct err *e)
{
	const char *target = archive_entry_symlink(entry);

	if (!target || !*target)
		return refuse(e, "is a symbolic link to nothing");
	if (strlen(target) > TREE_TARGET_MAX)
		return refuse(e, "is a symbolic link with a target that is too long");
	i->target = tree_strdup(&c->tree, target, e);
	return i->target ? 0 : -E2BIG;
}

static int grow_files(struct conversion *c, uint64_t bytes, struct err *e)
{
	if (bytes <= c->max_bytes - c->file_bytes) {
		c->file_bytes += bytes;
		return 0;
	}
	err_set(e, -EFBIG, "unpacks to more than the %llu MiB allowed",
		(unsigned long long)(c->max_bytes >> 20));
	return err_remedy(e, "raise the limit if you trust the image");
}

static int append_zeros(struct conversion *c, uint64_t bytes, struct err *e)
{
	static const uint8_t zeros[SQUASH_BLOCK_BYTES];
	int r = grow_files(c, bytes, e);

	while (!r && bytes) {
		size_t n = (size_t)MIN(bytes, (uint64_t)sizeof(zeros));

		r = squash_append(c->squash, zeros, n, e);
		bytes -= n;
	}
	return r;
}

static int copy_pieces(struct conversion *c, uint64_t size, struct err *e)
{
	uint64_t at = 0, offset;
	const void *data;
	size_t bytes;
	int r = 0;

	while (at < size && (r = tar_stream_data(c->tar, &data, &bytes, &offset, e)) > 0) {
		if (offset < at || offset > size || bytes > size - offset)
			return refuse(e, "has content that does not fit its size");
		r = append_zeros(c, offset - at, e);
		if (!r)
			r = grow_files(c, bytes, e);
		if (!r && bytes)
			r = squash_append(c->squash, data, bytes, e);
		if (r < 0)
			return r;
		at = offset + bytes;
	}
	return r < 0 ? r : append_zeros(c, size - at, e);
}

static int copy_content(
	struct conversion *c, struct tree_inode *i, struct archive_entry *entry, struct err *e)
{
	int64_t size = archive_entry_size(entry);
	int r;

	if (size < 0)
		return refuse(e, "has a negative size");
	if (!size)
		return 0;
	r = squash_begin_file(c->squash, i, e);
	if (r < 0)
		return r;
	r = copy_pieces(c, (uint64_t)size, e);
	return r < 0 ? r : squash_end_file(c->squash, e);
}

static int fill_by_type(
	struct conversion *c, struct tree_inode *i, struct archive_entry *entry, struct err *e)
{
	switch (i->mode & S_IFMT) {
	case S_IFREG:
		return copy_content(c, i, entry, e);
	case S_IFLNK:
		return set_target(c, i, entry, e);
	case S_IFCHR:
	case S_IFBLK:
		return set_device(i, entry, e);
	case S_IFDIR:
	case S_IFIFO:
		return 0;
	default:
		return refuse(e, "is of a type that does not exist");
	}
}

static int make_inode(
	struct conversion *c, struct archive_entry *entry, struct tree_inode **ret, struct err *e)
{
	uint32_t mode = (uint32_t)archive_entry_filetype(entry) | archive_entry_perm(entry);
	struct tree_inode *i = tree_inode_new(&c->tree, mode, e);
	int r;

	if (!i)
		return -E2BIG;
	if (S_ISLNK(mode))
		i->mode = S_IFLNK | 0777; /* as Linux has it, whatever the archive says */
	i->mtime = clamp_time(archive_entry_mtime(entry));
	r = set_owner(i, entry, e);
	if (!r)
		r = add_xattrs(c, i, entry, e);
	if (!r)
		r = fill_by_type(c, i, entry, e);
	*ret = i;
	return r;
}

static int add_entry(
	struct conversion *c, const struct place *p, struct archive_entry *entry, struct err *e)
{
	struct tree_inode *i;
	struct tree_node *n;
	int r = make_inode(c, entry, &i, e);

	if (r < 0)
		return r;
	if (!p->name && !S_ISDIR(i->mode))
		return refuse(e, "replaces the root by something that is not a directory");
	n = p->name ? tree_child(&c->tree, p->dir, p->name, e) : c->tree.root;
	if (!n)
		return -E2BIG;
	tree_set(n, i);
	return 0;
}

/* A further name for a file that this layer already has. */
static int add_link(struct conversion *c, const struct place *p, const char *target, struct err *e)
{
	struct place to = {0};
	struct tree_node *n, *named = NULL;
	int r = find_place(c, target, &to, e);

	if (!r && to.name)
		named = tree_find(to.dir, to.name);
	place_fini(&to);
	if (r < 0)
		return err_ctx(e, "is a hard link to %.100s, which", target);
	if (!named || !named->inode || named->is_whiteout) {
		refuse(e, "no such file comes before it in this layer");
		return err_ctx(e, "is a hard link to %.100s", target);
	}
	if (tree_is_directory(named))
		return refuse(e, "is a hard link to a directory");
	if (!p->name)
		return refuse(e, "replaces the root by something that is not a directory");
	n = tree_child(&c->tree, p->dir, p->name, e);
	if (!n)
		return -E2BIG;
	tree_set(n, named->inode);
	return 0;
}

static int place_entry(
	struct conversion *c, const struct place *p, struct archive_entry *entry, struct err *e)
{
	const char *target = archive_entry_hardlink(entry);

	if (p->name && str_starts_with(p->name, whiteout_prefix))
		return add_whiteout(c, p, e);
	if (target)
		return add_link(c, p, target, e);
	return add_entry(c, p, entry, e);
}

static int take_entry(struct conversion *c, struct archive_entry *entry, struct err *e)
{
	const char *path = archive_entry_pathname(entry);
	struct place p = {0};
	int r = find_place(c, path, &p, e);

	if (!r)
		r = place_entry(c, &p, entry, e);
	place_fini(&p);
	if (r < 0)
		return err_ctx(e, "entry \"%.120s\"", path ? path : "");
	return 0;
}

static int take_entries(struct conversion *c, struct err *e)
{
	struct archive_entry *entry;
	int r;

	while ((r = tar_stream_next(c->tar, &entry, e)) > 0) {
		r = take_entry(c, entry, e);
		if (r < 0)
			return r;
	}
	return r;
}

static int check_diff_id(struct conversion *c, const struct digest *wanted, struct err *e)
{
	char text[DIGEST_TEXT_BYTES];
	struct digest got;
	int r = tar_stream_diff_id(c->tar, &got, e);

	if (r < 0 || digest_equal(&got, wanted))
		return r;
	digest_format(wanted, text);
	err_set(e, -EBADMSG, "unpacks to something else than its diff ID %s", text);
	return err_remedy(e, "the image contradicts itself: get it from its maker again");
}

static int convert(struct conversion *c, const struct layer_request *q, struct blob *blob, int fd,
	struct err *e)
{
	int r = tree_init(&c->tree, LAYER_METADATA_BYTES_MAX, e);

	if (!r)
		r = squash_open(fd, q->n_workers, &c->squash, e);
	if (!r)
		r = tar_stream_open(blob, c->max_bytes, &c->tar, e);
	if (!r)
		r = take_entries(c, e);
	if (!r)
		r = check_diff_id(c, q->diff_id, e);
	return r < 0 ? r : squash_finish(c->squash, &c->tree, e);
}

/* Whether an error is the blob's fault: then the first question is whether it is the right blob. */
static bool may_be_corruption(int code)
{
	return code == -EBADMSG || code == -EINVAL || code == -EFBIG || code == -E2BIG;
}

/* What went wrong, or that the blob is not the one it should be, which explains all else. */
static int settle(struct blob *blob, int r, struct err *e)
{
	struct err why = {0};
	int verified;

	if (r && !may_be_corruption(r))
		return r;
	verified = blob_verify(blob, &why);
	if (!verified || (r && verified != -EBADMSG))
		return r;
	*e = why;
	return verified;
}

int layer_convert(const struct layer_request *q, int fd, struct err *e)
{
	struct conversion c = {.max_bytes = q->max_bytes ? q->max_bytes : LAYER_BYTES_MAX};
	struct err first = {0};
	struct blob blob;
	int r = blob_open(&blob, q->source, &q->blob, q->watch, e);

	if (r < 0)
		return r;
	r = convert(&c, q, &blob, fd, &first);
	tar_stream_close(c.tar);
	squash_close(c.squash);
	tree_fini(&c.tree);
	r = settle(&blob, r, &first);
	blob_close(&blob);
	if (r < 0 && e)
		*e = first;
	return r;
}
