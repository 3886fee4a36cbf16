// SPDX-License-Identifier: Apache-2.0
/*
 * What the language lacks: attributes, scope-bound cleanup, overflow-checked arithmetic.
 * Macros here only where a function cannot do it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK	  __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN	  __attribute__((noreturn))
#define PACKED		  __attribute__((packed))
#define CLEANUP(f)	  __attribute__((cleanup(f)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))
/* `to` is a power of two. */
#define ALIGN_UP(n, to)		      (((n) + ((to)-1)) & ~((typeof(n))(to)-1))
#define ALIGN_DOWN(n, to)	      ((n) & ~((typeof(n))(to)-1))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

/* True when a + b (or a * b) does not fit *ret; *ret is then unspecified. */
#define add_overflows(a, b, ret) __builtin_add_overflow(a, b, ret)
#define mul_overflows(a, b, ret) __builtin_mul_overflow(a, b, ret)

/* Hands a pointer out of an autofree variable, which then owns nothing. */
#define take_ptr(p)                                                                                \
	({                                                                                         \
		typeof(*(p)) taken_ = *(p);                                                        \
		*(p) = NULL;                                                                       \
		taken_;                                                                            \
	})
