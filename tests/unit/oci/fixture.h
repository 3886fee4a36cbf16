// SPDX-License-Identifier: Apache-2.0
/* What the tests of src/oci share: the images of make_images.py, stores that vanish, and a layer
 * file read back as text. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

/* A fresh directory under $TMPDIR, /dev/shm or /tmp that fixture_clean deletes. */
const char *fixture_directory(void);

/* The directory that make_images.py filled, made at the first call. */
const char *fixture_images(void);

/* "<images>/<name>" behind "oci:" (or another prefix); valid until the next call but seven. */
const char *fixture_path(const char *prefix, const char *name);

/* Group teardown. */
int fixture_clean(void **state);

/* Number of files below a directory. */
unsigned fixture_count_files(const char *directory);

/* Fails the test with the whole sentence unless r is what was expected. */
#define assert_code(r, expected, e) fixture_assert_code(r, expected, e, __FILE__, __LINE__)
void fixture_assert_code(int r, int expected, const struct err *e, const char *file, int line);

/* Fails unless the sentence contains the text. */
#define assert_says(e, text) fixture_assert_says(e, text, __FILE__, __LINE__)
void fixture_assert_says(const struct err *e, const char *text, const char *file, int line);

/* A squashfs file as text, one line a name, sorted by path:
 *   "PATH TYPE MODE UID:GID LINKS SIZE MTIME [-> TARGET] [MAJOR:MINOR] [KEY=VALUE…] [#CONTENT]"
 * where CONTENT is the text when it is short, else a digest. Free the result. */
char *fixture_read_layer(const char *path);

/* The line of one path in that text, without its end; "" when there is none. Static storage. */
const char *fixture_line(const char *text, const char *path);
