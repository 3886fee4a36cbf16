// SPDX-License-Identifier: Apache-2.0
/*
 * Two libarchive readers in a row: the first undoes the compression (format "raw"), the second
 * reads the tar; between them every byte is counted and hashed.
 */
#include "oci/tarstream.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

enum { INPUT_BYTES = 256 << 10, TAR_BLOCK_BYTES = 512 };

struct tar_stream {
	struct blob *blob;
	struct archive *plain; /* blob → plain tar, seen as one file */
	struct archive *tar;
	struct hasher hasher;
	uint64_t done_bytes, max_bytes;
	bool has_plain_ended;
	bool may_pad;	/* between entries, not inside of one's content */
	struct err err; /* of our own callbacks: libarchive only passes on that they failed */
	locale_t utf8, saved;
	uint8_t input[INPUT_BYTES];
};

static int fail(struct tar_stream *t, struct archive *a, const char *what, struct err *e)
{
	const char *why = archive_error_string(a);

	if (t->err.code) {
		if (e)
			*e = t->err;
		return t->err.code;
	}
	if (archive_errno(a) == ENOMEM)
		return err_set(e, -ENOMEM, "out of memory");
	err_set(e, -EBADMSG, "%s: %.150s", what, why ? why : "it is malformed");
	return err_remedy(e, "get the image from its maker again");
}

static la_ssize_t read_blob(struct archive *a, void *context, const void **ret)
{
	struct tar_stream *t = context;
	ssize_t n = blob_read(t->blob, t->input, sizeof(t->input), &t->err);

	if (n < 0)
		archive_set_error(a, (int)-n, "cannot be read");
	*ret = t->input;
	return n < 0 ? -1 : n;
}

static int too_large(struct tar_stream *t)
{
	err_set(&t->err, -EFBIG, "unpacks to more than the %llu MiB allowed",
		(unsigned long long)(t->max_bytes >> 20));
	return err_remedy(&t->err, "raise the limit if you trust the image");
}

/* The next piece of the plain tar: 1, 0 at its end, -errno with t->err set. */
static int next_plain(struct tar_stream *t, const void **ret, size_t *ret_bytes)
{
	la_int64_t offset;
	int r;

	*ret_bytes = 0;
	if (t->has_plain_ended)
		return 0;
	r = archive_read_data_block(t->plain, ret, ret_bytes, &offset);
	if (r == ARCHIVE_EOF) {
		t->has_plain_ended = true;
		return 0;
	}
	if (r < ARCHIVE_WARN) {
		r = fail(t, t->plain, "cannot be decompressed", &t->err);
		return r;
	}
	t->done_bytes += *ret_bytes;
	if (t->done_bytes > t->max_bytes)
		return too_large(t);
	if (hasher_add(&t->hasher, *ret, *ret_bytes) < 0)
		return err_set(&t->err, -EIO, "SHA-256 failed");
	return 1;
}

/* Some tools leave out the zeros that fill a tar's last block. The reader is given them, the hash
 * is not. Returns how many. */
static size_t pad(struct tar_stream *t, const void **ret)
{
	static const uint8_t zeros[TAR_BLOCK_BYTES];
	size_t missing = (size_t)(-t->done_bytes % TAR_BLOCK_BYTES);

	if (!t->may_pad)
		return 0;
	t->may_pad = false;
	*ret = zeros;
	return missing;
}

static la_ssize_t read_plain(struct archive *a, void *context, const void **ret)
{
	struct tar_stream *t = context;
	size_t bytes;
	int r;

	do
		r = next_plain(t, ret, &bytes);
	while (r > 0 && !bytes);
	if (!r)
		return (la_ssize_t)pad(t, ret);
	if (r < 0)
		archive_set_error(a, -r, "cannot be read");
	return r < 0 ? -1 : (la_ssize_t)bytes;
}

static int open_plain(struct tar_stream *t, struct err *e)
{
	struct archive_entry *whole;

	t->plain = archive_read_new();
	if (!t->plain)
		return err_set(e, -ENOMEM, "out of memory");
	if (archive_read_support_filter_gzip(t->plain) != ARCHIVE_OK ||
		archive_read_support_filter_zstd(t->plain) != ARCHIVE_OK ||
		archive_read_support_format_raw(t->plain) != ARCHIVE_OK ||
		archive_read_support_format_empty(t->plain) != ARCHIVE_OK)
		return err_set(e, -ENOTSUP, "libarchive was built without gzip or zstd");
	if (archive_read_open(t->plain, t, NULL, read_blob, NULL) != ARCHIVE_OK)
		return fail(t, t->plain, "cannot be decompressed", e);
	switch (archive_read_next_header(t->plain, &whole)) {
	case ARCHIVE_EOF:
		t->has_plain_ended = true;
		return 0;
	case ARCHIVE_OK:
	case ARCHIVE_WARN:
		return 0;
	default:
		return fail(t, t->plain, "cannot be decompressed", e);
	}
}

static int open_tar(struct tar_stream *t, struct err *e)
{
	t->tar = archive_read_new();
	if (!t->tar)
		return err_set(e, -ENOMEM, "out of memory");
	if (archive_read_support_format_tar(t->tar) != ARCHIVE_OK ||
		archive_read_support_format_empty(t->tar) != ARCHIVE_OK)
		return err_set(e, -ENOTSUP, "libarchive was built without tar");
	if (archive_read_open(t->tar, t, NULL, read_plain, NULL) != ARCHIVE_OK)
		return fail(t, t->tar, "is not a tar archive", e);
	return 0;
}

/* libarchive turns the UTF-8 of pax headers into the locale's charset: it must be UTF-8 too. Only
 * this thread's locale changes, and only while we are inside. */
static void enter_locale(struct tar_stream *t)
{
	t->saved = t->utf8 ? uselocale(t->utf8) : (locale_t)0;
}

static void leave_locale(struct tar_stream *t)
{
	if (t->saved)
		uselocale(t->saved);
}

int tar_stream_open(struct blob *blob, uint64_t max_bytes, struct tar_stream **ret, struct err *e)
{
	struct tar_stream *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_set(e, -ENOMEM, "out of memory");
	t->blob = blob;
	t->max_bytes = max_bytes;
	t->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	r = hasher_init(&t->hasher, e);
	if (!r)
		r = open_plain(t, e);
	if (!r)
		r = open_tar(t, e);
	if (r < 0) {
		tar_stream_close(t);
		return r;
	}
	*ret = t;
	return 0;
}

void tar_stream_close(struct tar_stream *t)
{
	if (!t)
		return;
	archive_read_free(t->tar);
	archive_read_free(t->plain);
	hasher_fini(&t->hasher);
	if (t->utf8)
		freelocale(t->utf8);
	free(t);
}

int tar_stream_next(struct tar_stream *t, struct archive_entry **ret, struct err *e)
{
	int r;

	enter_locale(t);
	t->may_pad = true;
	r = archive_read_next_header(t->tar, ret);
	leave_locale(t);
	if (r == ARCHIVE_EOF)
		return 0;
	/* ARCHIVE_WARN: something of the entry was not understood, a name's charset say. */
	if (r == ARCHIVE_OK || r == ARCHIVE_WARN)
		return 1;
	return fail(t, t->tar, "is not a tar archive, or a damaged one", e);
}

int tar_stream_data(struct tar_stream *t, const void **ret_data, size_t *ret_bytes,
	uint64_t *ret_offset, struct err *e)
{
	la_int64_t offset;
	int r;

	t->may_pad = false;
	r = archive_read_data_block(t->tar, ret_data, ret_bytes, &offset);
	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
		return fail(t, t->tar, "has a damaged file", e);
	if (offset < 0)
		return err_set(e, -EBADMSG, "has a damaged file: a negative offset");
	*ret_offset = (uint64_t)offset;
	return 1;
}

int tar_stream_diff_id(struct tar_stream *t, struct digest *ret, struct err *e)
{
	const void *data;
	size_t bytes;
	int r;

	do
		r = next_plain(t, &data, &bytes);
	while (r > 0);
	if (r < 0) {
		if (e)
			*e = t->err;
		return r;
	}
	return hasher_end(&t->hasher, ret) < 0 ? err_set(e, -EIO, "SHA-256 failed") : 0;
}
