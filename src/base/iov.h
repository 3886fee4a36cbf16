// SPDX-License-Identifier: Apache-2.0
/*
 * Arithmetic on scatter lists: how long, where does byte n lie, copy a part in or out. The list
 * itself is never changed unless the function's name says so, and no byte past its end is touched.
 */
#pragma once

#include <string.h>
#include <sys/uio.h>

#include "base/cc.h"

static inline size_t iov_bytes(const struct iovec *iov, unsigned n)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

/* Makes ret_part (room for n entries) the stretch [skip, skip + bytes) of iov, cut off where iov
 * ends. Returns its number of entries. ret_part may be iov itself. */
static inline unsigned iov_slice(
	struct iovec *ret_part, const struct iovec *iov, unsigned n, size_t skip, size_t bytes)
{
	unsigned used = 0;

	for (unsigned i = 0; i < n && bytes; i++) {
		size_t here = iov[i].iov_len;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here = MIN(here - skip, bytes);
		ret_part[used++] = (struct iovec){(char *)iov[i].iov_base + skip, here};
		bytes -= here;
		skip = 0;
	}
	return used;
}

/* Copy out of (gather) or into (scatter) the list, beginning at its byte `skip`. Return the bytes
 * copied: fewer than asked only where the list ends. */
static inline size_t iov_gather(
	void *to, const struct iovec *iov, unsigned n, size_t skip, size_t bytes)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < bytes; i++) {
		size_t here = iov[i].iov_len;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here = MIN(here - skip, bytes - done);
		memcpy((char *)to + done, (const char *)iov[i].iov_base + skip, here);
		done += here;
		skip = 0;
	}
	return done;
}

static inline size_t iov_scatter(
	const struct iovec *iov, unsigned n, size_t skip, const void *from, size_t bytes)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < bytes; i++) {
		size_t here = iov[i].iov_len;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here = MIN(here - skip, bytes - done);
		memcpy((char *)iov[i].iov_base + skip, (const char *)from + done, here);
		done += here;
		skip = 0;
	}
	return done;
}
