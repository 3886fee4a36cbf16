// SPDX-License-Identifier: Apache-2.0
/* Private to disk_overlay.c and disk_save.c. */
#pragma once

#include "backend/disk_layers.h"

struct disk_overlay {
	struct disk disk;
	struct disk_layers layers;
};

/* The layers of a disk of disk_overlay_new; of any other NULL with e set. */
struct disk_layers *disk_overlay_layers(struct disk *d, struct err *e);
