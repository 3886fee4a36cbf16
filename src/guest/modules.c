// SPDX-License-Identifier: Apache-2.0
#include "guest/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/console.h"
#include "guest/file.h"

#define FOLDER "/modules/"

enum { ORDER_TEXT_MAX = 64 * 1024, NAME_BYTES_MAX = 128 };

static int load(const char *name)
{
	char path[sizeof(FOLDER) + NAME_BYTES_MAX];
	autoclose int fd = -1;

	if (strlen(name) > NAME_BYTES_MAX || strchr(name, '/'))
		return -EINVAL;
	snprintf(path, sizeof(path), FOLDER "%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

int modules_load(struct err *e)
{
	autobuf struct buf b;
	char *rest, *name;
	int r;

	buf_init(&b, ORDER_TEXT_MAX);
	r = file_read(FOLDER "order", &b);
	if (r == -ENOENT)
		return 0;
	if (r < 0 || !buf_cstr(&b)) {
		err_set(e, r < 0 ? r : -ENOMEM, "cannot be read: %s",
			strerror(r < 0 ? -r : ENOMEM));
		return err_object(e, FOLDER "order");
	}
	rest = (char *)b.data;
	while ((name = strsep(&rest, "\n"))) {
		if (!*name)
			continue;
		r = load(name);
		if (r < 0)
			console_say(
				"module %s: the kernel does not load it: %s", name, strerror(-r));
	}
	return 0;
}
