// SPDX-License-Identifier: Apache-2.0
/* image_open from end to end, with the real helper program ($SUPERMACHINE_PULL). */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "oci/image.h"
#include "oci/store.h"

static struct store *store; /* a fresh one for each test */

static int fresh_store(void **state)
{
	struct err e = {0};

	(void)state;
	assert_code(store_open(fixture_directory(), &store, &e), 0, &e);
	return 0;
}

static int drop_store(void **state)
{
	(void)state;
	store_close(store);
	return 0;
}

static unsigned count_in(const char *directory)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", store_path(store), directory);
	return fixture_count_files(path);
}

static struct image *open_with(const char *reference, const struct image_open_options *o)
{
	struct err e = {0};
	struct image *img;

	assert_code(image_open(store, reference, o, &img, &e), 0, &e);
	assert_int_equal(count_in("tmp"), 0);
	return img;
}

static void all_forms(void **state)
{
	const char *const forms[] = {fixture_path("oci:", "rich"), fixture_path("oci:", "rich:1.0"),
		fixture_path("", "rich"), fixture_path("oci-archive:", "rich.tar"),
		fixture_path("oci-archive:", "rich.tar.gz:1.0"), fixture_path("", "rich.tar.zst"),
		fixture_path("oci-archive:", "rich-gnu.tar")};
	struct image *first = open_with(forms[0], NULL);

	(void)state;
	assert_int_equal(first->n_layers, 3);
	for (size_t i = 1; i < ARRAY_LEN(forms); i++) {
		struct image *img = open_with(forms[i], NULL);

		assert_string_equal(img->manifest_digest, first->manifest_digest);
		assert_string_equal(img->layers[2].path, first->layers[2].path);
		image_free(img);
	}
	assert_int_equal(count_in("layers"), 3);
	assert_int_equal(count_in("images"), 1);
	assert_int_equal(count_in("names"), 6); /* the bare directory is the first again */
	image_free(first);
}

static void configuration(void **state)
{
	struct image *img = open_with(fixture_path("oci:", "rich"), NULL);

	(void)state;
	assert_string_equal(img->os, "linux");
	assert_true(img->architecture[0] != 0);
	assert_true(img->bytes >= 3 * 4096);
	assert_int_equal(img->config.env.n, 2);
	assert_string_equal(img->config.env.items[1], "A=b=c");
	assert_string_equal(img->config.cmd.items[1], "hi");
	assert_string_equal(img->config.entrypoint.items[0], "/bin/sh");
	assert_string_equal(img->config.working_dir, "/home");
	assert_string_equal(img->config.user, "1000:1000");
	assert_string_equal(img->config.stop_signal, "SIGQUIT");
	assert_string_equal(img->config.health.test.items[0], "CMD");
	image_free(img);
}

/* The second time nothing but index, manifest and configuration is read: the layers may be gone
 * from the layout, and there need be no helper. */
static void cached(void **state)
{
	struct image_open_options o = {.pull_program = "/nonexistent"};
	const char *reference = fixture_path("oci:", "small-gz");
	uint64_t best = UINT64_MAX;

	(void)state;
	image_free(open_with(reference, NULL));
	for (unsigned i = 0; i < 50; i++) {
		uint64_t start = clock_now_ns();

		image_free(open_with(reference, &o));
		best = MIN(best, clock_now_ns() - start);
	}
	print_message("cached open: %.3f ms\n", (double)best / 1e6);
	assert_true(best < 5000000);
	o.policy = IMAGE_PULL_NEVER;
	image_free(open_with(reference, &o));
}

static void layout_changes(void **state)
{
	const char *a = fixture_path("", "small-gz"), *b = fixture_path("", "tags-latest");
	const char *link = fixture_directory();
	char reference[300], path[300];
	struct image *one, *two;

	(void)state;
	snprintf(path, sizeof(path), "%s/now", link);
	snprintf(reference, sizeof(reference), "oci:%s/now:latest", link);
	assert_int_equal(symlink(a, path), 0);
	one = open_with(reference, NULL);
	unlink(path);
	assert_int_equal(symlink(b, path), 0);
	two = open_with(reference, NULL);
	assert_string_not_equal(one->manifest_digest, two->manifest_digest);
	image_free(one);
	image_free(two);
}

static void archive_changes(void **state)
{
	char command[1200], reference[300];
	const char *directory = fixture_directory();
	struct image_open_options o = {.pull_program = "/nonexistent"};
	struct image *img;
	struct err e = {0};

	(void)state;
	snprintf(command, sizeof(command), "cp %s %s/a.tar", fixture_path("", "rich.tar"),
		directory);
	assert_int_equal(system(command), 0);
	snprintf(reference, sizeof(reference), "oci-archive:%s/a.tar", directory);
	image_free(open_with(reference, NULL));
	image_free(open_with(reference, &o)); /* not touched: not even looked into */
	snprintf(command, sizeof(command), "tar -C %s -cf %s/a.tar .", fixture_path("", "small-gz"),
		directory);
	assert_int_equal(system(command), 0);
	assert_code(image_open(store, reference, &o, &img, &e), -ENOENT, &e);
	img = open_with(reference, NULL);
	assert_int_equal(img->n_layers, 1);
	image_free(img);
}

static void platforms(void **state)
{
	struct image_open_options other = {.platform = "linux/s390x"};
	struct image *img = open_with(fixture_path("oci:", "multi"), NULL), *theirs;
	struct err e = {0};

	(void)state;
	theirs = open_with(fixture_path("oci:", "multi"), &other);
	assert_string_equal(theirs->architecture, "s390x");
	assert_string_not_equal(img->manifest_digest, theirs->manifest_digest);
	image_free(theirs);
	image_free(img);
	image_free(open_with(fixture_path("oci:", "docker-list"), NULL));
	other.platform = "windows/amd64";
	assert_code(
		image_open(store, fixture_path("oci:", "multi"), &other, &img, &e), -ENOENT, &e);
	assert_says(&e, "no image for windows/amd64");
}

static void layers_that_vanish(void **state)
{
	struct image *img = open_with(fixture_path("oci:", "empties"), NULL);

	(void)state;
	assert_int_equal(img->n_layers, 1);
	image_free(img);
	img = open_with(fixture_path("oci:", "only-empty"), NULL);
	assert_int_equal(img->n_layers, 1);
	image_free(img);
	/* The root is opaque in the second layer: the first cannot be seen. */
	img = open_with(fixture_path("oci:", "root-opaque"), NULL);
	assert_int_equal(img->n_layers, 1);
	image_free(img);
	image_free(open_with(fixture_path("oci:", "good-link-inside"), NULL));
}

static void bad_images(void **state)
{
	static const struct {
		const char *name;
		int code;
		const char *says;
	} bad[] = {
		{"no-such-image", -ENOENT, "no such file or directory"},
		{"no-layout", -ENOENT, "no file \"oci-layout\""},
		{"tags:3.0", -ENOENT, "docker.io/library/demo:1.0, 2.0"},
		{"tags", -ENOENT, "none is tagged \"latest\""},
		{"other-platform", -ENOENT, "it has: linux/s390x, linux/riscv64"},
		{"other-unsaid", -ENOENT, "it has: linux/s390x"},
		{"nested", -EINVAL, "nested more than 4 deep"},
		{"artifact", -ENOTSUP, "not a container image"},
		{"bad-layer-bit", -EBADMSG, "does not match its digest"},
		{"bad-layer-bit-plain", -EBADMSG, "layer 1 of 1, blob sha256:"},
		{"bad-layer-short", -EBADMSG, "shorter"},
		{"bad-layer-long", -EBADMSG, "longer"},
		{"bad-manifest-bit", -EBADMSG, "does not match its digest"},
		{"bad-config-bit", -EBADMSG, "does not match its digest"},
		{"bad-missing-layer", -ENOENT, "is missing"},
		{"bad-gzip-truncated", -EBADMSG, "truncated"},
		{"bad-not-tar", -EBADMSG, "not a tar archive"},
		{"bad-diff-id", -EBADMSG, "diff ID"},
		{"bad-diff-count", -EINVAL, "2 diff IDs, but the manifest has 1 layers"},
		{"bad-name-dotdot", -EINVAL, "leads out of the layer"},
		{"bad-name-absolute", -EINVAL, "absolute name"},
		{"bad-name-through-symlink", -EINVAL, "leads through a symbolic link"},
		{"bad-doc-index-not-json", -EINVAL, "index.json: is not valid JSON: line 1"},
		{"bad-doc-index-array", -EINVAL, "not a JSON object"},
		{"bad-doc-index-empty", -ENOENT, "no images at all"},
		{"bad-doc-index-no-manifests", -EINVAL, "no \"manifests\""},
		{"bad-doc-index-duplicate", -EINVAL, "duplicate"},
		{"bad-doc-index-huge", -EBADMSG, "larger than"},
		{"bad-doc-index-types", -EINVAL, "\"mediaType\" is not a string"},
		{"bad-doc-index-traversal", -EINVAL, "is not a digest"},
		{"bad-doc-index-negative", -EINVAL, "\"size\""},
		{"bad-doc-marker-version", -ENOTSUP, "version 9.0"},
		{"bad-doc-marker-json", -EINVAL, "oci-layout: is not valid JSON"},
		{"bad-doc-manifest-not-json", -EINVAL, "manifest sha256:"},
		{"bad-doc-manifest-schema1", -ENOTSUP, "schema 1"},
		{"bad-doc-manifest-both", -EINVAL, "does not belong"},
		{"bad-doc-manifest-type", -EINVAL, "does not belong"},
		{"bad-doc-layer-type", -ENOTSUP, "application/x-foo"},
		{"bad-doc-layer-digest", -ENOTSUP, "SHA-512"},
		{"bad-doc-no-layers", -EINVAL, "has no layers"},
		{"bad-doc-config-huge", -EBADMSG, "more than the 4194304 allowed"},
		{"bad-doc-config-not-json", -EINVAL, "configuration sha256:"},
		{"bad-doc-config-types", -EINVAL, "\"Env\" is not an array"},
		{"bad-link-blob", -EBADMSG, "leads out of the layout"},
		{"bad-link-index", -EBADMSG, "leads out of the layout"},
		{"bad-fifo-index", -EBADMSG, "not a regular file"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = {0};
		struct image *img = NULL;
		int r = image_open(store, fixture_path("oci:", bad[i].name), NULL, &img, &e);

		if (r != bad[i].code)
			print_error("%s:\n", bad[i].name);
		assert_code(r, bad[i].code, &e);
		assert_says(&e, bad[i].says);
		assert_null(img);
	}
	/* Nothing of them was kept. */
	assert_int_equal(count_in("layers") + count_in("images") + count_in("names"), 0);
	assert_int_equal(count_in("blobs") + count_in("tmp"), 0);
}

static void bad_archives(void **state)
{
	const char *directory = fixture_directory();
	struct image *img;
	struct err e = {0};
	char path[300], command[1024];

	(void)state;
	snprintf(path, sizeof(path), "oci-archive:%s/a.tar", directory);
	assert_code(image_open(store, path, NULL, &img, &e), -ENOENT, &e);
	snprintf(command, sizeof(command), "echo this is no tar archive > %s/a.tar", directory);
	assert_int_equal(system(command), 0);
	assert_code(image_open(store, path, NULL, &img, &e), -EBADMSG, &e);
	assert_says(&e, "not a tar archive");
	snprintf(command, sizeof(command), "head -c 3000 %s > %s/a.tar",
		fixture_path("", "rich.tar.gz"), directory);
	assert_int_equal(system(command), 0);
	assert_code(image_open(store, path, NULL, &img, &e), -EBADMSG, &e);
	snprintf(command, sizeof(command), "cd %s && echo x > x && tar -cf a.tar x", directory);
	assert_int_equal(system(command), 0);
	assert_code(image_open(store, path, NULL, &img, &e), -ENOENT, &e);
	assert_says(&e, "no file \"oci-layout\"");
	snprintf(path, sizeof(path), "oci-archive:%s", directory);
	assert_code(image_open(store, path, NULL, &img, &e), -EINVAL, &e);
	assert_says(&e, "not a regular file");
	assert_int_equal(count_in("tmp"), 0);
}

static void registries(void **state)
{
	struct image *img;
	struct err e = {0};

	(void)state;
	assert_code(image_open(store, "alpine", NULL, &img, &e), -ENOTSUP, &e);
	assert_says(&e, "skopeo copy docker://docker.io/library/alpine:latest oci:DIR:latest");
	assert_code(image_open(store, "ghcr.io/x/y:tag", NULL, &img, &e), -ENOTSUP, &e);
	assert_code(image_open(store, "No/Such", NULL, &img, &e), -EINVAL, &e);
}

static void bad_helpers(void **state)
{
	static const struct {
		const char *program, *says;
	} bad[] = {{"/nonexistent", "cannot be run"}, {"/bin/false", "ended unexpectedly"},
		{"/bin/echo", "said something unknown"}, {"/dev/null", "cannot be run"}};
	struct image *img;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct image_open_options o = {.pull_program = bad[i].program};
		struct err e = {0};

		assert_true(image_open(store, fixture_path("oci:", "rich"), &o, &img, &e) < 0);
		assert_says(&e, bad[i].says);
	}
}

/* Several processes want the same image at the same time: all get it, it is made once. */
static void many_processes(void **state)
{
	pid_t pids[6];
	char *reference = strdup(fixture_path("oci:", "noise"));
	struct image *img;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		pids[i] = fork();
		if (!pids[i]) {
			struct err e = {0};
			struct store *own;

			if (store_open(store_path(store), &own, &e) < 0 ||
				image_open(own, reference, NULL, &img, &e) < 0)
				_exit(1);
			_exit(img->n_layers == 3 ? 7 : 2);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(WEXITSTATUS(status), 7);
	}
	assert_int_equal(count_in("layers"), 3);
	assert_int_equal(count_in("tmp"), 0);
	free(reference);
}

static int stop_converting(void *context, const struct image_progress *p)
{
	unsigned *n = context;

	assert_true(p->done_bytes <= p->total_bytes);
	++*n;
	return p->stage == IMAGE_CONVERT;
}

static void given_up(void **state)
{
	unsigned n = 0;
	struct image_open_options o = {.progress = stop_converting, .context = &n};
	struct image *img;
	struct err e = {0};

	(void)state;
	assert_code(image_open(store, fixture_path("oci:", "noise"), &o, &img, &e), -ECANCELED, &e);
	assert_true(n > 0);
	assert_int_equal(count_in("tmp") + count_in("images"), 0);
	img = open_with(fixture_path("oci:", "noise"), NULL);
	image_free(img);
}

static int count_progress(void *context, const struct image_progress *p)
{
	unsigned *n = context;

	assert_true(p->n_layers == 3 && p->layer < 3);
	n[p->stage]++;
	return 0;
}

static void progress(void **state)
{
	unsigned n[4] = {0};
	struct image_open_options o = {.progress = count_progress, .context = n, .max_layers = 2};

	(void)state;
	image_free(open_with(fixture_path("oci:", "noise"), &o));
	assert_int_equal(n[IMAGE_LAYER_READY], 3);
	assert_true(n[IMAGE_CONVERT] >= 3);
	assert_true(n[IMAGE_MERGE] >= 1);
}

static void too_large_for_the_user(void **state)
{
	struct image_open_options o = {.max_layer_bytes = 1 << 20};
	struct image *img;
	struct err e = {0};

	(void)state;
	assert_code(image_open(store, fixture_path("oci:", "bomb"), &o, &img, &e), -EFBIG, &e);
	assert_says(&e, "more than the 1 MiB allowed");
	assert_int_equal(count_in("layers") + count_in("tmp"), 0);
}

/* A real full disk: a small tmpfs, seen by this child alone. */
static int try_on_full_disk(void)
{
	struct err e = {0};
	struct image *img;
	char sentence[1024];

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("none", store_path(store), "tmpfs", 0, "size=1m") < 0)
		return 77;
	store_close(store);
	if (store_open(getenv("FULL_STORE"), &store, &e) < 0)
		return 2;
	if (image_open(store, fixture_path("oci:", "noise"), NULL, &img, &e) != -ENOSPC)
		return 3;
	err_sentence(&e, sentence, sizeof(sentence));
	if (!strstr(sentence, "make room") || !strstr(sentence, "No space left"))
		return 4;
	if (count_in("layers") + count_in("images") + count_in("blobs") + count_in("tmp"))
		return 5;
	/* What fits is still made. */
	if (image_open(store, fixture_path("oci:", "small-gz"), NULL, &img, &e) < 0)
		return 6;
	return 0;
}

static void disk_full(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	fixture_images();
	setenv("FULL_STORE", store_path(store), 1);
	pid = fork();
	if (!pid)
		_exit(try_on_full_disk());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WEXITSTATUS(status) == 77) {
		print_message("skipped: mounting a small tmpfs needs root\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void file_size_limit(void **state)
{
	struct rlimit old, small;
	struct image *img;
	struct err e = {0};
	int r;

	(void)state;
	fixture_images();
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){200000, old.rlim_max};
	setrlimit(RLIMIT_FSIZE, &small);
	r = image_open(store, fixture_path("oci:", "noise"), NULL, &img, &e);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_code(r, -EFBIG, &e);
	assert_says(&e, "make room");
	assert_int_equal(count_in("layers") + count_in("tmp"), 0);
}

static int join_entry(void *context, const struct store_entry *entry)
{
	char *text = context;

	assert_true(entry->bytes > 0 && entry->added_at > 0);
	sprintf(text + strlen(text), "%s %u\n", strrchr(entry->reference, '/') + 1,
		entry->n_layers);
	return 0;
}

static void list_and_remove(void **state)
{
	char text[1000] = "", digest[80];
	struct image *rich, *many;
	struct err e = {0};

	(void)state;
	image_free(open_with(fixture_path("oci:", "small-gz"), NULL));
	image_free(open_with(fixture_path("oci:", "small-none:latest"), NULL));
	rich = open_with(fixture_path("oci:", "rich"), NULL);
	many = open_with(
		fixture_path("oci:", "many"), &(struct image_open_options){.max_layers = 5});
	assert_code(store_list_images(store, join_entry, text, &e), 0, &e);
	assert_string_equal(text, "many 30\nrich 3\nsmall-gz 1\nsmall-none:latest 1\n");
	assert_int_equal(count_in("layers"), 1 + 3 + 31);
	assert_code(store_remove_image(store, "oci:/nowhere", &e), -ENOENT, &e);
	assert_code(store_remove_image(store, many->reference, &e), 0, &e);
	assert_int_equal(count_in("layers"), 1 + 3);
	/* Two images share their only layer: it stays for the other. */
	assert_code(store_remove_image(store, fixture_path("oci:", "small-gz"), &e), 0, &e);
	assert_int_equal(count_in("layers"), 1 + 3);
	snprintf(digest, sizeof(digest), "%.12s", rich->manifest_digest + 7);
	assert_code(store_remove_image(store, digest, &e), 0, &e);
	assert_int_equal(count_in("layers"), 1);
	assert_code(store_remove_image(store, fixture_path("", "small-none:latest"), &e), 0, &e);
	assert_int_equal(count_in("layers") + count_in("blobs") + count_in("images"), 0);
	image_free(rich);
	image_free(many);
}

/* What other tools write. */
static void foreign_tools(void **state)
{
	const char *directory = fixture_directory();
	char command[2000], reference[300];
	struct image *img;

	(void)state;
	if (system("command -v skopeo >/dev/null && command -v umoci >/dev/null")) {
		print_message("skipped: skopeo and umoci are not installed\n");
		skip();
	}
	snprintf(command, sizeof(command),
		"cd %s && skopeo --insecure-policy copy -q oci:%s:1.0 oci:sk:a && "
		"skopeo --insecure-policy copy -q oci:%s:1.0 oci-archive:sk.tar:b && "
		"umoci init --layout um && umoci new --image um:c && echo hello > f && "
		"umoci insert --image um:c f /dir/f >/dev/null 2>&1 && "
		"umoci insert --image um:c --whiteout /dir/g >/dev/null 2>&1",
		directory, fixture_path("", "rich"), fixture_path("", "rich"));
	assert_int_equal(system(command), 0);
	snprintf(reference, sizeof(reference), "oci:%s/sk:a", directory);
	img = open_with(reference, NULL);
	assert_int_equal(img->n_layers, 3);
	image_free(img);
	snprintf(reference, sizeof(reference), "oci-archive:%s/sk.tar:b", directory);
	image_free(open_with(reference, NULL));
	snprintf(reference, sizeof(reference), "oci:%s/um:c", directory);
	img = open_with(reference, NULL);
	assert_int_equal(img->n_layers, 2);
	char *t = fixture_read_layer(img->layers[0].path);
	assert_non_null(strstr(fixture_line(t, "/dir/f"), "#hello"));
	free(t);
	t = fixture_read_layer(img->layers[1].path);
	assert_non_null(strstr(fixture_line(t, "/dir/g"), " 0:0"));
	free(t);
	image_free(img);
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, fresh_store, drop_store)

int main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(all_forms),
		store_test(configuration),
		store_test(cached),
		store_test(layout_changes),
		store_test(archive_changes),
		store_test(platforms),
		store_test(layers_that_vanish),
		store_test(bad_images),
		store_test(bad_archives),
		store_test(registries),
		store_test(bad_helpers),
		store_test(many_processes),
		store_test(given_up),
		store_test(progress),
		store_test(too_large_for_the_user),
		store_test(disk_full),
		store_test(file_size_limit),
		store_test(list_and_remove),
		store_test(foreign_tools),
	};

	return cmocka_run_group_tests_name("oci/image", tests, NULL, fixture_clean);
}
