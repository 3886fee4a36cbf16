// SPDX-License-Identifier: Apache-2.0
/* Merged layers against what an overlay of them shows: by rule, and (as root) by the kernel. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/image.h"
#include "oci/merge.h"
#include "oci/pull.h"
#include "oci/store.h"

static struct store *store;

static int open_store(void **state)
{
	struct err e = {0};

	(void)state;
	assert_code(store_open(fixture_directory(), &store, &e), 0, &e);
	return 0;
}

static int close_store(void **state)
{
	store_close(store);
	return fixture_clean(state);
}

static struct image *open_image(const char *name, unsigned max_layers)
{
	struct image_open_options o = {.max_layers = max_layers};
	struct err e = {0};
	struct image *img;

	assert_code(image_open(store, fixture_path("oci:", name), &o, &img, &e), 0, &e);
	return img;
}

static void whiteouts_merge(void **state)
{
	struct image *img = open_image("whiteouts", 1);
	char *t = fixture_read_layer(img->layers[0].path);

	(void)state;
	assert_int_equal(img->n_layers, 1);
	assert_string_equal(fixture_line(t, "/"), "/ d 700 0:0 7 0 1700000000");
	assert_string_equal(fixture_line(t, "/a/gone"), "");
	assert_string_equal(fixture_line(t, "/a/stays"), "/a/stays f 644 0:0 1 1 1700000000 #2");
	/* The hard link keeps the file that its other name has lost. */
	assert_string_equal(fixture_line(t, "/a/hard"), "/a/hard f 644 0:0 1 1 1700000000 #7");
	assert_string_equal(fixture_line(t, "/op"), "/op d 755 0:0 2 0 1700000000 user.k=v");
	assert_string_equal(fixture_line(t, "/op/low"), "");
	assert_string_equal(fixture_line(t, "/op/sub"), "");
	assert_string_equal(fixture_line(t, "/op/high"), "/op/high f 644 0:0 1 1 1700000000 #h");
	assert_string_equal(fixture_line(t, "/re/low"), "");
	assert_string_equal(fixture_line(t, "/re/high"), "/re/high f 644 0:0 1 1 1700000000 #h");
	assert_string_equal(fixture_line(t, "/all/x"), "");
	assert_string_equal(fixture_line(t, "/turns/z"), "/turns/z f 644 0:0 1 1 1700000000 #h");
	assert_string_equal(fixture_line(t, "/turned"), "/turned f 644 0:0 1 1 1700000000 #f");
	assert_null(strstr(t, "trusted.overlay"));
	assert_null(strstr(t, " c 0"));
	free(t);
	image_free(img);
}

/* Everything that a layer may hold goes through a merge unharmed. */
static void rich_merge(void **state)
{
	struct image *apart = open_image("rich", 0), *merged = open_image("rich", 1);
	char *low = fixture_read_layer(apart->layers[0].path);
	char *all = fixture_read_layer(merged->layers[0].path);

	(void)state;
	assert_int_equal(apart->n_layers, 3);
	assert_int_equal(merged->n_layers, 1);
	assert_string_not_equal(merged->layers[0].digest, apart->layers[0].digest);
	for (char *line = strtok(low, "\n"); line; line = strtok(NULL, "\n")) {
		char path[8192];

		snprintf(path, sizeof(path), "%.*s", (int)strcspn(line, " "), line);
		if (path[1]) /* the root is the topmost layer's */
			assert_string_equal(fixture_line(all, path), line);
	}
	assert_non_null(strstr(all, "/sparse f 644"));
	free(low);
	free(all);
	image_free(apart);
	image_free(merged);
}

static void check_many(const char *t, unsigned n)
{
	char path[32], line[128];

	for (unsigned k = 0; k < n; k++) {
		snprintf(path, sizeof(path), "/f%u", k);
		assert_int_equal(*fixture_line(t, path) != 0, k + 2 >= n);
		snprintf(path, sizeof(path), "/op/o%u", k);
		snprintf(line, sizeof(line), "/op/o%u f 644 0:0 2 %d 1700000000 user.k=%u #o%u", k,
			k < 10 ? 2 : 3, k, k);
		/* opaque at every tenth layer: only what came since then is there */
		assert_string_equal(fixture_line(t, path), k >= (n - 1) / 10 * 10 ? line : "");
		snprintf(path, sizeof(path), "/op/h%u", k);
		assert_int_equal(*fixture_line(t, path) != 0, k >= (n - 1) / 10 * 10);
	}
	snprintf(line, sizeof(line), "/top f 644 0:0 1 %d %u #%u", n - 1 < 10 ? 1 : 2,
		1700000000 + n - 1, n - 1);
	assert_string_equal(fixture_line(t, "/top"), line);
}

static void thirty_layers(void **state)
{
	struct image *apart = open_image("many", 0), *some = open_image("many", 24),
		     *one = open_image("many", 1), *again = open_image("many", 24);
	char *t;

	(void)state;
	assert_int_equal(apart->n_layers, 30);
	assert_int_equal(some->n_layers, 24);
	t = fixture_read_layer(some->layers[0].path);
	check_many(t, 7);
	free(t);
	for (unsigned i = 1; i < 24; i++)
		assert_string_equal(some->layers[i].path, apart->layers[i + 6].path);
	t = fixture_read_layer(one->layers[0].path);
	check_many(t, 30);
	free(t);
	assert_string_equal(again->layers[0].digest, some->layers[0].digest);
	image_free(apart);
	image_free(some);
	image_free(one);
	image_free(again);
}

/* What the kernel shows of the layers as an overlay is what the merged file holds. */
static void kernel_agrees(void **state)
{
	static const char *const names[] = {"whiteouts", "many", "rich"};
	char command[16384];

	(void)state;
	if (geteuid() || system("sh " OVERLAY_CHECK " --probe >/dev/null 2>&1")) {
		print_message("skipped: mounting squashfs and overlayfs needs root and a kernel "
			      "that has them\n");
		skip();
	}
	for (size_t n = 0; n < ARRAY_LEN(names); n++) {
		struct image *apart = open_image(names[n], 0), *one = open_image(names[n], 1);
		int at = snprintf(
			command, sizeof(command), "sh " OVERLAY_CHECK " %s", one->layers[0].path);

		for (unsigned i = 0; i < apart->n_layers; i++)
			at += snprintf(command + at, sizeof(command) - (size_t)at, " %s",
				apart->layers[i].path);
		assert_int_equal(system(command), 0);
		image_free(apart);
		image_free(one);
	}
}

static void corrupt_input(void **state)
{
	struct image *img = open_image("rich", 0);
	const char *directory = fixture_directory();
	char from[300], to[300];
	uint8_t data[65536];
	struct err e;

	(void)state;
	snprintf(from, sizeof(from), "%s/in", directory);
	snprintf(to, sizeof(to), "%s/out", directory);
	int good = open(img->layers[0].path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(good, data, sizeof(data));

	assert_true(n >= 4096);
	/* Every byte in turn is wrong: an error or a result, never a crash. */
	for (ssize_t i = 0; i < n; i += i < 96 ? 1 : 61) {
		int in = open(from, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		int out = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		int r;

		data[i] ^= 0x41;
		assert_int_equal(write(in, data, (size_t)n), n);
		data[i] ^= 0x41;
		r = merge_layers((const int[]){good, in}, 2, out, 1, NULL, &e);
		assert_true(r == 0 || (r < 0 && e.code == r));
		close(in);
		close(out);
	}
	close(good);
	image_free(img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whiteouts_merge),
		cmocka_unit_test(rich_merge),
		cmocka_unit_test(thirty_layers),
		cmocka_unit_test(kernel_agrees),
		cmocka_unit_test(corrupt_input),
	};

	return cmocka_run_group_tests_name("oci/merge", tests, open_store, close_store);
}
