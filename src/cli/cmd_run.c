// SPDX-License-Identifier: Apache-2.0
/* supermachine run: image, VM, command; its streams are ours, its exit status becomes ours. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/cli.h"
#include "cli/emulate.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "cli/signals.h"

enum {
	VCPUS_MAX = 16,
	STATUS_NOT_EXECUTABLE = 126,
	STATUS_NOT_FOUND = 127,
	STATUS_SIGNAL = 128,
	LOG_SHOWN = 16384,
};

struct values {
	struct cli_common common;
	struct args_list env;
	const char *cwd;
	const char *user;
	const char *entrypoint;
	const char *memory;
	const char *cpus;
	const char *kernel;
	const char *name;
	bool is_interactive;
};

static const struct args_option options[] = {
	{"env", 'e', ARGS_LIST, offsetof(struct values, env), "NAME[=VALUE]",
		"set a variable, or take it over from here"},
	{"workdir", 'w', ARGS_TEXT, offsetof(struct values, cwd), "DIR",
		"working directory of the command"},
	{"user", 'u', ARGS_TEXT, offsetof(struct values, user), "USER[:GROUP]",
		"names of the image, or numbers"},
	{"entrypoint", 0, ARGS_TEXT, offsetof(struct values, entrypoint), "CMD",
		"instead of the image's; \"\" for none"},
	{"memory", 'm', ARGS_TEXT, offsetof(struct values, memory), "SIZE",
		"of the VM, like 256M or 2G; default 512M"},
	{"cpus", 0, ARGS_TEXT, offsetof(struct values, cpus), "N", "1 to 16; default 1"},
	{"kernel", 0, ARGS_TEXT, offsetof(struct values, kernel), "PATH",
		"another guest kernel: ELF vmlinux or bzImage"},
	{"name", 0, ARGS_TEXT, offsetof(struct values, name), "NAME",
		"of the VM, and its host name"},
	{"interactive", 'i', ARGS_FLAG, offsetof(struct values, is_interactive), NULL,
		"give the command our standard input"},
	CLI_COMMON,
	{0},
};

/* Everything that the options say, checked before anything is done. */
struct plan {
	struct sm_vm_options vm;
	struct sm_exec_options exec;
	struct emulate_request emulate;
	enum emulate_mode mode;
	const char *reference;
	const char *const *command;
	const char **env;
	const char *entrypoint[2];
	bool is_verbose;
};

/* ---- options ------------------------------------------------------------------------------- */

static int parse_cpus(const char *text, unsigned *ret, struct err *e)
{
	uint64_t n;

	if (!text)
		return 0;
	if (str_to_u64(text, &n) < 0 || n < 1 || n > VCPUS_MAX) {
		err_set(e, -EINVAL, "\"%.40s\" is no number of vCPUs that a VM can have", text);
		err_object(e, "--cpus");
		return err_remedy(e, "a number from 1 to %d", VCPUS_MAX);
	}
	*ret = (unsigned)n;
	return 0;
}

static int parse_memory(const char *text, uint64_t *ret, struct err *e)
{
	uint64_t n;

	if (!text)
		return 0;
	if (str_to_size(text, &n) < 0 || !n) {
		err_set(e, -EINVAL, "\"%.40s\" is no memory size", text);
		err_object(e, "--memory");
		return err_remedy(e, "a number with M or G after it, like 512M");
	}
	*ret = n;
	return 0;
}

/* NAME alone is taken over from our environment, and left out when it is not there. */
static int make_env(struct plan *p, const struct args_list *list, struct err *e)
{
	size_t n = 0;

	p->env = calloc(list->n + 1, sizeof(*p->env));
	if (!p->env)
		return err_set(e, -ENOMEM, "no memory for the environment");
	for (size_t i = 0; i < list->n; i++) {
		const char *word = list->items[i], *value = getenv(word);

		if (!*word || *word == '=') {
			err_set(e, -EINVAL, "\"%.40s\" names no variable", word);
			err_object(e, "--env");
			return err_remedy(e, "-e NAME=value, or -e NAME");
		}
		/* getenv of a word with '=' finds nothing. */
		if (!strchr(word, '=') && value) {
			/* In the environment it stands right behind its name. */
			word = value - strlen(word) - 1;
		} else if (!strchr(word, '=')) {
			continue;
		}
		p->env[n++] = word;
	}
	p->exec.env = p->env;
	return 0;
}

static void plan_exec(struct plan *p, const struct values *v)
{
	p->exec.size = sizeof(p->exec);
	p->exec.cwd = v->cwd;
	p->exec.user = v->user;
	p->exec.use_fds = 1;
	p->exec.stdin_fd = v->is_interactive ? STDIN_FILENO : SM_FD_NULL;
	p->exec.stdout_fd = STDOUT_FILENO;
	p->exec.stderr_fd = STDERR_FILENO;
	p->exec.is_entrypoint = 1;
	if (v->entrypoint) {
		p->entrypoint[0] = *v->entrypoint ? v->entrypoint : NULL;
		p->exec.entrypoint = p->entrypoint;
	}
}

static int make_plan(struct plan *p, const struct values *v, char **argv, int at, struct err *e)
{
	int r = emulate_mode(&p->mode, e);

	if (r == 0)
		r = parse_cpus(v->cpus, &p->vm.vcpus, e);
	if (r == 0)
		r = parse_memory(v->memory, &p->vm.memory_bytes, e);
	if (r == 0)
		r = make_env(p, &v->env, e);
	if (r < 0)
		return r;
	p->vm.size = sizeof(p->vm);
	p->vm.kernel = v->kernel;
	p->vm.name = v->name;
	p->is_verbose = v->common.is_verbose;
	p->reference = argv[at];
	p->command = (const char *const *)argv + at + 1;
	plan_exec(p, v);
	p->emulate = (struct emulate_request){
		.argv = argv,
		.is_verbose = p->is_verbose,
		.env = &v->env,
		.memory_bytes = p->vm.memory_bytes,
		.vcpus = p->vm.vcpus,
	};
	return 0;
}

/* ---- running ------------------------------------------------------------------------------- */

static int failed(struct progress *p, const struct sm_error *err)
{
	progress_clear(p);
	out_error(err);
	return EXIT_RUN_FAILED;
}

/* What a shell would say of a command that did not start. */
static int start_failed(struct progress *p, const struct sm_error *err)
{
	int status = failed(p, err);

	if (err->code == SM_E_NOT_FOUND)
		return STATUS_NOT_FOUND;
	return err->code == SM_E_EXEC ? STATUS_NOT_EXECUTABLE : status;
}

static int run_command(struct plan *p, struct sm_vm *vm, struct signals *s, struct progress *g)
{
	struct sm_exec *exec;
	struct sm_error err;
	struct sm_exit end;
	int r, forced_by;

	r = sm_exec_start(vm, p->command, &p->exec, &exec, &err);
	if (r < 0)
		return start_failed(g, &err);
	signals_attach(s, vm, exec);
	progress_step(g, "command started");
	r = sm_exec_wait(exec, -1, &end, &err);
	forced_by = signals_detach(s);
	sm_exec_close(exec);
	progress_step(g, "command");
	if (r == 0)
		return end.status;
	return forced_by ? STATUS_SIGNAL + forced_by : failed(g, &err);
}

static int run_vm(struct plan *p, struct sm_image *image, struct signals *s, struct progress *g)
{
	/* Nothing that the VM wrote is kept, so that there is nothing to wait for. */
	const struct sm_stop_options stop = {.size = sizeof(stop), .is_forced = 1};
	static char console[LOG_SHOWN];
	struct sm_error err;
	struct sm_vm *vm;
	int status;

	if (p->is_verbose) {
		p->vm.failed_log = console;
		p->vm.failed_log_bytes = sizeof(console);
	}
	if (sm_vm_start(image, &p->vm, &vm, &err) < 0) {
		if (console[0])
			fprintf(stderr, "--- console of the guest\n%s\n---\n", console);
		return failed(g, &err);
	}
	progress_step(g, "VM started");
	progress_start_timings(g, vm);
	status = run_command(p, vm, s, g);
	(void)sm_vm_stop(vm, &stop, NULL);
	sm_vm_close(vm);
	progress_step(g, "VM stopped");
	return status;
}

/* Says so and does not come back, unless it fails. */
static int run_emulated(struct plan *p, const char *why, struct signals *s, struct progress *g)
{
	struct err e = {0};

	progress_clear(g);
	fprintf(stderr, "supermachine: %s; running in the emulated host, tens of times slower\n",
		why);
	signals_restore(s);
	(void)emulate_become(&p->emulate, &e);
	out_err(&e);
	return EXIT_RUN_FAILED;
}

/* Where the VM can run, once the image is there (converting it under emulation would take long). */
static int run_somewhere(
	struct plan *p, struct sm_image *image, struct signals *s, struct progress *g)
{
	struct sm_error err;
	char why[sizeof(err.object) + sizeof(err.cause) + 4];
	int r;

	if (p->mode == EMULATE_ALWAYS)
		return run_emulated(p, "SUPERMACHINE_EMULATE says always", s, g);
	r = sm_host_check(NULL, NULL, &err);
	progress_step(g, "host checked");
	if (r == SM_E_HYPERVISOR && p->mode == EMULATE_AUTO) {
		/* What is in brackets is for `doctor`. */
		char *details = strstr(err.cause, " (");

		if (details)
			*details = '\0';
		snprintf(why, sizeof(why), "%s: %s", err.object, err.cause);
		return run_emulated(p, why, s, g);
	}
	/* A kernel of the caller's choice makes up for a default one that is missing. */
	if (r < 0 && !(r == SM_E_NOT_FOUND && p->vm.kernel))
		return failed(g, &err);
	return run_vm(p, image, s, g);
}

static int run_plan(struct plan *p)
{
	/* The thread that waits for signals may look at it until the very end. */
	static struct signals signals;
	struct sm_image_options image_options;
	struct err e = {0};
	struct sm_error err;
	struct sm_image *image;
	struct progress g;
	int status;

	progress_init(&g, p->is_verbose);
	if (signals_start(&signals, &e) < 0) {
		out_err(&e);
		return EXIT_RUN_FAILED;
	}
	image_options = progress_image_options(&g);
	if (sm_image_open(NULL, p->reference, &image_options, &image, &err) < 0)
		return failed(&g, &err);
	progress_step(&g, "image");
	status = run_somewhere(p, image, &signals, &g);
	sm_image_close(image);
	return status;
}

static int run(const struct cli_command *c, int argc, char **argv, bool is_verbose)
{
	struct values v = {0};
	struct plan p = {0};
	struct err e = {0};
	int status, at = cli_options(c, &v, argc, argv, is_verbose, &status);

	if (at < 0)
		return status;
	if (at >= argc) {
		status = cli_usage(c, "no image was named");
	} else if (make_plan(&p, &v, argv, at, &e) < 0) {
		out_err(&e);
		status = EXIT_RUN_FAILED;
	} else {
		status = run_plan(&p);
	}
	free(p.env);
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
