// SPDX-License-Identifier: Apache-2.0
#include "api/request.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "proto/agent.h"

/* What Docker gives a container whose image does not say (and every shell has a like default). */
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int put(struct buf *out, uint16_t tag, const void *data, size_t bytes)
{
	struct agent_field f = {.bytes = (uint32_t)bytes, .tag = tag};
	int r;

	if (bytes > AGENT_REQUEST_MAX)
		return -E2BIG;
	r = buf_append(out, &f, sizeof(f));
	return r < 0 ? r : buf_append(out, data, bytes);
}

static int put_string(struct buf *out, uint16_t tag, const char *s)
{
	return put(out, tag, s, strlen(s));
}

/* Appends a NULL-terminated list, which may be NULL; counts what it added. */
static int put_args(struct buf *out, const char *const *list, unsigned *count)
{
	int r = 0;

	for (; list && *list && r == 0; list++) {
		r = put_string(out, AGENT_ARG, *list);
		++*count;
	}
	return r;
}

static int put_image_args(struct buf *out, const struct image_strings *list, unsigned *count)
{
	int r = 0;

	for (size_t i = 0; i < list->n && r == 0; i++)
		r = put_string(out, AGENT_ARG, list->items[i]);
	*count += (unsigned)list->n;
	return r;
}

/* Docker: the entrypoint goes before the command; an entrypoint of the caller's drops the image's
 * command along with the image's entrypoint. */
static int put_command(struct buf *out, const struct image_config *image, const char *const *argv,
	const struct sm_exec_options *o, unsigned *count)
{
	int r;

	if (!o->is_entrypoint)
		return put_args(out, argv, count);
	if (o->entrypoint)
		r = put_args(out, o->entrypoint, count);
	else
		r = put_image_args(out, &image->entrypoint, count);
	if (r < 0)
		return r;
	if (argv && argv[0])
		return put_args(out, argv, count);
	return o->entrypoint ? 0 : put_image_args(out, &image->cmd, count);
}

/* Length of NAME with its '=', or 0 when there is none. */
static size_t name_length(const char *variable)
{
	const char *equals = strchr(variable, '=');

	return equals && equals > variable ? (size_t)(equals + 1 - variable) : 0;
}

static bool is_set(const char *const *env, const char *variable, size_t name)
{
	for (; env && *env; env++)
		if (!strncmp(*env, variable, name))
			return true;
	return false;
}

static int check_env(const char *const *env, struct err *e)
{
	for (; env && *env; env++)
		if (!name_length(*env)) {
			err_set(e, -EINVAL, "an environment variable is NAME=value");
			return err_object(e, "%.100s", *env);
		}
	return 0;
}

/* The image's environment, then the caller's; each name once, the last word counts. */
static int put_env(struct buf *out, const struct image_config *image, const char *const *env)
{
	bool has_path = is_set(env, "PATH=", 5);
	int r = 0;

	for (size_t i = 0; i < image->env.n && r == 0; i++) {
		const char *variable = image->env.items[i];
		size_t name = name_length(variable);

		if (!name || is_set(env, variable, name))
			continue;
		has_path = has_path || str_starts_with(variable, "PATH=");
		r = put_string(out, AGENT_ENV, variable);
	}
	for (size_t i = 0; env && env[i] && r == 0; i++)
		if (!is_set(env + i + 1, env[i], name_length(env[i])))
			r = put_string(out, AGENT_ENV, env[i]);
	return r == 0 && !has_path ? put_string(out, AGENT_ENV, DEFAULT_PATH) : r;
}

static int put_place(struct buf *out, const struct image_config *image,
	const struct sm_exec_options *o, uint32_t flags)
{
	const char *cwd = o->cwd ? o->cwd : image->working_dir;
	const char *user = o->user ? o->user : image->user;
	int r = put_string(out, AGENT_CWD, cwd && *cwd ? cwd : "/");

	if (r == 0 && user && *user)
		r = put_string(out, AGENT_USER, user);
	return r < 0 ? r : put(out, AGENT_FLAGS, &flags, sizeof(flags));
}

static int no_command(const struct sm_exec_options *o, struct err *e)
{
	if (!o->is_entrypoint) {
		err_set(e, -EINVAL, "no command was given");
		return err_object(e, "argv");
	}
	err_set(e, -EINVAL, "the image names no command of its own, and none was given");
	return err_remedy(e, "say what to run");
}

int request_encode(struct buf *out, const struct image_config *image, const char *const *argv,
	const struct sm_exec_options *o, uint32_t flags, struct err *e)
{
	unsigned count = 0;
	int r = check_env(o->env, e);

	if (r < 0)
		return r;
	if (o->cwd && o->cwd[0] != '/') {
		err_set(e, -EINVAL, "a working directory is an absolute path");
		return err_object(e, "%.100s", o->cwd);
	}
	r = put_command(out, image, argv, o, &count);
	if (r == 0 && !count)
		return no_command(o, e);
	if (r == 0)
		r = put_env(out, image, o->env);
	if (r == 0)
		r = put_place(out, image, o, flags);
	if (r == -E2BIG) {
		err_set(e, r, "arguments and environment are over the limit of %d KiB",
			AGENT_REQUEST_MAX / 1024);
		return err_remedy(e, "pass large data as standard input");
	}
	return r < 0 ? err_set(e, r, "no memory for the command") : 0;
}
