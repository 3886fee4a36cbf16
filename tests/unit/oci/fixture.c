// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "oci/digest.h"
#include "oci/unsquash.h"

/* libsquashfs 1.2.0 does not free the blocks in flight when a writer is destroyed after an error.
 * They are bounded (squash.c, BACKLOG_PER_WORKER), and the helper program ends then anyway. */
const char *__lsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
	return "leak:libsquashfs\n";
}

/* For the children alone (ours is already read): the helper program shuts itself out of /proc,
 * without which the leak checker cannot work. test_pull.c checks the same code for leaks. */
__attribute__((constructor)) static void spare_helpers_the_leak_checker(void)
{
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
}

static char made[64][256];
static unsigned n_made;
static const char *images;
static unsigned n_files;

const char *fixture_directory(void)
{
	/* In memory when possible: syncing a busy disk is slow, and not what is tested. */
	const char *tmp = getenv("TMPDIR") ? getenv("TMPDIR") : "/dev/shm";
	char *path = made[n_made];

	assert_true(n_made < 64);
	snprintf(path, sizeof(made[0]), "%s/oci-test-XXXXXX", access(tmp, W_OK) ? "/tmp" : tmp);
	assert_non_null(mkdtemp(path));
	n_made++;
	return path;
}

static void run_python(const char *script, const char *directory)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		execlp("python3", "python3", script, directory, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

const char *fixture_images(void)
{
	if (!images) {
		images = fixture_directory();
		run_python(MAKE_IMAGES, images);
	}
	return images;
}

const char *fixture_path(const char *prefix, const char *name)
{
	static char paths[8][512];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s%s/%s", prefix, fixture_images(), name);
	return path;
}

static int delete_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path);
}

int fixture_clean(void **state)
{
	(void)state;
	while (n_made)
		nftw(made[--n_made], delete_one, 16, FTW_DEPTH | FTW_PHYS);
	images = NULL;
	return 0;
}

static int count_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)path;
	(void)st;
	(void)where;
	n_files += type == FTW_F || type == FTW_SL;
	return 0;
}

unsigned fixture_count_files(const char *directory)
{
	n_files = 0;
	assert_int_equal(nftw(directory, count_one, 16, FTW_PHYS), 0);
	return n_files;
}

void fixture_assert_code(int r, int expected, const struct err *e, const char *file, int line)
{
	char sentence[1024] = "";

	if (r == expected)
		return;
	if (e->code)
		err_sentence(e, sentence, sizeof(sentence));
	print_error("got %d (%s), not %d (%s): %s\n", r, strerror(-r), expected,
		strerror(-expected), sentence);
	_fail(file, line);
}

void fixture_assert_says(const struct err *e, const char *text, const char *file, int line)
{
	char sentence[1024];

	err_sentence(e, sentence, sizeof(sentence));
	if (strstr(sentence, text))
		return;
	print_error("\"%s\" does not say \"%s\"\n", sentence, text);
	_fail(file, line);
}

struct reading {
	struct unsquash u;
	struct buf text;
};

static int add_xattr(void *context, const char *key, const void *value, size_t bytes)
{
	struct buf *text = context;
	bool is_text = true;

	for (size_t i = 0; i < bytes; i++)
		is_text = is_text && isprint(((const unsigned char *)value)[i]);
	if (is_text)
		return buf_printf(text, " %s=%.*s", key, (int)bytes, (const char *)value);
	assert_int_equal(buf_printf(text, " %s=0x", key), 0);
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(buf_printf(text, "%02x", ((const unsigned char *)value)[i]), 0);
	return 0;
}

static void add_content(struct reading *rd, const sqfs_inode_generic_t *i, uint64_t size)
{
	char hex[DIGEST_HEX_BYTES];
	struct digest d;
	struct err e;
	char *data;

	assert_true(size < 64 << 20);
	data = calloc(1, size + 1);
	assert_non_null(data);
	for (uint64_t at = 0; at < size; at += 65536)
		assert_code(unsquash_read(&rd->u, i, at, data + at, MIN(size - at, 65536ul), &e), 0,
			&e);
	digest_of(data, size, &d);
	digest_format_hex(&d, hex);
	assert_int_equal(buf_printf(&rd->text, " #%s", size <= 32 ? data : hex), 0);
	free(data);
}

static uint32_t link_count(const sqfs_inode_generic_t *i)
{
	switch (i->base.type) {
	case SQFS_INODE_DIR:
		return i->data.dir.nlink;
	case SQFS_INODE_EXT_DIR:
		return i->data.dir_ext.nlink;
	case SQFS_INODE_FILE:
		return 1;
	case SQFS_INODE_EXT_FILE:
		return i->data.file_ext.nlink;
	default: /* all others begin with it */
		return i->data.dev.nlink;
	}
}

static void add_node(struct reading *rd, const sqfs_tree_node_t *n, const char *path)
{
	static const char types[] = "?pc?d?b?f?l?s??";
	const sqfs_inode_generic_t *i = n->inode;
	uint16_t mode = i->base.mode;
	uint64_t size = 0;
	struct err e;

	if (S_ISREG(mode))
		assert_int_equal(sqfs_inode_get_file_size(i, &size), 0);
	assert_int_equal(buf_printf(&rd->text, "%s %c %o %u:%u %u %llu %u", path, types[mode >> 12],
				 mode & 07777, n->uid, n->gid, link_count(i),
				 (unsigned long long)size, i->base.mod_time),
		0);
	if (S_ISLNK(mode))
		assert_int_equal(buf_printf(&rd->text, " -> %.*s", (int)i->data.slink.target_size,
					 (const char *)i->extra),
			0);
	if (S_ISCHR(mode) || S_ISBLK(mode))
		assert_int_equal(
			buf_printf(&rd->text, " %u:%u", (i->data.dev.devno & 0xfff00) >> 8,
				(i->data.dev.devno & 0xff) | (i->data.dev.devno >> 12 & 0xfff00)),
			0);
	assert_code(unsquash_xattrs(&rd->u, i, add_xattr, &rd->text, &e), 0, &e);
	if (S_ISREG(mode))
		add_content(rd, i, size);
	assert_int_equal(buf_printf(&rd->text, "\n"), 0);
}

static void add_tree(struct reading *rd, const sqfs_tree_node_t *n, const char *path)
{
	char below[8192];

	add_node(rd, n, path);
	for (n = n->children; n; n = n->next) {
		snprintf(below, sizeof(below), "%s%s%s", path, path[1] ? "/" : "",
			(const char *)n->name);
		add_tree(rd, n, below);
	}
}

char *fixture_read_layer(const char *path)
{
	struct reading rd;
	sqfs_tree_node_t *names;
	struct err e = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text;

	assert_true(fd >= 0);
	buf_init(&rd.text, 16 << 20);
	assert_code(unsquash_open(&rd.u, fd, &e), 0, &e);
	assert_code(unsquash_names(&rd.u, &names, &e), 0, &e);
	add_tree(&rd, names, "/");
	sqfs_dir_tree_destroy(names);
	unsquash_close(&rd.u);
	close(fd);
	text = strdup(buf_cstr(&rd.text));
	buf_fini(&rd.text);
	return text;
}

const char *fixture_line(const char *text, const char *path)
{
	static char line[16384];
	size_t n = strlen(path);

	while (*text) {
		size_t chars = strcspn(text, "\n");

		if (!strncmp(text, path, n) && text[n] == ' ') {
			snprintf(line, sizeof(line), "%.*s", (int)MIN(chars, sizeof(line) - 1),
				text);
			return line;
		}
		text += chars + 1;
	}
	return "";
}
