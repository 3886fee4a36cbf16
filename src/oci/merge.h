// SPDX-License-Identifier: Apache-2.0
/*
 * Several layer images, lowest first, become one that shows what an overlay of them would show.
 * As nothing lies below it, it has no whiteouts and no opaque directories.
 */
#pragma once

#include "base/err.h"

struct merge_watch {
	/* Told how many bytes of file data were copied; a value other than 0 gives up. */
	int (*advanced)(struct merge_watch *w, uint64_t done_bytes);
};

/* layers: n files open for reading. fd: an empty file, open for reading and writing. */
int merge_layers(const int *layers, unsigned n, int fd, unsigned n_workers, struct merge_watch *w,
	struct err *e) MUST_CHECK;
