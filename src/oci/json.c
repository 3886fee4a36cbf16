// SPDX-License-Identifier: Apache-2.0
#include "oci/json.h"

#include <errno.h>

void json_autorun(json_t **j)
{
	int saved = errno;

	json_decref(*j);
	*j = NULL;
	errno = saved;
}

int json_document(const void *text, size_t bytes, json_t **ret, struct err *e)
{
	json_error_t where;
	json_t *j = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &where);

	if (!j && json_error_code(&where) == json_error_out_of_memory)
		return err_set(e, -ENOMEM, "out of memory");
	if (!j)
		return err_set(e, -EINVAL, "is not valid JSON: line %d, column %d: %s", where.line,
			where.column, where.text);
	if (!json_is_object(j)) {
		json_decref(j);
		return err_set(e, -EINVAL, "is not a JSON object");
	}
	*ret = j;
	return 0;
}

static int wrong_type(const char *key, const char *wanted, struct err *e)
{
	return err_set(e, -EINVAL, "\"%s\" is not %s", key, wanted);
}

/* The member, or NULL when absent or null. */
static json_t *member(const json_t *object, const char *key)
{
	json_t *j = json_object_get(object, key);

	return json_is_null(j) ? NULL : j;
}

int json_get_text(const json_t *object, const char *key, const char **ret, struct err *e)
{
	json_t *j = member(object, key);

	if (j && !json_is_string(j))
		return wrong_type(key, "a string", e);
	*ret = json_string_value(j);
	return 0;
}

int json_get_u64(const json_t *object, const char *key, uint64_t *ret, struct err *e)
{
	json_t *j = member(object, key);

	if (j && (!json_is_integer(j) || json_integer_value(j) < 0))
		return wrong_type(key, "a number from 0", e);
	*ret = (uint64_t)json_integer_value(j);
	return 0;
}

int json_get_object(const json_t *object, const char *key, json_t **ret, struct err *e)
{
	json_t *j = member(object, key);

	if (j && !json_is_object(j))
		return wrong_type(key, "an object", e);
	*ret = j;
	return 0;
}

int json_get_array(const json_t *object, const char *key, json_t **ret, struct err *e)
{
	json_t *j = member(object, key);

	if (j && !json_is_array(j))
		return wrong_type(key, "an array", e);
	*ret = j;
	return 0;
}
