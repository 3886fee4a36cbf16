// SPDX-License-Identifier: Apache-2.0
/* Which layer files an image needs (record.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "oci/record.h"

bool is_empty_layer(const struct digest *diff_id)
{
	/* The digest of 1024 zero bytes, a tar file that only ends. */
	static const struct digest empty = {{0x5f, 0x70, 0xbf, 0x18, 0xa0, 0x86, 0x00, 0x70, 0x16,
		0xe9, 0x48, 0xb0, 0x4a, 0xed, 0x3b, 0x82, 0x10, 0x3a, 0x36, 0xbe, 0xa4, 0x17, 0x55,
		0xb6, 0xcd, 0xdf, 0xaf, 0x10, 0xac, 0xe3, 0xc6, 0xef}};

	return digest_equal(diff_id, &empty);
}

/* What is visible and not empty; one layer at least. */
static unsigned take_layers(const struct image_record *r, struct digest *out)
{
	unsigned n = 0;

	for (unsigned i = r->base; i < r->n_diff_ids; i++)
		if (!is_empty_layer(&r->diff_ids[i]))
			out[n++] = r->diff_ids[i];
	if (!n)
		out[n++] = r->diff_ids[r->n_diff_ids - 1];
	return n;
}

/* Depends on nothing but the layers and their order. */
static int merge_key(const struct digest *ids, unsigned n, struct digest *ret, struct err *e)
{
	char text[DIGEST_TEXT_BYTES];
	autobuf struct buf b;
	int r;

	buf_init(&b, (MANIFEST_LAYERS_MAX + 1) * (size_t)DIGEST_TEXT_BYTES);
	r = buf_append_str(&b, "merged\n");
	for (unsigned i = 0; !r && i < n; i++) {
		digest_format(&ids[i], text);
		r = buf_printf(&b, "%s\n", text);
	}
	if (r < 0)
		return err_set(e, r, "out of memory");
	digest_of(b.data, b.bytes, ret);
	return 0;
}

int layer_plan_make(
	const struct image_record *r, unsigned max_layers, struct layer_plan *ret, struct err *e)
{
	struct layer_plan p = {.n_merged = 1};
	int code = 0;

	p.merged = calloc(r->n_diff_ids + 1, sizeof(*p.merged));
	p.keys = calloc(r->n_diff_ids + 1, sizeof(*p.keys));
	if (!p.merged || !p.keys) {
		layer_plan_fini(&p);
		return err_set(e, -ENOMEM, "out of memory");
	}
	p.n = take_layers(r, p.merged);
	if (max_layers && p.n > max_layers)
		p.n_merged = p.n - max_layers + 1;
	memcpy(p.keys, p.merged + p.n_merged - 1, (p.n - p.n_merged + 1) * sizeof(*p.keys));
	p.n -= p.n_merged - 1;
	if (p.n_merged > 1)
		code = merge_key(p.merged, p.n_merged, &p.keys[0], e);
	if (code < 0) {
		layer_plan_fini(&p);
		return code;
	}
	*ret = p;
	return 0;
}

void layer_plan_fini(struct layer_plan *p)
{
	free(p->keys);
	free(p->merged);
	*p = (struct layer_plan){0};
}
