// SPDX-License-Identifier: Apache-2.0
/* supermachine inspect: what a snapshot says of itself. */
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

static void print_json(const struct sm_snapshot_info *i, void *context)
{
	struct out_json j = {.to = stdout};
	char when[32];

	(void)context;
	out_json_open(&j, NULL, '{');
	out_json_text(&j, "product", i->product);
	out_json_text(&j, "architecture", i->architecture);
	out_json_text(&j, "image", i->image);
	out_json_text(&j, "base", i->base && *i->base ? i->base : NULL);
	out_json_number(&j, "vcpus", i->vcpus);
	out_json_number(&j, "memory_bytes", (int64_t)i->memory_bytes);
	out_json_number(&j, "memory_data_bytes", (int64_t)i->memory_data_bytes);
	out_json_number(&j, "disk_data_bytes", (int64_t)i->disk_data_bytes);
	out_json_text(&j, "created", *out_moment(i->created_unix, when) ? when : NULL);
	out_json_number(&j, "pause_us", (int64_t)i->pause_us);
	out_json_number(&j, "commands", i->n_commands);
	out_json_close(&j, '}');
	fputc('\n', stdout);
}

static void print_text(const struct sm_snapshot_info *i, void *context)
{
	char memory[16], written[16], disk[16], when[32];

	(void)context;
	out_size(i->memory_bytes, memory);
	out_size(i->memory_data_bytes, written);
	out_size(i->disk_data_bytes, disk);
	printf("image         %s\n", i->image);
	printf("created       %s by supermachine %s\n", out_moment(i->created_unix, when),
		i->product);
	printf("machine       %s, %u vCPU%s, %s of memory\n", i->architecture, i->vcpus,
		i->vcpus == 1 ? "" : "s", memory);
	printf("stored        %s of memory, %s of disk\n", written, disk);
	if (i->base && *i->base)
		printf("on top of     %s\n", i->base);
	printf("stood still   %.3f ms\n", (double)i->pause_us / 1e3);
	printf("commands      %u\n", i->n_commands);
}

static int run(const struct cli_command *c, int argc, char **argv, bool is_verbose)
{
	struct values v = {0};
	struct sm_error err;
	int status, at = cli_options(c, &v, argc, argv, is_verbose, &status);

	if (at < 0)
		return status;
	if (at + 1 != argc)
		return cli_usage(c, "it takes one directory");
	if (sm_snapshot_info(argv[at], v.is_json ? print_json : print_text, NULL, &err) < 0) {
		out_error(&err);
		return 1;
	}
	return cli_end();
}

const struct cli_command cmd_inspect = {
	.name = "inspect",
	.operands = "DIRECTORY",
	.summary = "Show what a snapshot says of itself",
	.options = options,
	.usage_status = EXIT_USAGE,
	.run = run,
};
