// SPDX-License-Identifier: Apache-2.0
/* What the tests of the library start from: a place with its parts, an image, a running VM. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <supermachine.h>

#include "oci/image.h"

struct fixture {
	char dir[64];
	char kernel[96]; /* an empty file: nobody reads it */
	char store[96];
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

/* A path in the fixture's directory. */
void fixture_path(const struct fixture *f, const char *name, char out[128]);

/* rm -r; how many entries a directory has. */
void fixture_remove(const char *path);
unsigned fixture_count_files(const char *path);

/* Waits a while until the console has the word. */
bool fixture_wait_log(struct sm_vm *vm, const char *word);

/* A command can be run in it. */
void fixture_expect_echo(struct sm_vm *vm);

/* Open descriptors, and children, of this process. */
unsigned fixture_count_fds(void);
