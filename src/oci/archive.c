// SPDX-License-Identifier: Apache-2.0
#include "oci/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/str.h"

enum {
	READ_BYTES = 256 << 10,
	ENTRIES_MAX = 65536,
	NAME_BYTES = 96, /* "blobs/sha256/" and 64 characters */
};

/* Where an entry's header begins in the plain tar. */
struct place {
	char name[NAME_BYTES];
	int64_t at;
};

struct tar_source {
	struct source source;
	int fd; /* the plain tar */
	struct place *places;
	size_t n_places;
};

/* One reader of the plain tar, from some offset on; several may be at work at once. */
struct tar_reader {
	struct blob_stream stream;
	int fd; /* borrowed */
	off_t at;
	int code; /* errno of a failed read */
	struct archive *archive;
	uint8_t input[READ_BYTES];
};

static la_ssize_t read_input(struct archive *a, void *context, const void **ret)
{
	struct tar_reader *t = context;
	ssize_t n;

	do
		n = pread(t->fd, t->input, sizeof(t->input), t->at);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		t->code = errno;
		archive_set_error(a, errno, "%s", strerror(errno));
		return -1;
	}
	t->at += n;
	*ret = t->input;
	return n;
}

static la_int64_t skip_input(struct archive *a, void *context, la_int64_t bytes)
{
	struct tar_reader *t = context;

	(void)a;
	if (bytes < 0 || add_overflows(t->at, (off_t)bytes, &t->at))
		return 0;
	return bytes;
}

static int damaged(const struct tar_reader *t, struct err *e)
{
	const char *why = archive_error_string(t->archive);

	if (t->code)
		return err_set(e, -t->code, "read: %s", strerror(t->code));
	err_set(e, -EBADMSG, "is not a tar archive, or a damaged one: %.150s", why ? why : "?");
	return err_remedy(e, "make it again: skopeo copy SOURCE oci-archive:FILE:TAG");
}

static void reader_free(struct tar_reader *t)
{
	archive_read_free(t->archive);
	free(t);
}

static int reader_new(int fd, off_t at, struct tar_reader **ret, struct err *e)
{
	struct tar_reader *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_set(e, -ENOMEM, "out of memory");
	t->fd = fd;
	t->at = at;
	t->archive = archive_read_new();
	if (!t->archive || archive_read_support_format_tar(t->archive) != ARCHIVE_OK) {
		reader_free(t);
		return err_set(e, -ENOMEM, "out of memory");
	}
	if (archive_read_open2(t->archive, t, NULL, read_input, skip_input, NULL) != ARCHIVE_OK) {
		r = damaged(t, e);
		reader_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

/* "./index.json" is "index.json". */
static const char *plain_name(const char *name)
{
	while (str_starts_with(name, "./"))
		name += 2;
	return name;
}

static bool is_of_layout(const char *name)
{
	return !strcmp(name, "oci-layout") || !strcmp(name, "index.json") ||
	       str_starts_with(name, "blobs/sha256/");
}

static int list_add(struct tar_source *s, const char *name, int64_t at, struct err *e)
{
	struct place *p;

	if (strlen(name) >= NAME_BYTES || !is_of_layout(name))
		return 0;
	if (s->n_places == ENTRIES_MAX)
		return err_set(e, -E2BIG, "has more than %d blobs", ENTRIES_MAX);
	if (!(s->n_places & (s->n_places - 1))) { /* full whenever a power of two is reached */
		p = realloc(s->places, MAX(2 * s->n_places, (size_t)1) * sizeof(*p));
		if (!p)
			return err_set(e, -ENOMEM, "out of memory");
		s->places = p;
	}
	p = &s->places[s->n_places++];
	strcpy(p->name, name);
	p->at = at;
	return 0;
}

/* By name; of the same name the later one first, as a tar's last entry is the valid one. */
static int by_name(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->at < y->at) - (x->at > y->at);
}

static int list_entries(struct tar_source *s, struct tar_reader *t, struct err *e)
{
	struct archive_entry *entry;
	int r;

	while ((r = archive_read_next_header(t->archive, &entry)) != ARCHIVE_EOF) {
		const char *name = archive_entry_pathname(entry);

		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			return damaged(t, e);
		if (!name || archive_entry_filetype(entry) != AE_IFREG)
			continue;
		r = list_add(s, plain_name(name), archive_read_header_position(t->archive), e);
		if (r < 0)
			return r;
	}
	if (s->n_places)
		qsort(s->places, s->n_places, sizeof(*s->places), by_name);
	return 0;
}

static int list(struct tar_source *s, struct err *e)
{
	struct tar_reader *t;
	int r = reader_new(s->fd, 0, &t, e);

	if (r < 0)
		return r;
	r = list_entries(s, t, e);
	reader_free(t);
	return r;
}

/* The first place of a name, in the order of by_name. */
static const struct place *find(const struct tar_source *s, const char *name)
{
	size_t low = 0, high = s->n_places;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(s->places[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->n_places && !strcmp(s->places[low].name, name) ? &s->places[low] : NULL;
}

static ssize_t entry_read(struct blob_stream *stream, void *data, size_t bytes, struct err *e)
{
	struct tar_reader *t = container_of(stream, struct tar_reader, stream);
	la_ssize_t n = archive_read_data(t->archive, data, bytes);

	return n < 0 ? damaged(t, e) : n;
}

static void entry_close(struct blob_stream *stream)
{
	reader_free(container_of(stream, struct tar_reader, stream));
}

static int open_entry(
	const struct tar_source *s, const char *name, struct blob_stream **ret, struct err *e)
{
	const struct place *p = find(s, name);
	struct archive_entry *entry;
	struct tar_reader *t;
	int r;

	if (!p) {
		err_set(e, -ENOENT, "%s is missing", name);
		return err_remedy(e, "make it again: skopeo copy SOURCE oci-archive:FILE:TAG");
	}
	r = reader_new(s->fd, p->at, &t, e);
	if (r < 0)
		return r;
	r = archive_read_next_header(t->archive, &entry);
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN) {
		r = damaged(t, e);
		reader_free(t);
		return r;
	}
	t->stream = (struct blob_stream){entry_read, entry_close};
	*ret = &t->stream;
	return 0;
}

static int tar_open_blob(
	struct source *source, const struct digest *d, struct blob_stream **ret, struct err *e)
{
	char hex[DIGEST_HEX_BYTES], name[NAME_BYTES];

	digest_format_hex(d, hex);
	snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
	return open_entry(container_of(source, struct tar_source, source), name, ret, e);
}

static int read_stream(struct blob_stream *stream, struct buf *b, struct err *e)
{
	for (;;) {
		size_t want = MIN((size_t)65536, b->ceiling - b->bytes);
		void *at = buf_reserve(b, want);
		ssize_t n;

		if (!want)
			return err_set(
				e, -EBADMSG, "is larger than the %zu bytes allowed", b->ceiling);
		if (!at)
			return err_set(e, -ENOMEM, "out of memory");
		n = stream->read(stream, at, want, e);
		if (n <= 0)
			return (int)n;
		buf_grew(b, (size_t)n);
	}
}

static int read_fixed(const struct tar_source *s, const char *name, struct buf *b, struct err *e)
{
	struct blob_stream *stream;
	int r = open_entry(s, name, &stream, e);

	if (r < 0)
		return r;
	r = read_stream(stream, b, e);
	stream->close(stream);
	return r < 0 ? err_ctx(e, "%s", name) : 0;
}

static int tar_resolve(struct source *source, const struct ref *ref, const struct platform *wanted,
	struct descriptor *ret, struct err *e)
{
	struct tar_source *s = container_of(source, struct tar_source, source);
	autobuf struct buf index;
	int r;

	buf_init(&index, DOCUMENT_BYTES_MAX);
	r = read_fixed(s, "index.json", &index, e);
	return r < 0 ? r : layout_choose(&index, ref, wanted, ret, e);
}

static void tar_close(struct source *source)
{
	struct tar_source *s = container_of(source, struct tar_source, source);

	autoclose_run(&s->fd);
	free(s->places);
	free(s);
}

static const struct source_ops tar_ops = {
	.name = "oci-archive",
	.resolve = tar_resolve,
	.open_blob = tar_open_blob,
	.close = tar_close,
};

/* Undoes the compression into `to`, at most max_bytes bytes. */
static int decompress(struct archive *a, int to, uint64_t max_bytes, struct err *e)
{
	struct archive_entry *whole;
	uint64_t done = 0;
	la_int64_t offset;
	const void *data;
	size_t bytes;
	int r = archive_read_next_header(a, &whole);

	while (r == ARCHIVE_OK || r == ARCHIVE_WARN) {
		r = archive_read_data_block(a, &data, &bytes, &offset);
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			break;
		done += bytes;
		if (done > max_bytes)
			return err_set(e, -EFBIG, "unpacks to more than the %llu MiB allowed",
				(unsigned long long)(max_bytes >> 20));
		r = fd_write_full(to, data, bytes);
		if (r < 0)
			return err_set(e, r, "decompress into the store: %s", strerror(-r));
	}
	if (r == ARCHIVE_EOF)
		return 0;
	err_set(e, -EBADMSG, "cannot be decompressed: %.150s", archive_error_string(a));
	return err_remedy(e, "make it again: skopeo copy SOURCE oci-archive:FILE:TAG");
}

static int nameless_file(int dir, int *ret, struct err *e)
{
	char name[64];

	*ret = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*ret >= 0)
		return 0;
	/* Not every file system has nameless files. */
	snprintf(name, sizeof(name), "archive-%d", (int)getpid());
	*ret = openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*ret < 0)
		return err_sys(e, "make a temporary file in the store");
	unlinkat(dir, name, 0);
	return 0;
}

/* Replaces s->fd by a file that holds the plain tar. */
static int make_plain(struct tar_source *s, const struct archive_options *o, struct err *e)
{
	struct archive *a = archive_read_new();
	autoclose int plain = -1;
	int r = nameless_file(o->tmp_dir, &plain, e);

	if (!a || r < 0) {
		archive_read_free(a);
		return r < 0 ? r : err_set(e, -ENOMEM, "out of memory");
	}
	archive_read_support_filter_gzip(a);
	archive_read_support_filter_zstd(a);
	archive_read_support_format_raw(a);
	if (archive_read_open_fd(a, s->fd, READ_BYTES) != ARCHIVE_OK)
		r = err_set(e, -EBADMSG, "cannot be read: %.150s", archive_error_string(a));
	else
		r = decompress(a, plain, o->max_bytes ? o->max_bytes : ARCHIVE_BYTES_MAX, e);
	archive_read_free(a);
	if (r < 0)
		return r;
	autoclose_run(&s->fd);
	s->fd = take_fd(&plain);
	return 0;
}

/* RFC 1952 §2.3.1, RFC 8878 §3.1.1. */
static bool is_compressed(int fd)
{
	uint8_t magic[4] = {0};

	if (fd_pread_full(fd, magic, sizeof(magic), 0) < 0)
		return false;
	return (magic[0] == 0x1f && magic[1] == 0x8b) || !memcmp(magic, "\x28\xb5\x2f\xfd", 4);
}

static int prepare(struct tar_source *s, const struct archive_options *o, struct err *e)
{
	autobuf struct buf marker;
	int r;

	buf_init(&marker, 4096);
	r = is_compressed(s->fd) ? make_plain(s, o, e) : 0;
	if (!r)
		r = list(s, e);
	if (r < 0)
		return r;
	if (find(s, "oci-layout"))
		r = read_fixed(s, "oci-layout", &marker, e);
	else
		r = err_set(e, -ENOENT, "holds no OCI image: it has no file \"oci-layout\"");
	if (r < 0)
		return err_remedy(e, "make it with: skopeo copy SOURCE oci-archive:FILE:TAG");
	return layout_check_marker(&marker, e);
}

static int open_file(const char *path, int *ret, struct err *e)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		err_sys(e, "open");
		return err_remedy(e, "check the path");
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, -EINVAL, "is not a regular file");
		return err_remedy(e, "for a directory write oci:%.80s", path);
	}
	*ret = take_fd(&fd);
	return 0;
}

int archive_source_open(
	const char *path, const struct archive_options *o, struct source **ret, struct err *e)
{
	struct tar_source *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->source.ops = &tar_ops;
	s->fd = -1;
	r = open_file(path, &s->fd, e);
	if (!r)
		r = prepare(s, o, e);
	if (r < 0) {
		tar_close(&s->source);
		return err_object(e, "%.150s", path);
	}
	*ret = &s->source;
	return 0;
}
