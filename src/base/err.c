// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int code_of(const struct err *e)
{
	return e ? e->code : -EIO;
}

int err_set(struct err *e, int code, const char *cause, ...)
{
	va_list ap;

	if (!e)
		return code;
	e->code = code;
	e->object[0] = e->remedy[0] = '\0';
	va_start(ap, cause);
	vsnprintf(e->cause, sizeof(e->cause), cause, ap);
	va_end(ap);
	return code;
}

int err_sys(struct err *e, const char *cause, ...)
{
	int saved = errno;
	va_list ap;
	size_t n;

	if (!e)
		return -saved;
	e->code = -saved;
	e->object[0] = e->remedy[0] = '\0';
	va_start(ap, cause);
	vsnprintf(e->cause, sizeof(e->cause), cause, ap);
	va_end(ap);
	n = strlen(e->cause);
	snprintf(e->cause + n, sizeof(e->cause) - n, "%s%s", n ? ": " : "", strerror(saved));
	errno = saved;
	return -saved;
}

int err_object(struct err *e, const char *object, ...)
{
	va_list ap;

	if (!e || e->object[0])
		return code_of(e);
	va_start(ap, object);
	vsnprintf(e->object, sizeof(e->object), object, ap);
	va_end(ap);
	return e->code;
}

int err_remedy(struct err *e, const char *remedy, ...)
{
	va_list ap;

	if (!e || e->remedy[0])
		return code_of(e);
	va_start(ap, remedy);
	vsnprintf(e->remedy, sizeof(e->remedy), remedy, ap);
	va_end(ap);
	return e->code;
}

int err_ctx(struct err *e, const char *context, ...)
{
	char old[sizeof(e->cause)];
	va_list ap;
	size_t n;

	if (!e)
		return -EIO;
	memcpy(old, e->cause, sizeof(old));
	va_start(ap, context);
	vsnprintf(e->cause, sizeof(e->cause), context, ap);
	va_end(ap);
	n = strlen(e->cause);
	snprintf(e->cause + n, sizeof(e->cause) - n, ": %.*s", (int)sizeof(old) - 1, old);
	return e->code;
}

void err_sentence(const struct err *e, char *out, size_t out_bytes)
{
	const char *cause = e->cause[0] ? e->cause : strerror(-e->code);

	snprintf(out, out_bytes, "%s%s%s%s%s", e->object, e->object[0] ? ": " : "", cause,
		e->remedy[0] ? "; " : "", e->remedy);
}
