// SPDX-License-Identifier: Apache-2.0
#include "arch/cmdline.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"

void cmdline_init(struct cmdline *c)
{
	c->text[0] = '\0';
	c->bytes = 0;
}

static int refuse_long(size_t bytes, struct err *e)
{
	err_set(e, -E2BIG, "%zu bytes are too long, the kernel takes %d", bytes, ARCH_CMDLINE_MAX);
	err_object(e, "kernel command line");
	return err_remedy(e, "pass fewer or shorter kernel parameters");
}

int cmdline_add(struct cmdline *c, const char *words, size_t bytes, struct err *e)
{
	size_t blank = c->bytes ? 1 : 0;

	if (bytes == 0)
		return 0;
	if (bytes > ARCH_CMDLINE_MAX - c->bytes || bytes + blank > ARCH_CMDLINE_MAX - c->bytes)
		return refuse_long(c->bytes + blank + bytes, e);
	for (size_t i = 0; i < bytes; i++)
		if ((unsigned char)words[i] < ' ' || words[i] == 0x7f) {
			err_set(e, -EINVAL, "byte %zu is 0x%02x, a control character", i,
				(unsigned char)words[i]);
			err_object(e, "kernel command line");
			return err_remedy(e, "separate parameters by blanks");
		}
	if (blank)
		c->text[c->bytes++] = ' ';
	memcpy(c->text + c->bytes, words, bytes);
	c->bytes += bytes;
	c->text[c->bytes] = '\0';
	return 0;
}
