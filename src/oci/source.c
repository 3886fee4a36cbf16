// SPDX-License-Identifier: Apache-2.0
/* What all sources share: verified documents, and the walk from a reference to a manifest. */
#include "oci/source.h"

#include <errno.h>
#include <string.h>

#include "oci/json.h"

void source_close(struct source *s)
{
	if (s)
		s->ops->close(s);
}

static int read_all(struct blob_stream *stream, uint64_t bytes, struct buf *b, struct err *e)
{
	for (;;) {
		/* One more than promised, so that a blob that is too long is noticed. */
		size_t want = (size_t)(bytes + 1 - b->bytes);
		void *at = buf_reserve(b, want);
		ssize_t n;

		if (!at)
			return err_set(e, -ENOMEM, "out of memory");
		n = stream->read(stream, at, want, e);
		if (n < 0)
			return (int)n;
		if (!n)
			return 0;
		buf_grew(b, (size_t)n);
		if (b->bytes > bytes)
			return 0;
	}
}

static int check_document(const struct descriptor *d, const struct buf *b, struct err *e)
{
	struct digest got;

	if (b->bytes != d->bytes) {
		err_set(e, -EBADMSG, "is %s than the %llu bytes its descriptor says",
			b->bytes > d->bytes ? "longer" : "shorter", (unsigned long long)d->bytes);
		return err_remedy(e, "copy or pull the image again");
	}
	digest_of(b->data, b->bytes, &got);
	if (digest_equal(&got, &d->digest))
		return 0;
	err_set(e, -EBADMSG, "is corrupt: its content does not match its digest");
	return err_remedy(e, "copy or pull the image again");
}

static int read_document(struct source *s, const struct descriptor *d, struct buf *b, struct err *e)
{
	struct blob_stream *stream;
	int r;

	if (d->bytes > DOCUMENT_BYTES_MAX)
		return err_set(e, -EBADMSG, "is %llu bytes long, more than the %d allowed",
			(unsigned long long)d->bytes, DOCUMENT_BYTES_MAX);
	r = s->ops->open_blob(s, &d->digest, &stream, e);
	if (r < 0)
		return r;
	r = read_all(stream, d->bytes, b, e);
	stream->close(stream);
	return r < 0 ? r : check_document(d, b, e);
}

int source_read_document(
	struct source *s, const struct descriptor *d, struct buf *ret, struct err *e)
{
	char digest[DIGEST_TEXT_BYTES];
	autobuf struct buf b;
	int r;

	buf_init(&b, DOCUMENT_BYTES_MAX + 1);
	r = read_document(s, d, &b, e);
	if (r < 0) {
		digest_format(&d->digest, digest);
		return err_object(e, "blob %s", digest);
	}
	*ret = b;
	buf_init(&b, 0);
	return 0;
}

/* Replaces *at, an index, by the entry in it that fits the platform. */
static int enter_index(
	struct source *s, const struct platform *wanted, struct descriptor *at, struct err *e)
{
	char digest[DIGEST_TEXT_BYTES];
	const struct descriptor *chosen;
	struct index index;
	autobuf struct buf b;
	int r;

	buf_init(&b, 0);
	digest_format(&at->digest, digest);
	r = source_read_document(s, at, &b, e);
	if (r < 0)
		return r;
	r = index_parse(b.data, b.bytes, &index, e);
	if (r < 0)
		return err_object(e, "index %s", digest);
	r = index_choose_platform(&index, wanted, &chosen, e);
	if (!r)
		*at = *chosen;
	index_fini(&index);
	return r;
}

int source_find_manifest(struct source *s, const struct ref *ref, const struct platform *wanted,
	struct descriptor *ret, struct err *e)
{
	struct descriptor at;
	int r = s->ops->resolve(s, ref, wanted, &at, e);

	for (unsigned depth = 0; !r && at.kind == MEDIA_INDEX; depth++) {
		if (depth == INDEX_DEPTH_MAX)
			return err_set(e, -EINVAL, "has indexes nested more than %d deep",
				INDEX_DEPTH_MAX);
		r = enter_index(s, wanted, &at, e);
	}
	if (r < 0)
		return r;
	*ret = at;
	return 0;
}

int layout_check_marker(const struct buf *oci_layout, struct err *e)
{
	autojson json_t *j = NULL;
	const char *version;
	int r = json_document(oci_layout->data, oci_layout->bytes, &j, e);

	if (!r)
		r = json_get_text(j, "imageLayoutVersion", &version, e);
	if (r < 0)
		return err_ctx(e, "oci-layout");
	/* image-spec image-layout.md: 1.0.0 is the only version there is. */
	if (!version || strncmp(version, "1.", 2))
		return err_set(e, -ENOTSUP,
			"is an OCI layout of version %.20s, only 1.0.0 is known",
			version ? version : "(none)");
	return 0;
}

int layout_choose(const struct buf *index_json, const struct ref *ref,
	const struct platform *wanted, struct descriptor *ret, struct err *e)
{
	const struct descriptor *chosen;
	struct index index;
	int r = index_parse(index_json->data, index_json->bytes, &index, e);

	if (r < 0)
		return err_ctx(e, "index.json");
	r = index_choose(&index, ref, wanted, &chosen, e);
	if (!r)
		*ret = *chosen;
	index_fini(&index);
	return r;
}
