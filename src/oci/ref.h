// SPDX-License-Identifier: Apache-2.0
/*
 * An image reference as people write it, taken apart and normalised. Pure text: nothing is looked
 * up, not even in the file system.
 *
 *   oci:DIR[:TAG][@DIGEST]           an OCI layout directory
 *   oci-archive:FILE[:TAG][@DIGEST]  the same in a tar file, plain, gzip or zstd
 *   /PATH  ./PATH  ../PATH           either of the two, whichever is there
 *   [docker://]NAME[:TAG][@DIGEST]   a registry's, by Docker's rules: "alpine" is
 *                                    docker.io/library/alpine:latest
 */
#pragma once

#include "base/err.h"
#include "oci/digest.h"

enum {
	REF_PATH_BYTES = 4096,
	REF_NAME_BYTES = 256, /* distribution/reference: a name is at most 255 characters */
	REF_TAG_BYTES = 256,  /* registries: 128; a layout's ref.name annotation may be longer */
	REF_TEXT_BYTES = REF_PATH_BYTES + REF_NAME_BYTES + REF_TAG_BYTES + 128,
};

enum ref_transport {
	REF_LAYOUT,
	REF_ARCHIVE,
	REF_PATH, /* layout or archive: the file system will tell */
	REF_REGISTRY,
};

struct ref {
	enum ref_transport transport;
	char path[REF_PATH_BYTES];	 /* layout, archive, path */
	char registry[REF_NAME_BYTES];	 /* registry: "docker.io", "localhost:5000" */
	char repository[REF_NAME_BYTES]; /* registry: "library/alpine" */
	char tag[REF_TAG_BYTES];	 /* "" when not given (registry without digest: "latest") */
	bool has_digest;
	struct digest digest;
};

/* Parses the whole of `text`. -EINVAL malformed, -ENOTSUP a transport or algorithm not supported.
 */
int ref_parse(const char *text, struct ref *ret, struct err *e) MUST_CHECK;

/* The normalised text; parsing it gives an equal ref. */
void ref_format(const struct ref *r, char out[REF_TEXT_BYTES]);
