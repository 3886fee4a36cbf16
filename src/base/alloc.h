// SPDX-License-Identifier: Apache-2.0
/* Memory that frees itself at the end of its scope. Allocation stays malloc's, always checked. */
#pragma once

#include <errno.h>
#include <stdlib.h>

#include "base/cc.h"

#define autofree CLEANUP(autofree_run)

static inline void autofree_run(void *p)
{
	int saved = errno;

	free(*(void **)p);
	*(void **)p = NULL;
	errno = saved;
}
