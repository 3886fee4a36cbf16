// SPDX-License-Identifier: Apache-2.0
/*
 * What a baked state depends on, as lines "name value" in a fixed order; its digest names the
 * state's directory. The lines are kept beside the state, so that a later start which finds no
 * state of its own can say what has changed. Any thread.
 */
#pragma once

#include <supermachine.h>

#include "api/snapshot_json.h"
#include "base/buf.h"

enum { BAKEKEY_TEXT_MAX = 4 << 20 };

struct bakekey {
	struct buf text;
	char hex[DIGEST_HEX_BYTES];
};

struct bakekey_request {
	const struct image *image;
	const struct machine *machine; /* with the kernel's path */
	const struct sm_vm_options *options;
	const struct sm_exec_options *workload; /* effective; NULL: no workload */
};

int bakekey_make(struct bakekey *k, const struct bakekey_request *q, struct err *e) MUST_CHECK;
void bakekey_fini(struct bakekey *k);

/* The words "reference R" that begin the file, which are not part of the key. */
bool bakekey_is_of(const char *text, size_t bytes, const char *reference);

/* What is different in `old`, in words: "memory: 256 MiB, was 512 MiB". Empty when nothing is. */
void bakekey_difference(
	const struct bakekey *k, const char *old, size_t old_bytes, char *out, size_t room);
