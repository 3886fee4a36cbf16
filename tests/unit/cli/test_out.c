// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/out.h"

static char *text;
static size_t text_bytes;

static FILE *begin(void)
{
	free(text);
	text = NULL;
	return open_memstream(&text, &text_bytes);
}

static void expect_quoted(const char *value, const char *json)
{
	struct out_json j = {.to = begin()};

	out_json_text(&j, NULL, value);
	fclose(j.to);
	assert_string_equal(text, json);
}

/* RFC 8259 §7, RFC 3629 §3. */
static void json_strings_are_escaped(void **state)
{
	(void)state;
	expect_quoted("plain", "\"plain\"");
	expect_quoted("a\"b\\c/d", "\"a\\\"b\\\\c/d\"");
	expect_quoted("\n\t\x01\x7f", "\"\\u000a\\u0009\\u0001\\u007f\"");
	expect_quoted("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		"\"h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
	expect_quoted("\xff", "\"\\ufffd\"");
	expect_quoted("\xc3", "\"\\ufffd\"");			    /* cut off */
	expect_quoted("\xc0\xaf", "\"\\ufffd\\ufffd\"");	    /* overlong */
	expect_quoted("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""); /* surrogate */
	expect_quoted("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
	expect_quoted("\xe2\x82x", "\"\\ufffd\\ufffdx\"");
	expect_quoted(NULL, "null");
}

static void json_has_its_commas(void **state)
{
	struct out_json j = {.to = begin()};

	(void)state;
	out_json_open(&j, NULL, '{');
	out_json_open(&j, "list", '[');
	out_json_open(&j, NULL, '{');
	out_json_close(&j, '}');
	out_json_open(&j, NULL, '{');
	out_json_number(&j, "n", -5);
	out_json_bool(&j, "b", true);
	out_json_close(&j, '}');
	out_json_close(&j, ']');
	out_json_text(&j, "k", "v");
	out_json_close(&j, '}');
	fclose(j.to);
	assert_string_equal(text, "{\"list\":[{},{\"n\":-5,\"b\":true}],\"k\":\"v\"}");
}

static void tables_have_columns(void **state)
{
	static const char *const titles[] = {"A", "LONG", "C"};
	struct out_table t;
	FILE *f = begin();

	(void)state;
	out_table_init(&t, titles, 3);
	for (int i = 0; i < 2; i++) {
		out_table_cell(&t, "%s", i ? "x" : "wider");
		out_table_cell(&t, "%d", i);
		out_table_cell(&t, "end");
	}
	assert_int_equal(out_table_end(&t, f), 0);
	fclose(f);
	assert_string_equal(text, "A      LONG  C\nwider  0     end\nx      1     end\n");
}

static void sizes_are_short(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {{0, "0 B"}, {999, "999 B"}, {1000, "1.0 kB"}, {12345678, "12.3 MB"},
		{123456789, "123 MB"}, {999999, "1.0 MB"}, {UINT64_MAX, "18.4 EB"}};
	char out[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		out_size(cases[i].bytes, out);
		assert_string_equal(out, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_strings_are_escaped),
		cmocka_unit_test(json_has_its_commas),
		cmocka_unit_test(tables_have_columns),
		cmocka_unit_test(sizes_are_short),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	free(text);
	return r;
}
