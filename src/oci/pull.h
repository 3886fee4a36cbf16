// SPDX-License-Identifier: Apache-2.0
/*
 * Makes everything of an image that the store lacks: resolve, verify, convert the layers (several
 * at once), merge when there are too many, and remember. Runs in the helper program.
 */
#pragma once

#include "oci/image.h"

struct source;

struct pull_options {
	const char *reference;	  /* an absolute path in it, as image.c settles it */
	const char *platform;	  /* NULL: this host's */
	unsigned max_layers;	  /* 0: no limit */
	uint64_t max_layer_bytes; /* 0: LAYER_BYTES_MAX */
	/* Called from any thread, never twice at once; other than 0 gives up. May be NULL. */
	int (*progress)(void *context, const struct image_progress *p);
	/* Called once the store and the source are open, before a byte of the source is parsed;
	 * store and source are directories or files that stay readable. May be NULL. */
	int (*confine)(void *context, const char *store, const char *source, struct err *e);
	void *context;
};

/* On success the store has the image under *ret_manifest. On failure it has nothing more than
 * whole layers that other images may use. */
int pull_image(struct store *s, const struct pull_options *o, struct digest *ret_manifest,
	struct err *e) MUST_CHECK;
