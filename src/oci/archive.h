// SPDX-License-Identifier: Apache-2.0
/*
 * An OCI layout in a tar file (plain, gzip or zstd) as a source. The file is listed once; blobs
 * are then read from their places. A compressed file is first decompressed into a nameless file
 * beside the store's other temporary ones.
 */
#pragma once

#include "oci/source.h"

struct archive_options {
	int tmp_dir;	    /* where a compressed archive may be decompressed into */
	uint64_t max_bytes; /* ceiling for that; 0: ARCHIVE_BYTES_MAX */
};

#define ARCHIVE_BYTES_MAX (128ull << 30)

int archive_source_open(const char *path, const struct archive_options *o, struct source **ret,
	struct err *e) MUST_CHECK;
