// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel image parser against any bytes. The input is a file; its first bytes are what the
 * parser sees, and its length may be claimed to be larger than what there is (a large sparse
 * file), by its last four bytes.
 */
#include "arch/kernel_image.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(int holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct kernel_image k;
	struct err e = {0};
	uint64_t claimed = bytes;
	int r;

	if (bytes >= 4)
		claimed += le32_load(data + bytes - 4);
	r = kernel_image_parse(data, MIN(bytes, (size_t)KERNEL_PREFIX_BYTES), claimed, &k, &e);
	if (r < 0) {
		check(r == -ENOEXEC && e.code == r && e.cause[0] && e.remedy[0]);
		return 0;
	}
	check(k.n_segments >= 1 && k.n_segments <= KERNEL_SEGMENTS_MAX);
	check(k.setup_bytes <= KERNEL_SETUP_MAX);
	check(k.end <= LAYOUT_KERNEL_MAX);
	for (unsigned i = 0; i < k.n_segments; i++) {
		const struct kernel_segment *s = &k.segments[i];

		check(s->file_at <= claimed && s->file_bytes <= claimed - s->file_at);
		check(s->file_bytes <= s->mem_bytes);
		check(s->gpa >= LAYOUT_KERNEL_MIN && s->gpa + s->mem_bytes <= k.end);
	}
	check(k.entry >= LAYOUT_KERNEL_MIN && k.entry < k.end);
	return 0;
}
