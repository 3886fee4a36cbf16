// SPDX-License-Identifier: Apache-2.0
/* Brings all layers of an image into the store, several at a time, and merges the lowest. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "oci/manifest.h"
#include "oci/object.h"
#include "oci/pull.h"
#include "oci/record.h"

enum { CONVERT_THREADS_MAX = 4 };

struct convert {
	struct store *store;
	struct source *source;
	const struct pull_options *options;
	const struct manifest *manifest;
	const struct image_document *document;
	unsigned n_cpus;
	unsigned n_workers;   /* compressing threads for each layer */
	atomic_uint next;     /* the next layer to take */
	atomic_bool is_ended; /* failed or given up: everybody stops soon */
	pthread_mutex_t lock; /* of what follows, and around options->progress */
	struct err err;	      /* the first one */
};

/* 0 when every layer that can matter is in the store. */
int convert_layers(struct convert *c, struct err *e) MUST_CHECK;

/* Fills r->base, and makes the merged layer that the plan for max_layers asks for, if any. */
int convert_merge(struct convert *c, struct image_record *r, struct err *e) MUST_CHECK;
