// SPDX-License-Identifier: Apache-2.0
#include "oci/blob.h"

#include <errno.h>
#include <string.h>

enum { DRAIN_BYTES = 65536 };

int blob_open(struct blob *b, struct source *s, const struct descriptor *d,
	struct blob_watch *watch, struct err *e)
{
	int r;

	*b = (struct blob){.watch = watch, .digest = d->digest, .bytes = d->bytes};
	r = hasher_init(&b->hasher, e);
	if (r < 0)
		return r;
	r = s->ops->open_blob(s, &d->digest, &b->stream, e);
	if (r < 0)
		hasher_fini(&b->hasher);
	return r;
}

void blob_close(struct blob *b)
{
	if (b->stream)
		b->stream->close(b->stream);
	hasher_fini(&b->hasher);
	b->stream = NULL;
}

static int wrong_size(const struct blob *b, const char *how, struct err *e)
{
	err_set(e, -EBADMSG, "is %s than the %llu bytes its descriptor says", how,
		(unsigned long long)b->bytes);
	return err_remedy(e, "copy or pull the image again");
}

ssize_t blob_read(struct blob *b, void *data, size_t bytes, struct err *e)
{
	ssize_t n = b->is_longer ? 0 : b->stream->read(b->stream, data, bytes, e);

	b->is_longer = b->is_longer || (n > 0 && (uint64_t)n > b->bytes - b->done_bytes);
	if (b->is_longer)
		return wrong_size(b, "longer", e);
	if (n <= 0)
		return n;
	if (hasher_add(&b->hasher, data, (size_t)n) < 0)
		return err_set(e, -EIO, "SHA-256 failed");
	b->done_bytes += (uint64_t)n;
	if (b->watch && b->watch->advanced(b->watch, b->done_bytes))
		return err_set(e, -ECANCELED, "was given up");
	return n;
}

int blob_verify(struct blob *b, struct err *e)
{
	uint8_t rest[DRAIN_BYTES];
	struct digest got;
	ssize_t n;

	do
		n = blob_read(b, rest, sizeof(rest), e);
	while (n > 0);
	if (n < 0)
		return (int)n;
	if (b->done_bytes < b->bytes)
		return wrong_size(b, "shorter", e);
	if (hasher_end(&b->hasher, &got) < 0)
		return err_set(e, -EIO, "SHA-256 failed");
	if (digest_equal(&got, &b->digest))
		return 0;
	err_set(e, -EBADMSG, "is corrupt: its content does not match its digest");
	return err_remedy(e, "copy or pull the image again");
}
