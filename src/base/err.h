// SPDX-License-Identifier: Apache-2.0
/*
 * An error as data: a code, the object it befell, the cause, and what to do about it.
 *
 * The caller owns the struct; nothing is allocated, nothing is thread-local. It is set once where
 * the failure is discovered and gains context on the way up. Every function tolerates e == NULL.
 * The sentence a person reads is "<object>: <cause>; <remedy>".
 */
#pragma once

#include <stdarg.h>

#include "base/cc.h"

struct err {
	int code;	  /* -Exxx; 0 means no error */
	char object[192]; /* what it befell: a path, a digest, a device; may be empty */
	char cause[256];  /* why */
	char remedy[256]; /* what to do; may be empty */
};

/* Sets code and cause, clears object and remedy. Returns code, which must be negative. */
int err_set(struct err *e, int code, const char *cause, ...) PRINTF_LIKE(3, 4);

/* The same with code -errno and the cause followed by ": " and errno's text. */
int err_sys(struct err *e, const char *cause, ...) PRINTF_LIKE(2, 3);

/* Names the object, unless a deeper layer named one already. Returns e->code (-EIO if e is NULL).
 */
int err_object(struct err *e, const char *object, ...) PRINTF_LIKE(2, 3);

/* Says what to do, unless a deeper layer said so already. Returns as err_object. */
int err_remedy(struct err *e, const char *remedy, ...) PRINTF_LIKE(2, 3);

/* Puts "context: " before the cause. Returns as err_object. */
int err_ctx(struct err *e, const char *context, ...) PRINTF_LIKE(2, 3);

/* Writes the sentence into `out`, always terminated. */
void err_sentence(const struct err *e, char *out, size_t out_bytes);
