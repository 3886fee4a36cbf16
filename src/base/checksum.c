// SPDX-License-Identifier: Apache-2.0
/* The only file that sees xxhash.h, which is compiled in rather than linked with: the VMM is linked
 * with another libc than the one that Debian's libxxhash was built for. */
#include "base/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t checksum_of(const void *data, size_t bytes)
{
	return checksum_more(0, data, bytes);
}

uint64_t checksum_more(uint64_t so_far, const void *data, size_t bytes)
{
	return XXH3_64bits_withSeed(data, bytes, so_far);
}
