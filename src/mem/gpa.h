// SPDX-License-Identifier: Apache-2.0
/* A guest-physical address: never a host pointer, never trusted. */
#pragma once

#include <stdint.h>

typedef uint64_t gpa_t;
