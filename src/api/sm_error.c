// SPDX-License-Identifier: Apache-2.0
#include "api/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum sm_code error_code(int negative_errno)
{
	switch (-negative_errno) {
	case EINVAL:
	case EEXIST:
	case E2BIG:
	case ERANGE:
	case EDOM:
	case ENAMETOOLONG:
	case EBADF:
	case EISDIR:
	case ELOOP:
		return SM_E_INVALID;
	case ENOENT:
	case ENOTDIR:
		return SM_E_NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS:
		return SM_E_DENIED;
	case EBADMSG:
		return SM_E_CORRUPT;
	case ENOTSUP:
	case ENOSYS:
		return SM_E_UNSUPPORTED;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return SM_E_NO_SPACE;
	case ENOMEM:
		return SM_E_NO_MEMORY;
	case ENODEV:
	case ENXIO:
		return SM_E_HYPERVISOR;
	case EPROTO:
	case ECONNABORTED:
	case ECONNRESET:
		return SM_E_GUEST;
	case ESHUTDOWN:
		return SM_E_VM_GONE;
	case ETIMEDOUT:
		return SM_E_TIMEOUT;
	case EBUSY:
	case EAGAIN:
		return SM_E_BUSY;
	case ENOEXEC:
		return SM_E_EXEC;
	default:
		return SM_E_IO;
	}
}

int error_out_as(struct sm_error *out, const struct err *e, enum sm_code code)
{
	if (!out)
		return code;
	*out = (struct sm_error){.code = code, .os_code = -e->code};
	_Static_assert(sizeof(out->object) == sizeof(e->object), "copied whole");
	_Static_assert(sizeof(out->cause) == sizeof(e->cause), "copied whole");
	_Static_assert(sizeof(out->remedy) == sizeof(e->remedy), "copied whole");
	memcpy(out->object, e->object, sizeof(out->object));
	memcpy(out->cause, e->cause, sizeof(out->cause));
	memcpy(out->remedy, e->remedy, sizeof(out->remedy));
	if (!out->cause[0])
		snprintf(out->cause, sizeof(out->cause), "%s", strerror(-e->code));
	return code;
}

int error_out(struct sm_error *out, const struct err *e)
{
	return error_out_as(out, e, error_code(e->code));
}

void sm_error_sentence(const struct sm_error *err, char *out, size_t out_bytes)
{
	if (!out || !out_bytes)
		return;
	snprintf(out, out_bytes, "%s%s%s%s%s", err->object, err->object[0] ? ": " : "", err->cause,
		err->remedy[0] ? "; " : "", err->remedy);
}

const char *sm_version(void)
{
	return SM_VERSION;
}
