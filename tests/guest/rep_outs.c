// SPDX-License-Identifier: Apache-2.0
/* String I/O arrives whole and in order, in however many exits, and string input fills memory. */
#include "harness.h"

#include <string.h>

enum { BYTES = 300, WORDS = 5 };

GUEST(strings, "	cld\n"
	       "	mov $0x80, %edx\n"
	       "	mov $0x20000, %esi\n" /* TINY_DATA */
	       "	mov $300, %ecx\n"
	       "	rep outsb\n"
	       "	mov $0x21000, %edi\n"
	       "	mov $5, %ecx\n"
	       "	rep insw\n"
	       "	mov $7, %al\n"
	       "	out %al, $0x80\n"
	       "	hlt");

static void take_output(struct tiny *t, const uint8_t *wanted)
{
	unsigned done = 0;

	while (done < BYTES) {
		struct hv_exit x = tiny_run(t, 0, HV_EXIT_PIO_OUT);

		tiny_equal("the width", x.bytes, 1);
		if (x.count == 0 || x.count > BYTES - done)
			tiny_fail("%u accesses after %u of %d", x.count, done, BYTES);
		if (memcmp(x.data, wanted + done, x.count) != 0)
			tiny_fail("other bytes than those in memory, from %u on", done);
		done += x.count;
	}
}

static void give_input(struct tiny *t)
{
	uint16_t next = 0x1000;

	for (unsigned done = 0; done < WORDS;) {
		struct hv_exit x = tiny_run(t, 0, HV_EXIT_PIO_IN);
		uint16_t *words = x.data;

		tiny_equal("the width", x.bytes, 2);
		if (x.count == 0 || x.count > WORDS - done)
			tiny_fail("%u accesses after %u of %d", x.count, done, WORDS);
		for (unsigned i = 0; i < x.count; i++)
			words[i] = next++;
		done += x.count;
	}
}

int main(void)
{
	struct tiny t;
	uint8_t *data;
	const uint16_t *words;

	tiny_open(&t, 1, strings, strings_end);
	data = gmem_ptr(&t.memory, TINY_DATA, BYTES);
	words = gmem_ptr(&t.memory, TINY_DATA + 0x1000, WORDS * sizeof(*words));
	for (unsigned i = 0; i < BYTES; i++)
		data[i] = (uint8_t)(i * 7);
	take_output(&t, data);
	give_input(&t);
	tiny_expect_report(&t, 0, 7, 1);
	for (unsigned i = 0; i < WORDS; i++)
		tiny_equal("the word read", words[i], 0x1000 + i);
	tiny_close(&t);
	return 0;
}
