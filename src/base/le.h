// SPDX-License-Identifier: Apache-2.0
/* Little-endian loads and stores at any alignment, for tables, wire formats and guest memory. */
#pragma once

#include <stdint.h>
#include <string.h>

#define LE_PAIR(bits)                                                                              \
	static inline uint##bits##_t le##bits##_load(const void *p)                                \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return v;                                                                          \
	}                                                                                          \
	static inline void le##bits##_store(void *p, uint##bits##_t v)                             \
	{                                                                                          \
		memcpy(p, &v, sizeof(v));                                                          \
	}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian hosts are not supported");

LE_PAIR(16)
LE_PAIR(32)
LE_PAIR(64)

#undef LE_PAIR
