// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "cli/cli.h"
#include "cli/out.h"

struct values {
	struct cli_common common;
	bool is_json;
};

static const struct args_option options[] = {
	{"json", 0, ARGS_FLAG, offsetof(struct values, is_json), NULL, "print JSON"},
	CLI_COMMON,
	{0},
};

static void add_json(const struct sm_image_info *i, void *context)
{
	struct out_json *j = context;
	char when[32];

	out_json_open(j, NULL, '{');
	out_json_text(j, "reference", i->reference);
	out_json_text(j, "digest", i->digest);
	out_json_text(j, "platform", i->platform);
	out_json_number(j, "layers", i->n_layers);
	out_json_number(j, "bytes", (int64_t)i->layer_bytes);
	out_json_text(j, "created", *out_moment(i->created_unix, when) ? when : NULL);
	out_json_close(j, '}');
}

static void add_row(const struct sm_image_info *i, void *context)
{
	struct out_table *t = context;
	const char *hex = strchr(i->digest, ':');
	char size[16], when[32];

	out_size(i->layer_bytes, size);
	out_table_cell(t, "%s", i->reference);
	out_table_cell(t, "%.12s", hex ? hex + 1 : i->digest);
	out_table_cell(t, "%s", i->platform);
	out_table_cell(t, "%u", i->n_layers);
	out_table_cell(t, "%s", size);
	out_table_cell(t, "%.10s", *out_moment(i->created_unix, when) ? when : "-");
}

static int list_json(struct sm_error *err)
{
	struct out_json j = {.to = stdout};
	int r;

	out_json_open(&j, NULL, '[');
	r = sm_image_list(NULL, add_json, &j, err);
	out_json_close(&j, ']');
	fputc('\n', stdout);
	return r;
}

static int list_table(struct sm_error *err)
{
	static const char *const titles[] = {
		"REFERENCE", "DIGEST", "PLATFORM", "LAYERS", "SIZE", "CREATED"};
	struct out_table t;
	int r;

	out_table_init(&t, titles, ARRAY_LEN(titles));
	r = sm_image_list(NULL, add_row, &t, err);
	if (out_table_end(&t, stdout) < 0 && r >= 0) {
		*err = (struct sm_error){
			.code = SM_E_NO_MEMORY, .cause = "no memory for the table"};
		r = SM_E_NO_MEMORY;
	}
	return r;
}

static int run(const struct cli_command *c, int argc, char **argv, bool is_verbose)
{
	struct values v = {0};
	struct sm_error err = {0};
	int r, status, at = cli_options(c, &v, argc, argv, is_verbose, &status);

	if (at < 0)
		return status;
	if (at < argc)
		return cli_usage(c, "it takes no operand like \"%s\"", argv[at]);
	r = v.is_json ? list_json(&err) : list_table(&err);
	if (r < 0) {
		fflush(stdout);
		out_error(&err);
		return 1;
	}
	return cli_end();
}

const struct cli_command cmd_images = {
	.name = "images",
	.operands = "",
	.summary = "List the images in the store",
	.options = options,
	.usage_status = EXIT_USAGE,
	.run = run,
};
