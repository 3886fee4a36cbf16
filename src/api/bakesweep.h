// SPDX-License-Identifier: Apache-2.0
/* Baked states that are not used any more: how many an image keeps. Any thread. */
#pragma once

#include "oci/store.h"

enum { BAKE_KEPT = 8 };

/* Removes all but the BAKE_KEPT baked states of an image that were made or used last. A VM that was
 * restored from one of them keeps its files; a start that is just about to restore one bakes it
 * again. */
void bakesweep(struct store *s, const char *reference);

/* The state in this directory has been restored. */
void bakesweep_note_use(const char *dir);
