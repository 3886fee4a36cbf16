// SPDX-License-Identifier: Apache-2.0
/*
 * Private to disk_overlay.c and disk_save.c: which file holds which part of an overlay disk. Three
 * layers: the clusters written since the disk was made (a bit each), those of a differential
 * snapshot (runs), the base. Knows no requests.
 */
#pragma once

#include "backend/disk.h"

enum disk_layer { LAYER_BASE, LAYER_DIFF, LAYER_OWN };

/* A run of a differential snapshot. */
struct disk_diff_run {
	uint64_t offset, bytes; /* on the disk */
	uint64_t at;		/* in its file */
};

struct disk_layers {
	uint64_t bytes; /* of the disk, whole clusters */
	int base_fd;
	int diff_fd; /* -1: there is none */
	int own_fd;
	struct disk_diff_run *diff; /* owned, ascending */
	uint32_t n_diff;
	uint64_t *own; /* owned, a mapping: a bit for each cluster; what was never set takes no
			  memory */
	size_t own_bytes;
	bool is_written; /* the own file may hold something; the caller's to set */
};

/* The bitmap; everything else is the caller's to fill in. 0 or -errno. */
int disk_layers_init(struct disk_layers *l, uint64_t bytes) MUST_CHECK;

/* Frees the memory and closes the descriptors (not -1). */
void disk_layers_fini(struct disk_layers *l);

/* A stretch of the disk that one file holds. */
struct disk_piece {
	enum disk_layer layer;
	int fd;
	uint64_t at; /* in the file */
	uint64_t bytes;
};

/* The piece that begins at `offset` and ends at `end` or before. */
struct disk_piece disk_layers_piece(const struct disk_layers *l, uint64_t offset, uint64_t end);

/* The same as though no cluster were an own one. */
struct disk_piece disk_layers_below(const struct disk_layers *l, uint64_t offset, uint64_t end);

bool disk_layers_is_own(const struct disk_layers *l, uint64_t cluster);

/* Clusters [first, end) are own ones from now on, or are not. Clearing what is clear costs no
 * memory. */
void disk_layers_set(struct disk_layers *l, uint64_t first, uint64_t end);
void disk_layers_clear(struct disk_layers *l, uint64_t first, uint64_t end);

/* No cluster is an own one any more. */
void disk_layers_forget(struct disk_layers *l);
