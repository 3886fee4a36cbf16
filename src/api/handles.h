// SPDX-License-Identifier: Apache-2.0
/* What is behind the opaque handles of the public header, for the sm_*.c files only. */
#pragma once

#include <stdatomic.h>
#include <supermachine.h>

#include "api/commands.h"
#include "api/link.h"
#include "api/snapshot_json.h"
#include "base/buf.h"
#include "oci/image.h"
#include "oci/store.h"

/* Shared by its handle and the VMs started from it; the last owner frees it. Constant but for the
 * count. That of a restored VM is made from its snapshot. */
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
	bool has_link;
	struct link link; /* locks itself */
	int console_fd;
	struct machine machine;
	struct sm_start_timings timings;
	char name[65];
	struct commands commands; /* locks itself */

	pthread_mutex_t lock; /* one snapshot or rollback at a time; all below */
	struct buf identity;  /* fields of AGENT_RESUME that stay the same at each resume */
	/* The full snapshot behind a restored VM; id is empty when it was booted. */
	char origin_id[SNAPSHOT_ID_BYTES];
	struct command *origin_commands; /* that ran in it */
	unsigned n_origin_commands;
};
