// SPDX-License-Identifier: Apache-2.0
/*
 * Runs the helper program `supermachine-pull`, which converts an image into the store, and listens
 * to it. It writes JSON, one object a line, on its standard output:
 *
 *   {"event":"progress","stage":N,"digest":"sha256:…","layer":N,"layers":N,"done":N,"total":N}
 *   {"event":"image","manifest":"sha256:…"}                     the last line, or
 *   {"event":"error","code":N,"object":"…","cause":"…","remedy":"…"}
 *
 * It gives up when nobody listens any more, so it never outlives the program that started it.
 */
#pragma once

#include "oci/image.h"

struct pull_request {
	const char *store;     /* path */
	const char *reference; /* normalised, an absolute path or a registry's */
	const char *platform;
	const struct image_open_options *options;
};

/* Blocks until the image is in the store. Errors are the helper's own, as data. */
int pull_client_run(
	const struct pull_request *q, struct digest *ret_manifest, struct err *e) MUST_CHECK;
