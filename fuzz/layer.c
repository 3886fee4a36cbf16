// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as the blob of a layer, with the digests that fit it: refused with an error, or turned
 * into a squashfs file that can be read back and in which no name leads anywhere.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "oci/layer.h"
#include "oci/unsquash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { CEILING_BYTES = 1 << 20 };

/* libsquashfs 1.2.0 does not free the blocks in flight after an error. */
const char *__lsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
	return "leak:libsquashfs\n";
}

struct memory_source {
	struct source source;
	struct blob_stream stream;
	const uint8_t *data;
	size_t bytes, at;
};

static ssize_t memory_read(struct blob_stream *s, void *to, size_t bytes, struct err *e)
{
	struct memory_source *m = container_of(s, struct memory_source, stream);
	size_t n = MIN(bytes, m->bytes - m->at);

	(void)e;
	if (n)
		memcpy(to, m->data + m->at, n);
	m->at += n;
	return (ssize_t)n;
}

static void memory_close(struct blob_stream *s)
{
	(void)s;
}

static int memory_open(
	struct source *s, const struct digest *d, struct blob_stream **ret, struct err *e)
{
	(void)d;
	(void)e;
	*ret = &container_of(s, struct memory_source, source)->stream;
	return 0;
}

static const struct source_ops memory_ops = {.name = "memory", .open_blob = memory_open};

static void check_names(const sqfs_tree_node_t *n, unsigned depth)
{
	assert(depth < TREE_PATH_MAX);
	for (n = n->children; n; n = n->next) {
		const char *name = (const char *)n->name;

		assert(name[0] && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, ".."));
		assert(strlen(name) <= TREE_NAME_MAX && strncmp(name, ".wh.", 4));
		check_names(n, depth + 1);
	}
}

static void check_result(int fd)
{
	sqfs_tree_node_t *names;
	struct unsquash u;
	struct err e = {0};

	assert(unsquash_open(&u, fd, &e) == 0);
	assert(unsquash_names(&u, &names, &e) == 0);
	check_names(names, 0);
	sqfs_dir_tree_destroy(names);
	unsquash_close(&u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct memory_source m = {.source.ops = &memory_ops,
		.stream = {memory_read, memory_close},
		.data = data,
		.bytes = bytes};
	struct layer_request q = {.source = &m.source,
		.blob.bytes = bytes,
		.max_bytes = CEILING_BYTES,
		.n_workers = 1};
	struct digest diff_id;
	struct err e = {0};
	int r, fd = memfd_create("layer", MFD_CLOEXEC);

	if (fd < 0)
		return 0;
	/* Compressed input then fails at its diff ID, with everything before that done. */
	digest_of(data, bytes, &diff_id);
	q.blob.digest = diff_id;
	q.diff_id = &diff_id;
	r = layer_convert(&q, fd, &e);
	if (!r)
		check_result(fd);
	else
		assert(r < 0 && e.code == r && e.cause[0]);
	close(fd);
	return 0;
}
