// SPDX-License-Identifier: Apache-2.0
#include "cli/out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void print_error(const char *object, const char *cause, const char *remedy)
{
	fprintf(stderr, "supermachine: %s%s%s\n", object, object[0] ? ": " : "", cause);
	if (remedy[0])
		fprintf(stderr, "  try: %s\n", remedy);
}

void out_error(const struct sm_error *e)
{
	print_error(e->object, e->cause, e->remedy);
}

void out_err(const struct err *e)
{
	print_error(e->object, e->cause, e->remedy);
}

/* ---- tables -------------------------------------------------------------------------------- */

static void add_cell(struct out_table *t, char *cell)
{
	char **grown = cell ? realloc(t->cells, (t->n_cells + 1) * sizeof(*grown)) : NULL;

	if (!grown) {
		free(cell);
		t->is_broken = true;
		return;
	}
	t->cells = grown;
	t->cells[t->n_cells++] = cell;
}

void out_table_init(struct out_table *t, const char *const *titles, unsigned n_columns)
{
	*t = (struct out_table){.n_columns = n_columns};
	for (unsigned i = 0; i < n_columns; i++)
		add_cell(t, strdup(titles[i]));
}

void out_table_cell(struct out_table *t, const char *fmt, ...)
{
	char *cell = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&cell, fmt, ap) < 0)
		cell = NULL;
	va_end(ap);
	add_cell(t, cell);
}

static int width(const struct out_table *t, unsigned column)
{
	size_t widest = 0;

	for (size_t i = column; i < t->n_cells; i += t->n_columns)
		widest = MAX(widest, strlen(t->cells[i]));
	return (int)widest;
}

int out_table_end(struct out_table *t, FILE *to)
{
	for (size_t i = 0; i < t->n_cells && !t->is_broken; i++) {
		unsigned column = (unsigned)(i % t->n_columns);

		if (column + 1 == t->n_columns)
			fprintf(to, "%s\n", t->cells[i]);
		else
			fprintf(to, "%-*s  ", width(t, column), t->cells[i]);
	}
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	t->cells = NULL;
	return t->is_broken ? -ENOMEM : 0;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

/* Length of the UTF-8 character at s (RFC 3629), 0 when there is none. */
static unsigned utf8_length(const unsigned char *s)
{
	unsigned n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

	if (s[0] > 0xf4)
		return 0;
	for (unsigned i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void quoted(FILE *to, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	fputc('"', to);
	while (*s) {
		unsigned n = utf8_length(s);

		if (!n) {
			fputs("\\ufffd", to);
			n = 1;
		} else if (*s == '"' || *s == '\\') {
			fprintf(to, "\\%c", *s);
		} else if (*s < ' ' || *s == 127) {
			fprintf(to, "\\u%04x", *s);
		} else {
			fwrite(s, 1, n, to);
		}
		s += n;
	}
	fputc('"', to);
}

static void before_value(struct out_json *j, const char *key)
{
	if (j->need_comma)
		fputc(',', j->to);
	j->need_comma = true;
	if (key) {
		quoted(j->to, key);
		fputc(':', j->to);
	}
}

void out_json_open(struct out_json *j, const char *key, char bracket)
{
	before_value(j, key);
	fputc(bracket, j->to);
	j->need_comma = false;
}

void out_json_close(struct out_json *j, char bracket)
{
	fputc(bracket, j->to);
	j->need_comma = true;
}

void out_json_text(struct out_json *j, const char *key, const char *value)
{
	before_value(j, key);
	if (value)
		quoted(j->to, value);
	else
		fputs("null", j->to);
}

void out_json_number(struct out_json *j, const char *key, int64_t value)
{
	before_value(j, key);
	fprintf(j->to, "%" PRId64, value);
}

void out_json_bool(struct out_json *j, const char *key, bool value)
{
	before_value(j, key);
	fputs(value ? "true" : "false", j->to);
}

/* ---- the rest ------------------------------------------------------------------------------ */

void out_size(uint64_t bytes, char out[16])
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
	double n = (double)bytes;
	unsigned unit = 0;

	while (n >= 999.5 && unit + 1 < ARRAY_LEN(units)) {
		n /= 1000;
		unit++;
	}
	snprintf(out, 16, n < 99.95 && unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
}

const char *out_moment(int64_t unix_seconds, char out[32])
{
	time_t t = (time_t)unix_seconds;
	struct tm tm;

	out[0] = '\0';
	if (unix_seconds && gmtime_r(&t, &tm))
		strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return out;
}

int out_flush(void)
{
	if (fflush(stdout) == EOF)
		return errno ? -errno : -EIO;
	return ferror(stdout) ? -EIO : 0;
}
