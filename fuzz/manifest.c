// SPDX-License-Identifier: Apache-2.0
/* Any bytes as each of the three documents of an image: refused with an error, or within bounds. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "oci/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(int r, const struct err *e)
{
	assert(r == 0 || (r < 0 && e->code == r && e->cause[0]));
}

static void choose_from(const struct index *index)
{
	const struct descriptor *d = NULL;
	struct platform wanted = {"linux", "amd64", ""};
	struct ref ref = {.transport = REF_LAYOUT};
	struct err e = {0};
	int r = index_choose(index, &ref, &wanted, &d, &e);

	check(r, &e);
	assert(r || (d >= index->items && d < index->items + index->n));
	strcpy(ref.tag, "latest");
	check(index_choose(index, &ref, &wanted, &d, &e), &e);
	check(index_choose_platform(index, &wanted, &d, &e), &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct image_document document;
	struct manifest manifest;
	struct index index;
	struct err e = {0};
	int r;

	r = index_parse(data, bytes, &index, &e);
	check(r, &e);
	if (!r) {
		choose_from(&index);
		index_fini(&index);
	}
	r = manifest_parse(data, bytes, &manifest, &e);
	check(r, &e);
	if (!r) {
		assert(manifest.n_layers > 0 && manifest.n_layers <= MANIFEST_LAYERS_MAX);
		manifest_fini(&manifest);
	}
	r = image_document_parse(data, bytes, &document, &e);
	check(r, &e);
	if (!r) {
		assert(document.n_diff_ids > 0 && document.n_diff_ids <= MANIFEST_LAYERS_MAX);
		assert(document.platform.os[0] && document.platform.architecture[0]);
		image_document_fini(&document);
	}
	return 0;
}
