// SPDX-License-Identifier: Apache-2.0
#include "api/options.h"

#include <errno.h>
#include <string.h>

static bool is_zero(const unsigned char *data, size_t bytes)
{
	while (bytes)
		if (data[--bytes])
			return false;
	return true;
}

int options_copy(
	void *to, size_t bytes, size_t minimum, const void *from, const char *name, struct err *e)
{
	size_t given;

	memset(to, 0, bytes);
	memcpy(to, &bytes, sizeof(bytes));
	if (!from)
		return 0;
	memcpy(&given, from, sizeof(given));
	if (given < minimum) {
		err_set(e, -EINVAL, "its size is %zu, which no version of it has", given);
		err_object(e, "%s", name);
		return err_remedy(e, "set size to sizeof(%s); SM_INIT does it", name);
	}
	if (given > bytes && !is_zero((const unsigned char *)from + bytes, given - bytes)) {
		err_set(e, -EINVAL, "it asks for something that this version of the library lacks");
		err_object(e, "%s", name);
		return err_remedy(e, "use the library that the program was built for, or newer");
	}
	memcpy((char *)to + sizeof(bytes), (const char *)from + sizeof(bytes),
		MIN(given, bytes) - sizeof(bytes));
	return 0;
}
