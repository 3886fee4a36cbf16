// SPDX-License-Identifier: Apache-2.0
/*
 * A file tree in memory, as one layer or several merged ones describe it: names, metadata and
 * where each file's data already is, never the data. It carries the rules of layers: the last
 * entry of a name wins, whiteouts, opaque directories. Knows neither tar nor squashfs.
 *
 * All memory comes from one arena with a ceiling, because the names come from strangers.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

enum {
	TREE_PATH_MAX = 4095,	/* Linux PATH_MAX without its NUL; also bounds all recursion */
	TREE_NAME_MAX = 255,	/* NAME_MAX */
	TREE_TARGET_MAX = 4095, /* a symbolic link is at most a page in squashfs */
	TREE_XATTR_MAX = 65536, /* XATTR_SIZE_MAX */
};

struct tree_xattr {
	struct tree_xattr *next;
	const char *key;
	const void *value;
	size_t bytes;
};

/* A file, whatever its kind; several names may share it. */
struct tree_inode {
	struct tree_inode *next; /* all inodes of the tree */
	uint32_t mode;		 /* type and permissions as in struct stat */
	uint32_t uid, gid;
	uint32_t mtime; /* seconds since 1970; squashfs has 32 bits, unsigned */
	uint32_t major, minor;
	const char *target; /* symbolic links */
	struct tree_xattr *xattrs;
	void *data;	    /* regular files: the writer's, it says where the data went */
	const void *origin; /* when merging: where the data is to be read */
	unsigned origin_layer;
	/* For the writer, at the end: */
	uint32_t n_links;
	uint32_t number; /* 0: not numbered yet */
	uint64_t reference;
	bool is_written;
};

struct tree_node {
	struct tree_node *left, *right; /* among its siblings, by name */
	unsigned level;
	struct tree_node *parent;
	struct tree_node *children; /* root of theirs */
	struct tree_inode *inode;   /* NULL: the name is not there (any more) */
	bool is_whiteout;	    /* inode is a whiteout: it hides the name in lower layers */
	bool is_opaque;		    /* a directory that hides the lower layers' whole content */
	char name[];
};

struct tree_chunk;

struct tree {
	struct tree_chunk *chunks;
	size_t used_bytes, ceiling;
	struct tree_inode *inodes;
	struct tree_node *root; /* a directory, 0755, root's, until an entry says otherwise */
};

int tree_init(struct tree *t, size_t ceiling, struct err *e) MUST_CHECK;
void tree_fini(struct tree *t);

/* From the arena: zeroed, NULL with e set when the ceiling or memory is reached. */
void *tree_alloc(struct tree *t, size_t bytes, struct err *e);
const char *tree_strdup(struct tree *t, const char *s, struct err *e);
struct tree_inode *tree_inode_new(struct tree *t, uint32_t mode, struct err *e);

/* Adds an extended attribute; one of the same key is replaced. */
int tree_xattr_add(struct tree *t, struct tree_inode *i, const char *key, const void *value,
	size_t bytes, struct err *e) MUST_CHECK;

/* A child by name, or NULL. It may be absent (inode NULL) or a whiteout. */
struct tree_node *tree_find(const struct tree_node *dir, const char *name);

/* A child by name; made, still absent, when there is none. NULL with e set. */
struct tree_node *tree_child(
	struct tree *t, struct tree_node *dir, const char *name, struct err *e);

/* Calls `each` for all children that are there, whiteouts included, in order of their names. */
int tree_each(const struct tree_node *dir, int (*each)(void *context, struct tree_node *child),
	void *context);

/* A path of a layer: walks to the directory of its last name, making missing directories, and
 * gives the name's place in *ret_name (inside `path`, which is cut up). The root itself: *ret_dir
 * NULL. Refused with -EINVAL: "..", absolute, too long, and what leads through a link or a file. */
int tree_walk(struct tree *t, char *path, struct tree_node **ret_dir, char **ret_name,
	struct err *e) MUST_CHECK;

/* Gives the name to an inode: the last one wins, except that directories add up. */
void tree_set(struct tree_node *n, struct tree_inode *i);

/* The name is hidden in the layers below, and what this layer says of it stays. */
int tree_white_out(struct tree *t, struct tree_node *n, struct err *e) MUST_CHECK;

/* The name is not there any more. */
void tree_clear(struct tree_node *n);

bool tree_is_directory(const struct tree_node *n);
