// SPDX-License-Identifier: Apache-2.0
/* supermachine run: image, VM, command; its streams are ours, its exit status becomes ours. */
#include <unistd.h>

#include "cli/out.h"
#include "cli/place.h"
#include "cli/session.h"
#include "cli/vmargs.h"

struct values {
	struct vm_values vm;
	const char *name;
	const char *clone;
	bool is_interactive;
	bool no_bake;
	bool want_timings;
};

static const struct args_option options[] = {
	VM_OPTIONS,
	{"no-bake", 0, ARGS_FLAG, offsetof(struct values, no_bake), NULL,
		"boot; neither use nor make a baked state"},
	{"name", 0, ARGS_TEXT, offsetof(struct values, name), "NAME",
		"of the VM, and its host name"},
	{"clone", 0, ARGS_TEXT, offsetof(struct values, clone), "K/N",
		"tell the command that it is clone K of N"},
	{"interactive", 'i', ARGS_FLAG, offsetof(struct values, is_interactive), NULL,
		"give the command our standard input"},
	{"timings", 0, ARGS_FLAG, offsetof(struct values, want_timings), NULL,
		"at the end, where the start's time went"},
	CLI_COMMON,
	{0},
};

static int make_plan(struct vm_plan *p, const struct values *v, char **command, struct err *e)
{
	int r = vm_plan(p, &v->vm, (const char *const *)command, e);

	if (r == 0)
		r = vm_clone(v->clone, &p->vm, e);
	p->vm.no_bake = v->no_bake;
	if (v->is_interactive)
		p->exec.stdin_fd = STDIN_FILENO;
	return r;
}

/* A server that we took for one and that does not listen is run like any other command. */
static int start_vm(struct session *s, struct vm_plan *p, struct sm_image *image, bool is_guess,
	struct sm_vm **ret)
{
	struct sm_error err;

	if (sm_vm_start(image, &p->vm, ret, &err) == 0)
		return 0;
	if (!is_guess)
		return session_start_failed(s, &err);
	progress_clear(&s->progress);
	fprintf(stderr, "supermachine: %s: not baked as a server (%s); --ready none avoids this\n",
		s->progress.image, err.cause);
	vm_plan_unready(p);
	if (sm_vm_start(image, &p->vm, ret, &err) == 0)
		return 0;
	return session_start_failed(s, &err);
}

static int run_vm(struct session *s, struct vm_plan *p, const struct values *v,
	struct sm_image *image, bool is_guess)
{
	struct sm_vm *vm;
	int status = session_name(s, v->name, &p->vm);

	if (status == 0)
		status = start_vm(s, p, image, is_guess, &vm);
	if (status == 0)
		status = session_run(s, vm, p->vm.workload ? NULL : p->command, &p->exec);
	return status;
}

static bool exposes_ports(const struct sm_image *image)
{
	struct sm_image_info info = SM_INIT(info);

	return sm_image_info(image, &info, NULL) == 0 && info.exposes_ports;
}

static int run_image(struct session *s, struct vm_plan *p, const struct values *v,
	const char *reference, const struct place_request *place)
{
	struct sm_image_options o = progress_image_options(&s->progress);
	struct sm_image *image;
	struct sm_error err;
	bool is_guess;
	int status;

	s->progress.image = reference;
	if (sm_image_open(NULL, reference, &o, &image, &err) < 0)
		return session_failed(s, &err);
	progress_step(&s->progress, "image");
	is_guess = vm_plan_ready(p, exposes_ports(image));
	status = place_choose(place, &s->signals, &s->progress);
	if (status == 0)
		status = run_vm(s, p, v, image, is_guess);
	sm_image_close(image);
	return status;
}

static int run_plan(struct vm_plan *p, const struct values *v, char **argv, int at)
{
	static struct session session;
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
	int status;

	if (emulate_mode(&place.mode, &e) < 0) {
		out_err(&e);
		return EXIT_RUN_FAILED;
	}
	status = session_open(&session, v->vm.common.is_verbose, v->want_timings);
	if (status == 0)
		status = run_image(&session, p, v, argv[at], &place);
	session_close(&session);
	return status;
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
	} else if (make_plan(&p, &v, argv + at + 1, &e) < 0) {
		out_err(&e);
		status = EXIT_RUN_FAILED;
	} else {
		status = run_plan(&p, &v, argv, at);
	}
	vm_plan_fini(&p);
	args_free(options, &v);
	return status;
}

const struct cli_command cmd_run = {
	.name = "run",
	.operands = "IMAGE [COMMAND [ARG]...]",
	.summary = "Run a command of an image in a VM of its own",
	.options = options,
	.usage_status = EXIT_RUN_FAILED,
	.run = run,
};
