// SPDX-License-Identifier: Apache-2.0
/* What the tests of the library start from: a place with its parts, an image, a running VM. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <supermachine.h>

#include "oci/image.h"

struct fixture {
	char dir[64];
	char kernel[96]; /* an empty file: nobody reads it */
	struct sm_image *image;
	struct sm_vm *vm;
};

/* An image without layers whose command is `echo image's command`. */
struct sm_image *fixture_image(void);
struct image *fixture_inner(struct sm_image *image);

/* cmocka set-up and tear-down: *state is a struct fixture. fixture_parts only makes the place and
 * the image, fixture_vm also starts the VM. */
int fixture_parts(void **state);
int fixture_vm(void **state);
int fixture_end(void **state);

/* Starts a VM whose double misbehaves; mode may be NULL. */
int fixture_start(struct fixture *f, const char *mode, int64_t timeout_ms, struct sm_vm **ret,
	struct sm_error *err);

/* Fails with the error's sentence when r is negative. */
void fixture_ok(int r, const struct sm_error *err);

/* Open descriptors, and children, of this process. */
unsigned fixture_count_fds(void);
