// SPDX-License-Identifier: Apache-2.0
/* Siblings are an AA tree (A. Andersson, "Balanced Search Trees Made Simple", 1993): strangers
 * choose the names, so neither a hash nor an unbalanced tree would do. */
#include "oci/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK_BYTES = 256 << 10 };

struct tree_chunk {
	struct tree_chunk *next;
	size_t used, room;
	_Alignas(16) uint8_t bytes[];
};

static struct tree_chunk *chunk_new(struct tree *t, size_t bytes)
{
	size_t room = MAX(bytes, (size_t)CHUNK_BYTES);
	struct tree_chunk *c;

	if (bytes > t->ceiling || t->used_bytes > t->ceiling - bytes)
		return NULL;
	c = calloc(1, sizeof(*c) + room);
	if (!c)
		return NULL;
	c->room = room;
	c->next = t->chunks;
	t->chunks = c;
	t->used_bytes += room;
	return c;
}

void *tree_alloc(struct tree *t, size_t bytes, struct err *e)
{
	struct tree_chunk *c = t->chunks;
	void *p;

	bytes = ALIGN_UP(bytes, (size_t)16);
	if (!c || c->room - c->used < bytes)
		c = chunk_new(t, bytes);
	if (!c) {
		err_set(e, -E2BIG, "has too many files to be listed in %zu MiB of memory",
			t->ceiling >> 20);
		err_remedy(e, "make the image of several smaller layers");
		return NULL;
	}
	p = c->bytes + c->used;
	c->used += bytes;
	return p;
}

const char *tree_strdup(struct tree *t, const char *s, struct err *e)
{
	size_t n = strlen(s) + 1;
	char *copy = tree_alloc(t, n, e);

	return copy ? memcpy(copy, s, n) : NULL;
}

struct tree_inode *tree_inode_new(struct tree *t, uint32_t mode, struct err *e)
{
	struct tree_inode *i = tree_alloc(t, sizeof(*i), e);

	if (!i)
		return NULL;
	i->mode = mode;
	i->next = t->inodes;
	t->inodes = i;
	return i;
}

static struct tree_node *node_new(
	struct tree *t, struct tree_node *parent, const char *name, size_t chars, struct err *e)
{
	struct tree_node *n = tree_alloc(t, sizeof(*n) + chars + 1, e);

	if (!n)
		return NULL;
	n->level = 1;
	n->parent = parent;
	memcpy(n->name, name, chars);
	return n;
}

int tree_init(struct tree *t, size_t ceiling, struct err *e)
{
	*t = (struct tree){.ceiling = ceiling};
	t->root = node_new(t, NULL, "", 0, e);
	if (t->root)
		t->root->inode = tree_inode_new(t, S_IFDIR | 0755, e);
	if (t->root && t->root->inode)
		return 0;
	tree_fini(t);
	return -ENOMEM;
}

void tree_fini(struct tree *t)
{
	while (t->chunks) {
		struct tree_chunk *next = t->chunks->next;

		free(t->chunks);
		t->chunks = next;
	}
	*t = (struct tree){0};
}

static void *copy_in(struct tree *t, const void *value, size_t bytes, struct err *e)
{
	void *copy = tree_alloc(t, bytes + 1, e);

	if (copy && bytes)
		memcpy(copy, value, bytes);
	return copy;
}

/* The place of a key among an inode's attributes, which are in order. */
static struct tree_xattr **xattr_place(struct tree_inode *i, const char *key)
{
	struct tree_xattr **at = &i->xattrs;

	while (*at && strcmp((*at)->key, key) < 0)
		at = &(*at)->next;
	return at;
}

int tree_xattr_add(struct tree *t, struct tree_inode *i, const char *key, const void *value,
	size_t bytes, struct err *e)
{
	struct tree_xattr **at = xattr_place(i, key), *x = *at;

	if (!x || strcmp(x->key, key)) {
		x = tree_alloc(t, sizeof(*x), e);
		if (!x)
			return -E2BIG;
		x->key = tree_strdup(t, key, e);
		if (!x->key)
			return -E2BIG;
		x->next = *at;
		*at = x;
	}
	x->value = copy_in(t, value, bytes, e);
	x->bytes = bytes;
	return x->value ? 0 : -E2BIG;
}

struct tree_node *tree_find(const struct tree_node *dir, const char *name)
{
	struct tree_node *at = dir->children;

	while (at) {
		int order = strcmp(name, at->name);

		if (!order)
			return at;
		at = order < 0 ? at->left : at->right;
	}
	return NULL;
}

static struct tree_node *skew(struct tree_node *n)
{
	struct tree_node *left = n->left;

	if (!left || left->level != n->level)
		return n;
	n->left = left->right;
	left->right = n;
	return left;
}

static struct tree_node *split(struct tree_node *n)
{
	struct tree_node *right = n->right;

	if (!right || !right->right || right->right->level != n->level)
		return n;
	n->right = right->left;
	right->left = n;
	right->level++;
	return right;
}

/* The depth of the recursion is at most twice the logarithm of the number of names. */
static struct tree_node *insert(struct tree_node *at, struct tree_node *fresh)
{
	if (!at)
		return fresh;
	if (strcmp(fresh->name, at->name) < 0)
		at->left = insert(at->left, fresh);
	else
		at->right = insert(at->right, fresh);
	return split(skew(at));
}

struct tree_node *tree_child(struct tree *t, struct tree_node *dir, const char *name, struct err *e)
{
	struct tree_node *n = tree_find(dir, name);

	if (n)
		return n;
	n = node_new(t, dir, name, strlen(name), e);
	if (n)
		dir->children = insert(dir->children, n);
	return n;
}

static int each_sibling(
	struct tree_node *n, int (*each)(void *context, struct tree_node *child), void *context)
{
	int r;

	if (!n)
		return 0;
	r = each_sibling(n->left, each, context);
	if (!r && n->inode)
		r = each(context, n);
	return r ? r : each_sibling(n->right, each, context);
}

int tree_each(const struct tree_node *dir, int (*each)(void *context, struct tree_node *child),
	void *context)
{
	return each_sibling(dir->children, each, context);
}

bool tree_is_directory(const struct tree_node *n)
{
	return n->inode && S_ISDIR(n->inode->mode);
}

void tree_clear(struct tree_node *n)
{
	n->inode = NULL;
	n->children = NULL;
	n->is_whiteout = n->is_opaque = false;
}

void tree_set(struct tree_node *n, struct tree_inode *i)
{
	/* A directory made anew where the same layer deletes the name: not merged with the old. */
	bool is_opaque = n->is_opaque || n->is_whiteout;

	if (!S_ISDIR(i->mode) || !tree_is_directory(n))
		n->children = NULL;
	n->inode = i;
	n->is_whiteout = false;
	n->is_opaque = is_opaque && S_ISDIR(i->mode);
}

int tree_white_out(struct tree *t, struct tree_node *n, struct err *e)
{
	if (n->inode && !n->is_whiteout) {
		n->is_opaque = n->is_opaque || tree_is_directory(n);
		return 0;
	}
	n->inode = tree_inode_new(t, S_IFCHR, e);
	n->is_whiteout = n->inode != NULL;
	return n->inode ? 0 : -E2BIG;
}

static int refuse(struct err *e, const char *why)
{
	err_set(e, -EINVAL, "%s", why);
	return err_remedy(
		e, "the layer is malformed or hostile: get the image from its maker again");
}

static int make_directory(struct tree *t, struct tree_node *n, struct err *e)
{
	struct tree_inode *i = tree_inode_new(t, S_IFDIR | 0755, e);

	if (!i)
		return -E2BIG;
	tree_set(n, i);
	return 0;
}

static int enter(struct tree *t, struct tree_node **dir, const char *name, struct err *e)
{
	struct tree_node *n = tree_child(t, *dir, name, e);
	int r = 0;

	if (!n)
		return -E2BIG;
	if (!n->inode || n->is_whiteout)
		r = make_directory(t, n, e);
	else if (S_ISLNK(n->inode->mode))
		r = refuse(e, "leads through a symbolic link of the same layer");
	else if (!tree_is_directory(n))
		r = refuse(e, "leads through something that is not a directory");
	if (!r)
		*dir = n;
	return r;
}

/* The next component of a path, or NULL; "." and empty ones are passed over. */
static char *next_part(char **at)
{
	for (;;) {
		char *part = strsep(at, "/");

		if (!part || (*part && strcmp(part, ".")))
			return part;
	}
}

int tree_walk(
	struct tree *t, char *path, struct tree_node **ret_dir, char **ret_name, struct err *e)
{
	struct tree_node *dir = t->root, *above = NULL;
	char *at = path, *part, *last = NULL;
	int r;

	if (*path == '/')
		return refuse(e, "has an absolute name");
	if (strlen(path) > TREE_PATH_MAX)
		return refuse(e, "has a name that is too long");
	while ((part = next_part(&at))) {
		if (!strcmp(part, ".."))
			return refuse(e, "has a name that leads out of the layer (\"..\")");
		if (strlen(part) > TREE_NAME_MAX)
			return refuse(e, "has a name that is too long");
		r = last ? enter(t, &dir, last, e) : 0;
		if (r < 0)
			return r;
		above = dir;
		last = part;
	}
	*ret_dir = above;
	*ret_name = last;
	return 0;
}
