// SPDX-License-Identifier: Apache-2.0
/* supermachine bake: makes what `run` with the same options would restore. */
#include <limits.h>

#include "cli/out.h"
#include "cli/place.h"
#include "cli/vmargs.h"

struct values {
	struct vm_values vm;
};

static const struct args_option options[] = {VM_OPTIONS, CLI_COMMON, {0}};

static int failed(struct progress *p, const struct sm_error *err)
{
	progress_clear(p);
	out_error(err);
	return EXIT_RUN_FAILED;
}

static int bake_image(struct vm_plan *p, struct sm_image *image, struct progress *g)
{
	struct sm_image_info info = SM_INIT(info);
	char directory[PATH_MAX];
	struct sm_error err;
	int r = sm_image_info(image, &info, &err);

	if (r == 0) {
		(void)vm_plan_ready(p, info.exposes_ports);
		p->vm.notice = progress_notice;
		p->vm.context = g;
		r = sm_image_bake(image, &p->vm, directory, sizeof(directory), &err);
	}
	if (r < 0)
		return failed(g, &err);
	progress_step(g, r ? "baked" : "was baked already");
	printf("%s\n", directory);
	return cli_end();
}

static int bake(struct vm_plan *p, const char *reference, const struct place_request *place)
{
	struct sm_image_options o;
	struct sm_image *image;
	struct progress g;
	struct sm_error err;
	int status;

	progress_init(&g, place->emulate.is_verbose);
	g.image = reference;
	o = progress_image_options(&g);
	if (sm_image_open(NULL, reference, &o, &image, &err) < 0)
		return failed(&g, &err);
	progress_step(&g, "image");
	status = place_choose(place, NULL, &g);
	if (status == 0)
		status = bake_image(p, image, &g);
	sm_image_close(image);
	return status;
}

static int bake_plan(struct vm_plan *p, const struct values *v, char **argv, int at)
{
	struct place_request place = {
		.emulate = {.argv = argv,
			.is_verbose = v->vm.common.is_verbose,
			.env = &v->vm.env,
			.memory_bytes = p->vm.memory_bytes,
			.vcpus = p->vm.vcpus,
			.want_store = true},
		.has_kernel = p->vm.kernel,
	};
	struct err e = {0};

	if (emulate_mode(&place.mode, &e) == 0)
		return bake(p, argv[at], &place);
	out_err(&e);
	return EXIT_RUN_FAILED;
}

static int run(const struct cli_command *c, int argc, char **argv, bool is_verbose)
{
	struct values v = {0};
	struct vm_plan p = {0};
	struct err e = {0};
	int status, at = cli_options(c, &v, argc, argv, is_verbose, &status);

	if (at < 0)
		return status;
	if (at >= argc) {
		status = cli_usage(c, "no image was named");
	} else if (vm_plan(&p, &v.vm, (const char *const *)argv + at + 1, &e) < 0) {
		out_err(&e);
		status = EXIT_RUN_FAILED;
	} else if (p.command[0] && p.vm.ready == SM_READY_INIT) {
		status = cli_usage(c, "a command is only baked with --ready");
	} else {
		status = bake_plan(&p, &v, argv, at);
	}
	vm_plan_fini(&p);
	args_free(options, &v);
	return status;
}

const struct cli_command cmd_bake = {
	.name = "bake",
	.operands = "IMAGE [COMMAND [ARG]...]",
	.summary = "Make the state that run restores, and print where it is",
	.options = options,
	.usage_status = EXIT_RUN_FAILED,
	.run = run,
};
