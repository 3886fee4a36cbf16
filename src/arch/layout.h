// SPDX-License-Identifier: Apache-2.0
/* The physical map of the machine that is built for. */
#pragma once

#if defined(__x86_64__)
#include "arch/x86_64/layout.h"
#else
#error "no physical map for this architecture yet"
#endif
