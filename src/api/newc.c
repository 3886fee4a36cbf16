// SPDX-License-Identifier: Apache-2.0
#include "api/newc.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

static int pad(struct buf *b)
{
	static const char zeros[4];

	return buf_append(b, zeros, ALIGN_UP(b->bytes, (size_t)4) - b->bytes);
}

static int entry(struct buf *b, const char *name, unsigned mode, const void *data, size_t bytes)
{
	int r;

	if (bytes > UINT32_MAX)
		return -E2BIG;
	/* magic, ino, mode, uid, gid, nlink, mtime, filesize, dev, rdev, namesize, check */
	r = buf_printf(b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 0, mode, 0,
		0, 1, 0, (unsigned)bytes, 0, 0, 0, 0, (unsigned)strlen(name) + 1, 0);
	if (r == 0)
		r = buf_append(b, name, strlen(name) + 1);
	if (r == 0)
		r = pad(b);
	if (r == 0)
		r = buf_append(b, data, bytes);
	return r == 0 ? pad(b) : r;
}

int newc_add_file(struct buf *b, const char *name, const void *data, size_t bytes)
{
	return entry(b, name, S_IFREG | 0400, data, bytes);
}

int newc_end(struct buf *b)
{
	return entry(b, "TRAILER!!!", 0, NULL, 0);
}
