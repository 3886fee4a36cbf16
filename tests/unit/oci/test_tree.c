// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/tree.h"

static int walk(struct tree *t, const char *path, struct tree_node **dir, struct err *e)
{
	static char copy[20000];
	char *name;
	int r;

	snprintf(copy, sizeof(copy), "%s", path);
	r = tree_walk(t, copy, dir, &name, e);
	if (!r && name) {
		struct tree_node *n = tree_child(t, *dir, name, e);

		assert_non_null(n);
		*dir = n;
	}
	return r;
}

static void add(struct tree *t, const char *path, uint32_t mode)
{
	struct tree_node *n;
	struct err e = {0};

	assert_code(walk(t, path, &n, &e), 0, &e);
	tree_set(n, tree_inode_new(t, mode, &e));
}

static void refused(struct tree *t, const char *path, const char *says)
{
	struct tree_node *n;
	struct err e = {0};

	assert_code(walk(t, path, &n, &e), -EINVAL, &e);
	assert_says(&e, says);
}

static void paths(void **state)
{
	char longer[6000];
	struct tree_node *dir;
	struct err e = {0};
	struct tree t;

	(void)state;
	assert_int_equal(tree_init(&t, 1 << 20, &e), 0);
	assert_code(walk(&t, ".", &dir, &e), 0, &e);
	assert_null(dir);
	assert_code(walk(&t, "./", &dir, &e), 0, &e);
	assert_null(dir);
	add(&t, "./a//b/./c", S_IFREG | 0644);
	assert_true(tree_is_directory(tree_find(t.root, "a")));
	add(&t, "s", S_IFLNK | 0777);
	add(&t, "f", S_IFREG);
	refused(&t, "..", "leads out");
	refused(&t, "a/..", "leads out");
	refused(&t, "a/../b", "leads out");
	refused(&t, "/a", "absolute");
	refused(&t, "s/x", "symbolic link");
	refused(&t, "a/b/c/d", "not a directory");
	refused(&t, "f/x/y", "not a directory");
	memset(longer, 'n', 256);
	longer[256] = '\0';
	refused(&t, longer, "too long");
	for (size_t i = 0; i < sizeof(longer) - 1; i++)
		longer[i] = i % 2 ? '/' : 'p';
	longer[sizeof(longer) - 1] = '\0';
	refused(&t, longer, "too long");
	tree_fini(&t);
}

static int join(void *context, struct tree_node *n)
{
	strcat(context, n->name);
	return 0;
}

static void order_and_last_wins(void **state)
{
	static const char *const names[] = {"m", "b", "z", "a", "y", "c", "x", "d"};
	char seen[64] = "";
	struct err e = {0};
	struct tree t;

	(void)state;
	assert_int_equal(tree_init(&t, 1 << 20, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		add(&t, names[i], S_IFREG);
	tree_each(t.root, join, seen);
	assert_string_equal(seen, "abcdmxyz");
	tree_clear(tree_find(t.root, "m"));
	seen[0] = '\0';
	tree_each(t.root, join, seen);
	assert_string_equal(seen, "abcdxyz");
	add(&t, "m/q", S_IFREG);
	add(&t, "m", S_IFDIR | 0700);
	assert_non_null(tree_find(tree_find(t.root, "m"), "q"));
	add(&t, "m", S_IFREG);
	assert_null(tree_find(tree_find(t.root, "m"), "q"));
	tree_fini(&t);
}

static void whiteouts(void **state)
{
	struct err e = {0};
	struct tree_node *n;
	struct tree t;

	(void)state;
	assert_int_equal(tree_init(&t, 1 << 20, &e), 0);
	n = tree_child(&t, t.root, "x", &e);
	assert_int_equal(tree_white_out(&t, n, &e), 0);
	assert_true(n->is_whiteout);
	add(&t, "x", S_IFREG); /* made anew: hides what is below by itself */
	assert_false(n->is_whiteout || n->is_opaque);
	add(&t, "d/e", S_IFREG);
	n = tree_find(t.root, "d");
	assert_int_equal(tree_white_out(&t, n, &e), 0);
	assert_true(n->is_opaque && !n->is_whiteout);
	n = tree_child(&t, t.root, "g", &e);
	assert_int_equal(tree_white_out(&t, n, &e), 0);
	add(&t, "g/h", S_IFREG); /* a directory that nobody described */
	assert_true(n->is_opaque && tree_is_directory(n));
	tree_fini(&t);
}

/* Sorted names are the worst case of a naive tree; this one must take no time and stay shallow. */
static unsigned depth(const struct tree_node *n)
{
	return n ? 1 + MAX(depth(n->left), depth(n->right)) : 0;
}

static void many_names(void **state)
{
	struct err e = {0};
	char name[16];
	struct tree t;

	(void)state;
	assert_int_equal(tree_init(&t, 64 << 20, &e), 0);
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "%08u", i);
		assert_non_null(tree_child(&t, t.root, name, &e));
	}
	assert_in_range(depth(t.root->children), 16, 34);
	assert_non_null(tree_find(t.root, "00077777"));
	tree_fini(&t);
}

static void ceiling(void **state)
{
	struct err e = {0};
	struct tree t;
	unsigned n = 0;
	char name[16];

	(void)state;
	assert_int_equal(tree_init(&t, 1 << 20, &e), 0);
	do
		snprintf(name, sizeof(name), "%u", n);
	while (n++ < 1000000 && tree_child(&t, t.root, name, &e));
	assert_in_range(n, 5000, 20000);
	assert_says(&e, "too many files");
	tree_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths),
		cmocka_unit_test(order_and_last_wins),
		cmocka_unit_test(whiteouts),
		cmocka_unit_test(many_names),
		cmocka_unit_test(ceiling),
	};

	return cmocka_run_group_tests_name("oci/tree", tests, NULL, NULL);
}
