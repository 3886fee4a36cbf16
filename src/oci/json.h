// SPDX-License-Identifier: Apache-2.0
/*
 * Strict reading of JSON documents written by strangers, on top of jansson: one object, no
 * duplicate keys, no trailing data, every member of the expected type. A member that is null
 * counts as absent, as Docker writes it.
 */
#pragma once

#include <jansson.h>

#include "base/err.h"

#define autojson CLEANUP(json_autorun)

void json_autorun(json_t **j);

/* Parses a whole document, which must be an object. -EINVAL with the place of the mistake. */
int json_document(const void *text, size_t bytes, json_t **ret, struct err *e) MUST_CHECK;

/* Members. *ret is NULL (or 0) when absent; a wrong type is -EINVAL and names the key. */
int json_get_text(
	const json_t *object, const char *key, const char **ret, struct err *e) MUST_CHECK;
int json_get_u64(const json_t *object, const char *key, uint64_t *ret, struct err *e) MUST_CHECK;
int json_get_object(const json_t *object, const char *key, json_t **ret, struct err *e) MUST_CHECK;
int json_get_array(const json_t *object, const char *key, json_t **ret, struct err *e) MUST_CHECK;
