// SPDX-License-Identifier: Apache-2.0
/* What the command prints: errors, tables, JSON, sizes. To stdio streams, from the main thread. */
#pragma once

#include <stdio.h>
#include <supermachine.h>

#include "base/err.h"

/* "supermachine: object: cause" and, if there is a remedy, "  try: remedy". */
void out_error(const struct sm_error *e);
void out_err(const struct err *e);

/* A table whose columns are as wide as their widest cell. Cells are copied. */
struct out_table {
	unsigned n_columns;
	char **cells;
	size_t n_cells;
	bool is_broken; /* memory was short */
};

void out_table_init(struct out_table *t, const char *const *titles, unsigned n_columns);
void out_table_cell(struct out_table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Prints and frees it. Returns 0 or -ENOMEM. */
int out_table_end(struct out_table *t, FILE *to);

/* JSON, written as it goes: the caller sees to the order, commas come by themselves. Text that is
 * no UTF-8 gets U+FFFD in the wrong places, so that the result always is JSON (RFC 8259). */
struct out_json {
	FILE *to;
	bool need_comma;
};

void out_json_open(struct out_json *j, const char *key, char bracket); /* '{' or '['; key or NULL */
void out_json_close(struct out_json *j, char bracket);
void out_json_text(struct out_json *j, const char *key, const char *value); /* NULL: null */
void out_json_number(struct out_json *j, const char *key, int64_t value);
void out_json_bool(struct out_json *j, const char *key, bool value);

/* "12.3 MB", decimal units as container tools print them. */
void out_size(uint64_t bytes, char out[16]);

/* "2024-05-01T10:20:30Z", or "" when it is not known (0). Returns out. */
const char *out_moment(int64_t unix_seconds, char out[32]);

/* Flushes stdout. Returns 0, or -errno when something printed was lost. */
int out_flush(void);
