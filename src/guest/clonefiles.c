// SPDX-License-Identifier: Apache-2.0
#include "guest/clonefiles.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "base/buf.h"
#include "guest/file.h"
#include "proto/agent.h"

enum { TEXT_MAX = 2 * AGENT_FRAME_MAX };

int clonefiles_prepare(struct err *e)
{
	int r = file_make_dirs(CLONEFILES_DIR, 0755);

	if (r == 0 && mount("tmpfs", CLONEFILES_DIR, "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV,
			      "mode=0755,size=1m,nr_inodes=64") < 0)
		r = -errno;
	if (r < 0) {
		err_set(e, r, "cannot be prepared for what a clone is told: %s", strerror(-r));
		return err_object(e, CLONEFILES_DIR);
	}
	return 0;
}

static int replace(const char *dir, const char *name, struct buf *text, struct err *e)
{
	char path[PATH_MAX], beside[PATH_MAX];
	const char *s = buf_cstr(text);
	int r = -ENAMETOOLONG;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path) &&
		snprintf(beside, sizeof(beside), "%s/.%s", dir, name) < (int)sizeof(beside))
		r = s ? file_write(beside, s) : -ENOMEM;
	if (r == 0 && rename(beside, path) < 0)
		r = -errno;
	if (r < 0) {
		err_set(e, r, "cannot be written: %s", strerror(-r));
		return err_object(e, "%s/%s", dir, name);
	}
	return 0;
}

static int write_env(const char *dir, const struct clonefiles *c, struct err *e)
{
	autobuf struct buf text;
	int r = 0;

	buf_init(&text, TEXT_MAX);
	for (size_t i = 0; i < c->n_env && r == 0; i++)
		r = buf_printf(&text, "%s\n", c->env[i]);
	return r < 0 ? err_set(e, r, "the guest has no memory for its variables")
		     : replace(dir, "env", &text, e);
}

int clonefiles_write(const char *dir, const struct clonefiles *c, struct err *e)
{
	autobuf struct buf text;
	int r;

	buf_init(&text, TEXT_MAX);
	r = c->want_env ? write_env(dir, c, e) : 0;
	if (r < 0)
		return r;
	r = buf_printf(&text, "index %u\ncount %u\nid %s\n", c->index, c->count, c->id);
	return r < 0 ? err_set(e, r, "the guest has no memory for its number")
		     : replace(dir, "clone", &text, e);
}
