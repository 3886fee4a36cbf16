// SPDX-License-Identifier: Apache-2.0
/* Checksums against damage, not against malice: XXH3 of libxxhash, 64 bits. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Of one piece. */
uint64_t checksum_of(const void *data, size_t bytes);

/* Goes on from an earlier result with another piece: the result depends on the pieces, not only on
 * their concatenation. Start with 0. */
uint64_t checksum_more(uint64_t so_far, const void *data, size_t bytes);
