// SPDX-License-Identifier: Apache-2.0
#include "guest/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "proto/frame.h"

enum { KNOWN_FLAGS = AGENT_EXEC_STDIN | AGENT_EXEC_STDOUT | AGENT_EXEC_STDERR };

struct counts {
	size_t args;
	size_t envs;
	size_t bytes;  /* of all strings, terminators included */
	unsigned seen; /* bits of the tags that may come once */
};

static bool has_name(const uint8_t *s, size_t bytes)
{
	const uint8_t *equals = bytes ? memchr(s, '=', bytes) : NULL;

	return equals && equals != s;
}

static int check_once(struct counts *c, uint16_t tag, struct err *e)
{
	if (c->seen & (1u << tag))
		return err_set(e, -EINVAL, "field %u comes twice", tag);
	c->seen |= 1u << tag;
	return 0;
}

static int check_field(
	struct counts *c, const struct agent_field *f, const uint8_t *data, struct err *e)
{
	switch (f->tag) {
	case AGENT_FLAGS:
		if (f->bytes != sizeof(uint32_t) || (le32_load(data) & ~(uint32_t)KNOWN_FLAGS))
			return err_set(e, -EINVAL, "flags are not known to this agent");
		return check_once(c, f->tag, e);
	case AGENT_CWD:
		if (!f->bytes || data[0] != '/')
			return err_set(e, -EINVAL, "the working directory is not an absolute path");
		break;
	case AGENT_ENV:
		if (!has_name(data, f->bytes))
			return err_set(e, -EINVAL, "an environment entry is not NAME=value");
		break;
	case AGENT_ARG:
	case AGENT_USER:
		break;
	default:
		return err_set(e, -EINVAL, "field %u is not known to this agent", f->tag);
	}
	if (f->bytes && memchr(data, '\0', f->bytes))
		return err_set(e, -EINVAL, "a string of field %u has a NUL in it", f->tag);
	c->bytes += (size_t)f->bytes + 1;
	c->args += f->tag == AGENT_ARG;
	c->envs += f->tag == AGENT_ENV;
	return f->tag == AGENT_ARG || f->tag == AGENT_ENV ? 0 : check_once(c, f->tag, e);
}

/* First pass: everything is checked, nothing is kept. */
static int check(const uint8_t *at, const uint8_t *end, struct counts *c, struct err *e)
{
	struct agent_field f;
	const uint8_t *data;
	int r;

	while ((r = frame_next_field(&at, end, &f, &data)) > 0) {
		r = check_field(c, &f, data, e);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return err_set(e, -EINVAL, "a field runs past the end of the request");
	return c->args ? 0 : err_set(e, -EINVAL, "there is no command");
}

/* Second pass: copies what the first has checked. */
static void fill(struct request *q, const uint8_t *at, const uint8_t *end, char *strings)
{
	struct agent_field f;
	const uint8_t *data;
	size_t n_args = 0;

	while (frame_next_field(&at, end, &f, &data) > 0) {
		if (f.tag == AGENT_FLAGS) {
			q->flags = le32_load(data);
			continue;
		}
		if (f.bytes)
			memcpy(strings, data, f.bytes);
		strings[f.bytes] = '\0';
		if (f.tag == AGENT_ARG)
			q->argv[n_args++] = strings;
		else if (f.tag == AGENT_ENV)
			q->envp[q->n_env++] = strings;
		else if (f.tag == AGENT_CWD)
			q->cwd = strings;
		else
			q->user = strings;
		strings += (size_t)f.bytes + 1;
	}
	q->argv[n_args] = NULL;
	q->envp[q->n_env] = NULL;
}

int request_decode(const void *payload, size_t bytes, struct request *ret, struct err *e)
{
	const uint8_t *at = payload, *end = at + bytes;
	struct request q = {.cwd = "/", .user = ""};
	struct counts c = {0};
	size_t pointers;
	int r = check(at, end, &c, e);

	if (r < 0)
		return r;
	/* A field has a head of eight bytes, so the counts are small and no sum can wrap. */
	pointers = c.args + 1 + c.envs + 2;
	q.memory = malloc(pointers * sizeof(char *) + c.bytes);
	if (!q.memory)
		return err_set(
			e, -ENOMEM, "the guest has no memory for a request of %zu bytes", bytes);
	q.argv = q.memory;
	q.envp = q.argv + c.args + 1;
	fill(&q, at, end, (char *)(q.argv + pointers));
	*ret = q;
	return 0;
}

/* Whether one of the first n of the environment has the name of `var`, "NAME=value". */
static bool is_named(const struct request *q, size_t n, const char *var)
{
	size_t bytes = (size_t)(strchrnul(var, '=') - var) + 1;

	for (size_t i = 0; i < n; i++)
		if (!strncmp(q->envp[i], var, bytes))
			return true;
	return false;
}

int request_add_env(struct request *q, char *const *vars, size_t n)
{
	size_t own = q->n_env;
	char **envp;

	if (!n)
		return 0;
	envp = malloc((own + n + 2) * sizeof(*envp));
	if (!envp)
		return -ENOMEM;
	memcpy(envp, q->envp, own * sizeof(*envp));
	free(q->more);
	q->more = q->envp = envp;
	for (size_t i = 0; i < n; i++)
		if (!is_named(q, own, vars[i]))
			envp[q->n_env++] = vars[i];
	envp[q->n_env] = NULL;
	return 0;
}

void request_fini(struct request *q)
{
	free(q->more);
	free(q->memory);
	*q = (struct request){0};
}

const char *request_env(const struct request *q, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < q->n_env; i++)
		if (!strncmp(q->envp[i], name, n) && q->envp[i][n] == '=')
			return q->envp[i] + n + 1;
	return NULL;
}
