// SPDX-License-Identifier: Apache-2.0
/*
 * One layer blob becomes one squashfs file, in one verified pass, without root and without
 * unpacking anything on this host. Whiteouts take the form that overlayfs reads.
 *
 * Names that lead out of the layer are refused; symbolic links keep their target as it is, since
 * only the guest will follow them. POSIX ACLs are lost (squashfs has no place for them), as are
 * attributes outside user.*, trusted.* and security.*; trusted.overlay.* of a stranger is dropped.
 * A directory that a layer uses without describing it is made 0755, root's.
 */
#pragma once

#include "oci/blob.h"

enum { LAYER_METADATA_BYTES_MAX = 512 << 20 }; /* about two million files */
#define LAYER_BYTES_MAX (64ull << 30)

struct layer_request {
	struct source *source;
	struct descriptor blob;
	const struct digest *diff_id; /* what the uncompressed tar must be */
	uint64_t max_bytes;	      /* ceiling for the tar and for its files' sizes together */
	unsigned n_workers;
	struct blob_watch *watch; /* may be NULL */
};

/* Writes into the empty file fd (open for reading and writing). Only after 0 may it be kept. The
 * error names no object: that is the caller's to say. */
int layer_convert(const struct layer_request *q, int fd, struct err *e) MUST_CHECK;
