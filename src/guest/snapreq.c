// SPDX-License-Identifier: Apache-2.0
#include "guest/snapreq.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "proto/frame.h"

enum { NS_PER_S = 1000000000, SECONDS_MAX_BITS = 40 };

/* ---- AGENT_RESUME ------------------------------------------------------------------------- */

struct tally {
	unsigned seen; /* bits of the tags that came */
	size_t n_env;
	size_t env_bytes;
};

static int take_entropy(struct resume *q, const uint8_t *data, size_t bytes, struct err *e)
{
	if (bytes < SNAPREQ_ENTROPY_MIN || bytes > SNAPREQ_ENTROPY_MAX)
		return err_set(e, -EINVAL, "%zu bytes of entropy instead of %d to %d", bytes,
			SNAPREQ_ENTROPY_MIN, SNAPREQ_ENTROPY_MAX);
	memcpy(q->entropy, data, bytes);
	q->entropy_bytes = bytes;
	return 0;
}

static int take_clock(struct resume *q, const uint8_t *data, size_t bytes, struct err *e)
{
	struct agent_clock c;

	if (bytes != sizeof(c))
		return err_set(e, -EINVAL, "a clock of the wrong size");
	memcpy(&c, data, sizeof(c));
	if (c.nanoseconds >= NS_PER_S || c.reserved || c.seconds >> SECONDS_MAX_BITS)
		return err_set(e, -EINVAL, "a clock that shows no time");
	q->clock = c;
	return 0;
}

static int take_hostname(struct resume *q, const uint8_t *data, size_t bytes, struct err *e)
{
	char name[BOOTCFG_HOSTNAME_MAX + 1] = "";

	if (bytes <= BOOTCFG_HOSTNAME_MAX)
		memcpy(name, data, bytes);
	if (strlen(name) != bytes || !bootcfg_is_hostname(name))
		return err_set(e, -EINVAL, "a host name with other than letters, digits, '-', '.'");
	memcpy(q->hostname, name, sizeof(name));
	return 0;
}

static int take_machine_id(struct resume *q, const uint8_t *data, size_t bytes, struct err *e)
{
	for (size_t i = 0; i < bytes && bytes == SNAPREQ_MACHINE_ID_CHARS; i++) {
		char c = (char)data[i];

		if (c >= 'A' && c <= 'F')
			c = (char)(c - 'A' + 'a'); /* machine-id(5): lower case */
		if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
			bytes = 0;
		q->machine_id[i] = c;
	}
	if (bytes != SNAPREQ_MACHINE_ID_CHARS)
		return err_set(e, -EINVAL, "a machine-id that is not 32 hexadecimal digits");
	q->machine_id[bytes] = '\0';
	return 0;
}

static int take_clone(struct resume *q, const uint8_t *data, size_t bytes, struct err *e)
{
	struct agent_clone c;

	if (bytes != sizeof(c))
		return err_set(e, -EINVAL, "a clone's number of the wrong size");
	memcpy(&c, data, sizeof(c));
	if (c.index >= c.count)
		return err_set(e, -EINVAL, "there is no clone %u of %u", c.index, c.count);
	q->clone = c;
	return 0;
}

static int check_env(struct tally *t, const uint8_t *data, size_t bytes, struct err *e)
{
	const uint8_t *equals = bytes ? memchr(data, '=', bytes) : NULL;

	if (!equals || equals == data)
		return err_set(e, -EINVAL, "a variable that is not NAME=value");
	if (memchr(data, '\0', bytes) || memchr(data, '\n', bytes))
		return err_set(e, -EINVAL, "variable %.*s has a line break or a NUL in it",
			(int)MIN((size_t)(equals - data), (size_t)64), (const char *)data);
	if (++t->n_env > SNAPREQ_ENV_MAX)
		return err_set(e, -EINVAL, "more than %d variables", SNAPREQ_ENV_MAX);
	t->env_bytes += bytes + 1;
	return 0;
}

static int take_field(struct resume *q, struct tally *t, const struct agent_field *f,
	const uint8_t *data, struct err *e)
{
	if (f->tag == AGENT_R_ENV)
		return check_env(t, data, f->bytes, e);
	if (f->tag < 32 && (t->seen & (1u << f->tag)))
		return err_set(e, -EINVAL, "field %u comes twice", f->tag);
	t->seen |= f->tag < 32 ? 1u << f->tag : 0;
	switch (f->tag) {
	case AGENT_R_ENTROPY:
		return take_entropy(q, data, f->bytes, e);
	case AGENT_R_CLOCK:
		return take_clock(q, data, f->bytes, e);
	case AGENT_R_HOSTNAME:
		return take_hostname(q, data, f->bytes, e);
	case AGENT_R_MACHINE_ID:
		return take_machine_id(q, data, f->bytes, e);
	case AGENT_R_CLONE:
		return take_clone(q, data, f->bytes, e);
	default:
		return err_set(e, -EINVAL, "field %u is not known to this agent", f->tag);
	}
}

static int take_fields(
	struct resume *q, struct tally *t, const uint8_t *at, const uint8_t *end, struct err *e)
{
	enum { REQUIRED = 1u << AGENT_R_ENTROPY | 1u << AGENT_R_CLOCK };
	struct agent_field f;
	const uint8_t *data;
	int r;

	while ((r = frame_next_field(&at, end, &f, &data)) > 0) {
		r = take_field(q, t, &f, data, e);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return err_set(e, -EINVAL, "a field runs past the end of the request");
	if ((t->seen & REQUIRED) != REQUIRED)
		return err_set(e, -EINVAL, "entropy or the time is missing");
	return 0;
}

static bool is_name_taken(const struct resume *q, const char *var)
{
	size_t bytes = (size_t)(strchr(var, '=') - var) + 1;

	for (size_t i = 0; i < q->n_env; i++)
		if (!strncmp(q->env[i], var, bytes))
			return true;
	return false;
}

/* Second pass: copies the variables that the first has checked. */
static int keep_env(struct resume *q, const struct tally *t, const uint8_t *at, const uint8_t *end,
	struct err *e)
{
	struct agent_field f;
	const uint8_t *data;
	char *strings;

	if (!t->n_env)
		return 0;
	q->memory = malloc(t->n_env * sizeof(char *) + t->env_bytes);
	if (!q->memory)
		return err_set(e, -ENOMEM, "the guest has no memory for its variables");
	q->env = q->memory;
	strings = (char *)(q->env + t->n_env);
	while (frame_next_field(&at, end, &f, &data) > 0) {
		if (f.tag != AGENT_R_ENV)
			continue;
		memcpy(strings, data, f.bytes);
		strings[f.bytes] = '\0';
		if (is_name_taken(q, strings))
			return err_set(e, -EINVAL, "variable %.64s comes twice", strings);
		q->env[q->n_env++] = strings;
		strings += (size_t)f.bytes + 1;
	}
	return 0;
}

int resume_decode(const void *payload, size_t bytes, struct resume *ret, struct err *e)
{
	const uint8_t *at = payload, *end = at + bytes;
	struct resume q = {0};
	struct tally t = {0};
	int r = take_fields(&q, &t, at, end, e);

	if (r == 0)
		r = keep_env(&q, &t, at, end, e);
	if (r < 0) {
		resume_fini(&q);
		return r;
	}
	*ret = q;
	explicit_bzero(q.entropy, sizeof(q.entropy));
	return 0;
}

void resume_fini(struct resume *r)
{
	explicit_bzero(r->entropy, sizeof(r->entropy));
	free(r->memory);
	r->memory = NULL;
	r->env = NULL;
	r->n_env = 0;
}

/* ---- AGENT_AWAIT -------------------------------------------------------------------------- */

static int take_port(struct await_request *q, const uint8_t *data, size_t bytes, struct err *e)
{
	if (bytes != sizeof(struct agent_u32) || le32_load(data) > UINT16_MAX)
		return err_set(e, -EINVAL, "a port that is none");
	q->port = (uint16_t)le32_load(data);
	return 0;
}

static int take_path(struct await_request *q, const uint8_t *data, size_t bytes, struct err *e)
{
	if (!bytes || bytes >= PATH_MAX || data[0] != '/' || memchr(data, '\0', bytes))
		return err_set(e, -EINVAL, "a file's name that is no absolute path");
	q->path = strndup((const char *)data, bytes);
	return q->path ? 0 : err_set(e, -ENOMEM, "the guest has no memory for a path");
}

int await_decode(const void *payload, size_t bytes, struct await_request *ret, struct err *e)
{
	const uint8_t *at = payload, *end = at + bytes, *data;
	struct await_request q = {0};
	struct agent_field f;
	int r;

	if (frame_next_field(&at, end, &f, &data) <= 0 || at != end)
		return err_set(e, -EINVAL, "not one event to wait for");
	q.tag = f.tag;
	if (f.tag == AGENT_W_LISTEN)
		r = take_port(&q, data, f.bytes, e);
	else if (f.tag == AGENT_W_FILE)
		r = take_path(&q, data, f.bytes, e);
	else
		r = err_set(e, -EINVAL, "event %u is not known to this agent", f.tag);
	if (r == 0)
		*ret = q;
	return r;
}

void await_request_fini(struct await_request *q)
{
	free(q->path);
	q->path = NULL;
}
