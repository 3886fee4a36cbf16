// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/progress.h"

struct values {
	struct cli_common common;
	const char *platform;
};

static const struct args_option options[] = {
	{"platform", 0, ARGS_TEXT, offsetof(struct values, platform), "OS/ARCH",
		"of a multi-platform image; default: the host's"},
	CLI_COMMON,
	{0},
};

static int pull(const struct values *v, const char *reference)
{
	struct sm_image_info info = SM_INIT(info);
	struct sm_image_options o;
	struct sm_error err = {0};
	struct progress p;
	struct sm_image *image;
	int r;

	progress_init(&p, v->common.is_verbose);
	o = progress_image_options(&p);
	o.platform = v->platform;
	r = sm_image_open(NULL, reference, &o, &image, &err);
	progress_step(&p, "image");
	if (r == 0) {
		r = sm_image_info(image, &info, &err);
		if (r == 0)
			printf("%s\n", info.digest);
		sm_image_close(image);
	}
	if (r < 0)
		out_error(&err);
	return r < 0 ? EXIT_RUN_FAILED : cli_end();
}

static int run(const struct cli_command *c, int argc, char **argv, bool is_verbose)
{
	struct values v = {0};
	int status, at = cli_options(c, &v, argc, argv, is_verbose, &status);

	if (at < 0)
		return status;
	if (at + 1 != argc)
		return cli_usage(c, at == argc ? "no image was named" : "it takes one image");
	return pull(&v, argv[at]);
}

const struct cli_command cmd_pull = {
	.name = "pull",
	.operands = "IMAGE",
	.summary = "Bring an image into the store and print its digest",
	.options = options,
	.usage_status = EXIT_RUN_FAILED,
	.run = run,
};
