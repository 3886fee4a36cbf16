// SPDX-License-Identifier: Apache-2.0
/* What is behind the opaque handles of the public header, for the sm_*.c files only. */
#pragma once

#include <stdatomic.h>
#include <supermachine.h>

#include "api/link.h"
#include "oci/image.h"
#include "oci/store.h"

/* Shared by its handle and the VMs started from it; the last owner frees it. Constant but for the
 * count. */
struct sm_image {
	atomic_uint n_owners;
	struct store *store;
	struct image *image;
	char platform[64];
};

struct sm_image *image_ref(struct sm_image *i);
void image_unref(struct sm_image *i);

struct sm_vm {
	struct sm_image *image;
	struct link link; /* locks itself */
	int console_fd;
	uint64_t memory_bytes;
	struct sm_start_timings timings;
	char name[65];
};
