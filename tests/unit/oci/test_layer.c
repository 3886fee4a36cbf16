// SPDX-License-Identifier: Apache-2.0
/* Layers converted from real tars (make_images.py) and read back; and every bad one refused. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/layer.h"
#include "oci/source.h"

struct opened {
	struct source *source;
	struct manifest manifest;
	struct image_document document;
};

static void open_image(const char *name, struct opened *o)
{
	struct buf manifest, config;
	struct platform platform;
	struct descriptor d;
	struct err e = {0};
	struct ref ref;

	assert_code(ref_parse(fixture_path("oci:", name), &ref, &e), 0, &e);
	assert_code(platform_parse(NULL, &platform, &e), 0, &e);
	assert_code(layout_open(ref.path, &o->source, &e), 0, &e);
	assert_code(source_find_manifest(o->source, &ref, &platform, &d, &e), 0, &e);
	assert_code(source_read_document(o->source, &d, &manifest, &e), 0, &e);
	assert_code(manifest_parse(manifest.data, manifest.bytes, &o->manifest, &e), 0, &e);
	assert_code(source_read_document(o->source, &o->manifest.config, &config, &e), 0, &e);
	assert_code(image_document_parse(config.data, config.bytes, &o->document, &e), 0, &e);
	buf_fini(&manifest);
	buf_fini(&config);
}

static void close_image(struct opened *o)
{
	image_document_fini(&o->document);
	manifest_fini(&o->manifest);
	source_close(o->source);
}

static int convert(const char *name, unsigned layer, const char *to, uint64_t max_bytes,
	unsigned n_workers, struct err *e)
{
	struct opened o;
	struct layer_request q;
	int r, fd = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	open_image(name, &o);
	assert_true(layer < o.manifest.n_layers);
	q = (struct layer_request){.source = o.source,
		.blob = o.manifest.layers[layer],
		.diff_id = &o.document.diff_ids[layer],
		.max_bytes = max_bytes,
		.n_workers = n_workers};
	r = layer_convert(&q, fd, e);
	close_image(&o);
	close(fd);
	return r;
}

static const char *scratch(void)
{
	static const char *directory;
	static char path[300];

	if (!directory)
		directory = fixture_directory();
	snprintf(path, sizeof(path), "%s/layer", directory);
	return path;
}

static char *convert_and_read(const char *name, unsigned layer)
{
	struct err e = {0};
	struct stat st;

	assert_code(convert(name, layer, scratch(), 0, 2, &e), 0, &e);
	assert_int_equal(stat(scratch(), &st), 0);
	assert_int_equal(st.st_size % 4096, 0);
	return fixture_read_layer(scratch());
}

#define assert_line(text, path, expected) assert_string_equal(fixture_line(text, path), expected)

static void small_layers(void **state)
{
	static const char *const names[] = {"small-gz", "small-zst", "small-none", "plain-docker"};
	char *first = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *text = convert_and_read(names[i], 0);

		assert_line(text, "/etc/hello", "/etc/hello f 644 0:0 1 6 1700000000 #hello");
		if (!first)
			first = text;
		else
			assert_string_equal(text, first);
		if (text != first)
			free(text);
	}
	free(first);
}

static void everything(void **state)
{
	char *t = convert_and_read("rich", 0);

	(void)state;
	assert_line(t, "/", "/ d 755 0:0 10 0 1700000000");
	assert_line(t, "/tmp", "/tmp d 1777 0:0 2 0 1700000000");
	assert_non_null(
		strstr(fixture_line(t, "/bin/su"), "/bin/su f 4755 0:0 3 80000 1700000000"));
	assert_non_null(strstr(fixture_line(t, "/bin/su3"), "/bin/su3 f 4755 0:0 3 80000 "));
	assert_line(t, "/bin/wall", "/bin/wall f 2755 0:5 1 1 1700000000 #w");
	assert_line(t, "/bin/abs", "/bin/abs l 777 0:0 1 0 1700000000 -> /etc/passwd");
	assert_line(t, "/bin/out", "/bin/out l 777 0:0 1 0 1700000000 -> ../../../../etc/shadow");
	assert_int_equal(strlen(fixture_line(t, "/bin/long")), 2001 + 38);
	assert_line(t, "/dev/null", "/dev/null c 666 0:0 1 0 1700000000 1:3");
	assert_line(t, "/dev/big", "/dev/big b 600 0:0 1 0 1700000000 259:70000");
	assert_line(t, "/run/pipe", "/run/pipe p 600 0:0 1 0 1700000000");
	assert_line(t, "/home/big-owner",
		"/home/big-owner f 644 4000000000:3000000000 1 1 1700000000 #o");
	assert_line(t, "/home/old", "/home/old f 644 0:0 1 1 0 #1");
	assert_line(t, "/home/late", "/home/late f 644 0:0 1 1 4294967295 #1");
	assert_line(t, "/home/fraction", "/home/fraction f 644 0:0 1 1 1700000000 #1");
	assert_line(t, "/home/ping",
		"/home/ping f 644 0:0 1 1 1700000000 "
		"security.capability=0x0100000200040000000000000000000000000000 #p");
	assert_non_null(strstr(fixture_line(t, "/home/noted"), " user.a=1"));
	assert_non_null(strstr(fixture_line(t, "/home/noted"), " user.b=two"));
	assert_null(strstr(t, "system.x"));
	assert_null(strstr(t, "trusted.overlay"));
	assert_line(t, "/home/caf\xc3\xa9-\xe6\xbc\xa2",
		"/home/caf\xc3\xa9-\xe6\xbc\xa2 f 644 0:0 1 4 1700000000 #utf8");
	assert_line(t, "/twice", "/twice f 644 0:0 1 6 1700000000 #second");
	assert_line(t, "/was-dir", "/was-dir f 644 0:0 1 10 1700000000 #now a file");
	assert_null(strstr(t, "/was-dir/x"));
	assert_line(t, "/was-file/y", "/was-file/y f 644 0:0 1 1 1700000000 #y");
	assert_line(t, "/kept", "/kept f 644 0:0 1 11 1700000000 #old content");
	assert_line(t, "/linked", "/linked f 644 0:0 1 11 1700000000 #new content");
	assert_line(t, "/empty", "/empty f 644 0:0 1 0 1700000000 #");
	assert_line(t, "/odd/name", "/odd/name f 644 0:0 1 3 1700000000 #odd");
	assert_line(t, "/odd", "/odd d 755 0:0 2 0 0");
	free(t);
}

static void contents(void **state)
{
	char *t = convert_and_read("rich", 0), *a, *b;

	(void)state;
	a = strdup(strchr(fixture_line(t, "/big"), '#'));
	b = strdup(strchr(fixture_line(t, "/same"), '#'));
	/* sha256 of bytes(range(256)) * 4096 */
	assert_string_equal(a, "#fbbab289f7f94b25736c58be46a994c441fd02552cc6022352e3d86d2fab7c83");
	assert_string_equal(a, b);
	free(a);
	free(b);
	free(t);
	t = convert_and_read("rich", 2);
	/* sha256 of 1 MiB of zeros with 512 "A" at 64 KiB and 512 "B" at 900 KiB */
	assert_non_null(strstr(fixture_line(t, "/sparse"),
		"#b0a3c932881801d31861ca55996f71e5f01d9234c3d5ffcc587f16cb4b6d3354"));
	free(t);
	t = convert_and_read("rich", 1);
	assert_non_null(strstr(t, "/long/file f 644 0:0 1 13 1700000000 #gnu long name"));
	free(t);
}

static void whiteouts(void **state)
{
	char *t = convert_and_read("whiteouts", 1);

	(void)state;
	assert_line(t, "/a/gone", "/a/gone c 0 0:0 1 0 0 0:0");
	assert_line(t, "/a", "/a d 711 0:0 2 0 1700000000");
	assert_non_null(strstr(fixture_line(t, "/op"), " trusted.overlay.opaque=y"));
	assert_non_null(strstr(fixture_line(t, "/op"), " user.k=v"));
	assert_non_null(strstr(fixture_line(t, "/re"), " trusted.overlay.opaque=y"));
	assert_non_null(strstr(fixture_line(t, "/all"), " trusted.overlay.opaque=y"));
	assert_line(t, "/all/y", "/all/y f 644 0:0 1 1 1700000000 #h");
	assert_line(t, "/both", "/both f 644 0:0 1 4 1700000000 #here");
	assert_null(strstr(t, ".wh."));
	free(t);
}

static void empty_layers(void **state)
{
	char *t = convert_and_read("only-empty", 0);

	(void)state;
	assert_string_equal(t, "/ d 755 0:0 2 0 0\n");
	free(t);
	t = convert_and_read("zero-bytes", 0);
	assert_string_equal(t, "/ d 755 0:0 2 0 0\n");
	free(t);
	t = convert_and_read("unpadded", 0);
	assert_line(
		t, "/whole", "/whole f 644 0:0 1 30 1700000000 #wwwwwwwwwwwwwwwwwwwwwwwwwwwwww");
	free(t);
}

static void *read_file(const char *path, size_t *ret_bytes)
{
	struct buf b;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	buf_init(&b, 256 << 20);
	assert_int_equal(buf_read_fd(&b, fd), 0);
	close(fd);
	*ret_bytes = b.bytes;
	return b.data;
}

/* The same bytes every time, with any number of threads. */
static void same_bytes(void **state)
{
	size_t n_first, n;
	struct err e = {0};
	void *first, *again;

	(void)state;
	assert_code(convert("rich", 0, scratch(), 0, 1, &e), 0, &e);
	first = read_file(scratch(), &n_first);
	for (unsigned workers = 1; workers <= 4; workers++) {
		assert_code(convert("rich", 0, scratch(), 0, workers, &e), 0, &e);
		again = read_file(scratch(), &n);
		assert_int_equal(n, n_first);
		assert_memory_equal(first, again, n);
		free(again);
	}
	free(first);
}

static void bad_layers(void **state)
{
	static const struct {
		const char *name;
		int code;
		const char *says;
	} bad[] = {
		{"bad-layer-bit", -EBADMSG, "does not match its digest"},
		{"bad-layer-bit-plain", -EBADMSG, "does not match its digest"},
		{"bad-layer-short", -EBADMSG, "shorter"},
		{"bad-layer-long", -EBADMSG, "longer"},
		{"bad-missing-layer", -ENOENT, "is missing"},
		{"bad-gzip-truncated", -EBADMSG, "truncated"},
		{"bad-tar-cut", -EBADMSG, "entry \"cut\": has a damaged file"},
		{"bad-not-tar", -EBADMSG, "not a tar archive"},
		{"bad-diff-id", -EBADMSG, "diff ID"},
		{"bad-link-blob", -EBADMSG, "leads out of the layout"},
		{"bad-name-dotdot", -EINVAL, "entry \"../evil\": has a name that leads out"},
		{"bad-name-dotdot-inside", -EINVAL, "leads out"},
		{"bad-name-absolute", -EINVAL, "entry \"/evil\": has an absolute name"},
		{"bad-name-through-symlink", -EINVAL,
			"entry \"etc/evil\": leads through a symbolic"},
		{"bad-name-through-file", -EINVAL, "not a directory"},
		{"bad-name-hard-missing", -EINVAL, "hard link to b: no such file comes before"},
		{"bad-name-hard-dotdot", -EINVAL,
			"hard link to ../b, which: has a name that leads"},
		{"bad-name-hard-absolute", -EINVAL, "absolute"},
		{"bad-name-hard-directory", -EINVAL, "hard link to a directory"},
		{"bad-name-hard-symlink-parent", -EINVAL, "symbolic link"},
		{"bad-name-root-file", -EINVAL, "replaces the root"},
		{"bad-name-long-component", -EINVAL, "too long"},
		{"bad-name-long-path", -EINVAL, "too long"},
		{"bad-name-whiteout-nothing", -EINVAL, "whiteout of nothing"},
		{"bad-name-whiteout-dotdot", -EINVAL, "whiteout of nothing"},
		{"bad-name-whiteout-inside", -EINVAL, "within a whiteout"},
		{"bad-name-device-number", -EINVAL, "impossible number"},
		{"bad-name-xattr-size", -EINVAL, "more than 64 KiB"},
		{"bomb-sparse", -EFBIG, "more than the 65536 MiB allowed"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = {0};
		int r = convert(bad[i].name, 0, scratch(), 0, 1, &e);

		if (r != bad[i].code)
			print_error("%s:\n", bad[i].name);
		assert_code(r, bad[i].code, &e);
		assert_says(&e, bad[i].says);
		assert_true(e.remedy[0] != 0);
	}
}

static void bomb(void **state)
{
	struct err e = {0};

	(void)state;
	assert_code(convert("bomb", 0, scratch(), 16 << 20, 2, &e), -EFBIG, &e);
	assert_says(&e, "more than the 16 MiB allowed");
	assert_code(convert("bomb", 0, scratch(), 65 << 20, 2, &e), 0, &e);
}

/* A limit on the file's size stands for a full disk: the same path in libsquashfs and in ours. */
static void disk_full(void **state)
{
	struct rlimit old, small;
	struct err e = {0};

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	for (rlim_t bytes = 0; bytes < 3000; bytes += 500) {
		small = (struct rlimit){bytes, old.rlim_max};
		setrlimit(RLIMIT_FSIZE, &small);
		int r = convert("rich", 0, scratch(), 0, 2, &e);
		setrlimit(RLIMIT_FSIZE, &old);
		assert_code(r, -EFBIG, &e);
		assert_says(&e, "File too large");
	}
}

static int stop_at_once(struct blob_watch *w, uint64_t done)
{
	(void)w;
	(void)done;
	return 1;
}

static void given_up(void **state)
{
	struct blob_watch watch = {stop_at_once};
	struct layer_request q;
	struct err e = {0};
	struct opened o;
	int fd = open(scratch(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	(void)state;
	open_image("rich", &o);
	q = (struct layer_request){.source = o.source,
		.blob = o.manifest.layers[0],
		.diff_id = &o.document.diff_ids[0],
		.n_workers = 2,
		.watch = &watch};
	assert_code(layer_convert(&q, fd, &e), -ECANCELED, &e);
	close_image(&o);
	close(fd);
}

/* An independent reader agrees. */
static void unsquashfs_agrees(void **state)
{
	char command[2400];
	struct err e = {0};

	(void)state;
	if (system("command -v unsquashfs >/dev/null")) {
		print_message("skipped: unsquashfs (package squashfs-tools) is not installed\n");
		skip();
	}
	assert_code(convert("rich", 0, scratch(), 0, 2, &e), 0, &e);
	snprintf(command, sizeof(command),
		"unsquashfs -lln %s >%s.list && grep -q ' 80000 .*squashfs-root/bin/su3$' %s.list "
		"&& "
		"grep -q '^-rwsr-xr-x 0/0 .*bin/su$' %s.list && "
		"test $(unsquashfs -cat %s zeros | wc -c) = 700003 && "
		"test \"$(unsquashfs -cat %s kept)\" = 'old content'",
		scratch(), scratch(), scratch(), scratch(), scratch(), scratch());
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_layers),
		cmocka_unit_test(everything),
		cmocka_unit_test(contents),
		cmocka_unit_test(whiteouts),
		cmocka_unit_test(empty_layers),
		cmocka_unit_test(same_bytes),
		cmocka_unit_test(bad_layers),
		cmocka_unit_test(bomb),
		cmocka_unit_test(disk_full),
		cmocka_unit_test(given_up),
		cmocka_unit_test(unsquashfs_agrees),
	};

	return cmocka_run_group_tests_name("oci/layer", tests, NULL, fixture_clean);
}
