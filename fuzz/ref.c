// SPDX-License-Identifier: Apache-2.0
/* Any text: refused with an error, or a reference whose normal form means the same again. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "oci/ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static char text[8192], first[REF_TEXT_BYTES], second[REF_TEXT_BYTES];
	static struct ref r, again;
	struct err e = {0};
	int code;

	if (bytes >= sizeof(text))
		return 0;
	memcpy(text, data, bytes);
	text[bytes] = '\0';
	code = ref_parse(text, &r, &e);
	if (code < 0) {
		assert(e.code == code && e.cause[0]);
		return 0;
	}
	assert(code == 0);
	ref_format(&r, first);
	assert(strlen(first) < REF_TEXT_BYTES - 1);
	assert(ref_parse(first, &again, &e) == 0);
	ref_format(&again, second);
	assert(!strcmp(first, second));
	assert(r.transport == again.transport && r.has_digest == again.has_digest);
	assert(r.transport != REF_REGISTRY || (r.registry[0] && r.repository[0]));
	assert(r.transport == REF_REGISTRY || r.path[0]);
	return 0;
}
