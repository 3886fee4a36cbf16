// SPDX-License-Identifier: Apache-2.0
/* Registers as data, of the machine that is built for. */
#pragma once

#if defined(__x86_64__)
#include "arch/x86_64/state.h"
#else
#error "no register state for this architecture yet"
#endif
