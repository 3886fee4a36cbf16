// SPDX-License-Identifier: Apache-2.0
/* Any bytes from the host as the agent sees them: frames, the fields of requests, a user's name. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "guest/request.h"
#include "guest/snapreq.h"
#include "guest/user.h"
#include "proto/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void try_user(const char *spec)
{
	static const char passwd[] =
		"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv:\nbad\n:::::\n";
	static const char group[] = "root:x:0:\nweb:x:33:\nlog:x:4:web,root\n";
	static struct user u;
	struct err e = {0};
	int r = user_parse(spec, passwd, group, &u, &e);

	assert(r == 0 || (r == e.code && e.cause[0]));
	if (r == 0)
		assert(u.n_groups <= USER_GROUPS_MAX && memchr(u.home, '\0', sizeof(u.home)));
}

static void try_request(const uint8_t *payload, size_t bytes)
{
	struct request q;
	struct err e = {0};
	size_t n = 0;
	int r = request_decode(payload, bytes, &q, &e);

	assert(r == 0 || (r == e.code && e.cause[0]));
	if (r < 0)
		return;
	assert(q.argv[0] && q.cwd[0] == '/');
	while (q.envp[n])
		n++;
	assert(n == q.n_env);
	try_user(q.user);
	request_fini(&q);
}

static void try_variables(const struct resume *q)
{
	assert(q->n_env <= SNAPREQ_ENV_MAX);
	for (size_t i = 0; i < q->n_env; i++) {
		const char *equals = strchr(q->env[i], '=');

		assert(equals && equals != q->env[i] && !strchr(q->env[i], '\n'));
		for (size_t j = 0; j < i; j++)
			assert(strncmp(q->env[i], q->env[j], (size_t)(equals - q->env[i]) + 1));
	}
}

static void try_resume(const uint8_t *payload, size_t bytes)
{
	struct resume q;
	struct err e = {0};
	int r = resume_decode(payload, bytes, &q, &e);

	assert(r == 0 || (r == e.code && e.cause[0]));
	if (r < 0)
		return;
	assert(q.entropy_bytes >= SNAPREQ_ENTROPY_MIN && q.entropy_bytes <= SNAPREQ_ENTROPY_MAX);
	assert(q.clock.nanoseconds < 1000000000);
	assert(!q.hostname[0] || bootcfg_is_hostname(q.hostname));
	assert(!q.machine_id[0] || strspn(q.machine_id, "0123456789abcdef") == 32);
	assert(!q.clone.count ? !q.clone.index : q.clone.index < q.clone.count);
	try_variables(&q);
	resume_fini(&q);
}

static void try_await(const uint8_t *payload, size_t bytes)
{
	struct await_request q;
	struct err e = {0};
	int r = await_decode(payload, bytes, &q, &e);

	assert(r == 0 || (r == e.code && e.cause[0]));
	if (r < 0)
		return;
	assert(q.tag == AGENT_W_LISTEN ? !q.path : q.tag == AGENT_W_FILE && q.path[0] == '/');
	await_request_fini(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct agent_frame f;
	const uint8_t *payload;

	while (bytes) {
		int64_t n = frame_decode(data, bytes, &f, &payload);

		assert(n <= (int64_t)bytes);
		if (n <= 0)
			break;
		assert(payload + f.bytes == data + n && f.bytes <= frame_limit(f.type));
		if (f.type == AGENT_EXEC)
			try_request(payload, f.bytes);
		else if (f.type == AGENT_RESUME)
			try_resume(payload, f.bytes);
		else if (f.type == AGENT_AWAIT)
			try_await(payload, f.bytes);
		data += n;
		bytes -= (size_t)n;
	}
	return 0;
}
