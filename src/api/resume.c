// SPDX-License-Identifier: Apache-2.0
#include "api/resume.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "api/agent_call.h"
#include "base/clock.h"

enum {
	ENTROPY_BYTES = 64,
	MACHINE_ID_BYTES = 16,
	ENV_MAX = 512, /* as many as the agent takes */
};

static int put(struct buf *out, uint16_t tag, const void *data, size_t bytes)
{
	struct agent_field f = {.bytes = (uint32_t)bytes, .tag = tag};
	int r = buf_append(out, &f, sizeof(f));

	return r < 0 ? r : buf_append(out, data, bytes);
}

/* ---- what stays ----------------------------------------------------------------------------- */

static int check_clone(const struct resume_identity *id, struct err *e)
{
	if (!id->count && !id->index)
		return 0;
	if (id->index < id->count)
		return 0;
	err_set(e, -EINVAL, "clone %u of %u cannot be: they are counted from 0", id->index,
		id->count);
	return err_object(e, "clone_index");
}

static int check_variable(const char *variable, struct err *e)
{
	const char *equals = strchr(variable, '=');

	if (!equals || equals == variable)
		err_set(e, -EINVAL, "an environment variable is NAME=value");
	else if (strchr(variable, '\n'))
		err_set(e, -EINVAL,
			"a clone's variable has no line breaks, as it stands in a file");
	else
		return 0;
	return err_object(e, "%.100s", variable);
}

/* Is the same name given again further on? The last word counts. */
static bool is_replaced(const char *const *at)
{
	size_t name = (size_t)(strchr(*at, '=') - *at) + 1;

	for (const char *const *later = at + 1; *later; later++)
		if (!strncmp(*later, *at, name))
			return true;
	return false;
}

static int put_env(struct buf *out, const char *const *env, struct err *e)
{
	unsigned n = 0;
	int r = 0;

	for (; env && *env && r == 0; env++) {
		r = check_variable(*env, e);
		if (r < 0)
			return r;
		if (is_replaced(env))
			continue;
		r = ++n > ENV_MAX ? -E2BIG : put(out, AGENT_R_ENV, *env, strlen(*env));
	}
	if (r == -E2BIG) {
		err_set(e, r, "this environment is over the limit of %d variables and %d KiB",
			ENV_MAX, RESUME_FIELDS_MAX / 1024);
		err_object(e, "clone_env");
		return err_remedy(e, "pass large data as standard input of a command");
	}
	return r < 0 ? err_set(e, r, "no memory for a message") : 0;
}

int resume_encode(struct buf *out, const struct resume_identity *id, struct err *e)
{
	struct agent_clone clone = {.index = id->index, .count = id->count};
	int r = check_clone(id, e);

	if (r < 0)
		return r;
	r = put(out, AGENT_R_HOSTNAME, id->name, strlen(id->name));
	if (r == 0 && id->count)
		r = put(out, AGENT_R_CLONE, &clone, sizeof(clone));
	if (r < 0)
		return err_set(e, r, "no memory for a message");
	return put_env(out, id->env, e);
}

/* ---- what is fresh -------------------------------------------------------------------------- */

static int put_random(struct buf *out, struct err *e)
{
	uint8_t entropy[ENTROPY_BYTES], id[MACHINE_ID_BYTES];
	char hex[2 * MACHINE_ID_BYTES + 1];
	int r;

	if (getrandom(entropy, sizeof(entropy), 0) != sizeof(entropy) ||
		getrandom(id, sizeof(id), 0) != sizeof(id))
		return err_sys(e, "read random bytes");
	for (size_t i = 0; i < sizeof(id); i++)
		snprintf(hex + 2 * i, 3, "%02x", id[i]);
	r = put(out, AGENT_R_ENTROPY, entropy, sizeof(entropy));
	explicit_bzero(entropy, sizeof(entropy));
	if (r == 0)
		r = put(out, AGENT_R_MACHINE_ID, hex, sizeof(hex) - 1);
	return r < 0 ? err_set(e, r, "no memory for a message") : 0;
}

/* The last thing before it is sent: the clock is right when it is read, and no later. */
static int send_last(struct channel *c, struct buf *out, struct err *e)
{
	struct agent_clock clock = {0};
	struct timespec now;
	int r;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	clock.seconds = (uint64_t)now.tv_sec;
	clock.nanoseconds = (uint32_t)now.tv_nsec;
	r = put(out, AGENT_R_CLOCK, &clock, sizeof(clock));
	if (r == 0)
		r = channel_put(c, AGENT_RESUME, out->data, out->bytes);
	/* A broken connection shows, with its reason, when the answer is read. */
	return r == 0 || r == -EPIPE ? 0 : err_set(e, r, "no memory for a message");
}

/* ---- the answer ----------------------------------------------------------------------------- */

static int check_resumed(const struct agent_resumed *m, struct err *e)
{
	static const struct {
		uint32_t bit;
		const char *step;
	} steps[] = {
		{AGENT_DID_RESEED, "the reseeding of its random number generator"},
		{AGENT_DID_CLOCK, "the setting of its clock"},
		{AGENT_DID_IDENTITY, "the change of its identity"},
		{AGENT_DID_THAW, "the thawing of what runs in it"},
	};

	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		if (!(m->did & steps[i].bit)) {
			err_set(e, -EPROTO, "the guest did not acknowledge %s", steps[i].step);
			return err_remedy(e, "it was killed, since a clone that is not made its "
					     "own is not safe; take the snapshot again");
		}
	return 0;
}

static int take_answer(
	struct channel *c, uint64_t deadline_ns, struct agent_resumed *ret, struct err *e)
{
	const uint8_t *payload;
	struct agent_frame f;
	int r = channel_wait(c, deadline_ns, &f, &payload, e);

	if (r == -ENODATA)
		return channel_gone_error(c, e);
	if (r == -ETIMEDOUT) {
		err_set(e, r, "the restored guest did not acknowledge its resumption in time");
		return err_remedy(e, "give it more time (boot_timeout_ms)");
	}
	if (r < 0)
		return r;
	if (f.type == AGENT_FAILED) {
		agent_call_refused(payload, f.bytes, e);
		return err_ctx(e, "the guest could not be resumed");
	}
	if (f.type != AGENT_RESUMED || f.bytes != sizeof(*ret))
		return err_set(e, -EPROTO, "the guest's agent answered with something else");
	memcpy(ret, payload, sizeof(*ret));
	return check_resumed(ret, e);
}

int resume_run(struct link *l, const struct buf *identity, uint64_t deadline_ns,
	struct agent_resumed *ret, struct err *e)
{
	autobuf struct buf out;
	struct channel c;
	int r;

	buf_init(&out, AGENT_FRAME_MAX);
	r = buf_append(&out, identity->data, identity->bytes);
	if (r < 0)
		return err_set(e, r, "no memory for a message");
	r = put_random(&out, e);
	if (r < 0)
		return r;
	link_expect_event(l);
	r = channel_open(&c, l, e);
	if (r == -ESHUTDOWN)
		return link_gone_error(l, link_epoch(l), e);
	if (r < 0)
		return r;
	r = send_last(&c, &out, e);
	if (r == 0)
		r = take_answer(&c, deadline_ns, ret, e);
	channel_close(&c);
	if (out.data)
		explicit_bzero(out.data, out.bytes);
	if (r == 0)
		link_set_ready(l);
	return r;
}
