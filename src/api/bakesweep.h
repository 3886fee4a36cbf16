// SPDX-License-Identifier: Apache-2.0
/* Baked states that were baked over: how many an image keeps. Any thread. */
#pragma once

#include "oci/store.h"

enum { BAKE_KEPT = 6 };

/* Removes all but the BAKE_KEPT newest baked states of an image. A VM that was restored from one of
 * them keeps its files; a start that is just about to restore one bakes it again. */
void bakesweep(struct store *s, const char *reference);
