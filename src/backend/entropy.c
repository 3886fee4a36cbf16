// SPDX-License-Identifier: Apache-2.0
#include "backend/entropy.h"

#include <errno.h>
#include <sys/random.h>

/* One buffer, at most `room` bytes of it. Returns the bytes filled or -errno. */
static ssize_t fill(const struct iovec *iov, size_t room)
{
	size_t want = MIN(iov->iov_len, room), got = 0;

	while (got < want) {
		ssize_t n = getrandom((char *)iov->iov_base + got, want - got, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

ssize_t entropy_fill(const struct iovec *iov, unsigned n)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < ENTROPY_REQUEST_MAX; i++) {
		ssize_t got = fill(&iov[i], ENTROPY_REQUEST_MAX - done);

		if (got < 0)
			return got;
		done += (size_t)got;
	}
	return (ssize_t)done;
}
