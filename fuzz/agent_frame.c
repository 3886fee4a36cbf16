// SPDX-License-Identifier: Apache-2.0
/* Any bytes from the host as the agent sees them: frames, a request's fields, a user's name. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "guest/request.h"
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
		data += n;
		bytes -= (size_t)n;
	}
	return 0;
}
