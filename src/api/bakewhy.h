// SPDX-License-Identifier: Apache-2.0
/* Why a state has to be baked, in one line. Any thread. */
#pragma once

#include "api/bakekey.h"
#include "oci/store.h"

/* Looks for the newest state of the same image in the store and says what is different now. */
void bakewhy(
	struct store *s, const struct bakekey *key, const char *reference, char *out, size_t room);
