// SPDX-License-Identifier: Apache-2.0
/* supermachine restore: a VM from a snapshot; goes on with what ran in it, or runs a command. */
#include <stdlib.h>
#include <unistd.h>

#include "cli/out.h"
#include "cli/place.h"
#include "cli/session.h"
#include "cli/vmargs.h"

struct values {
	struct cli_common common;
	struct args_list env;
	const char *name;
	const char *clone;
	bool is_interactive;
	bool want_timings;
};

static const struct args_option options[] = {
	{"env", 'e', ARGS_LIST, offsetof(struct values, env), "NAME[=VALUE]",
		"a variable of this clone, or take it over from here"},
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

/* How large an emulated host must be. */
static void note_size(const struct sm_snapshot_info *info, void *context)
{
	struct emulate_request *q = context;

	q->memory_bytes = info->memory_bytes;
	q->vcpus = info->vcpus;
}

static int restore_vm(
	struct session *s, const struct values *v, struct sm_vm_options *o, char **words)
{
	const struct sm_exec_options exec = {
		.size = sizeof(exec),
		.use_fds = 1,
		.stdin_fd = v->is_interactive ? STDIN_FILENO : SM_FD_NULL,
		.stdout_fd = STDOUT_FILENO,
		.stderr_fd = STDERR_FILENO,
	};
	struct sm_error err;
	struct sm_vm *vm;
	int status = session_name(s, v->name, o);

	if (status)
		return status;
	if (sm_vm_restore(NULL, words[0], o, &vm, &err) < 0)
		return session_start_failed(s, &err);
	return session_run(s, vm, words[1] ? (const char *const *)words + 1 : NULL, &exec);
}

static int restore_somewhere(const struct values *v, struct sm_vm_options *o, char **argv, int at)
{
	static struct session session;
	struct place_request place = {
		.emulate = {.argv = argv, .is_verbose = v->common.is_verbose, .env = &v->env},
		.has_kernel = true,
	};
	struct sm_error err;
	struct err e = {0};
	int status;

	if (emulate_mode(&place.mode, &e) < 0) {
		out_err(&e);
		return EXIT_RUN_FAILED;
	}
	if (sm_snapshot_info(argv[at], note_size, &place.emulate, &err) < 0) {
		out_error(&err);
		return EXIT_RUN_FAILED;
	}
	status = session_open(&session, v->common.is_verbose, v->want_timings);
	session.progress.image = argv[at];
	if (status == 0)
		status = place_choose(&place, &session.signals, &session.progress);
	if (status == 0)
		status = restore_vm(&session, v, o, argv + at);
	session_close(&session);
	return status;
}

static int restore(const struct values *v, char **argv, int at)
{
	struct sm_vm_options o = SM_INIT(o);
	const char **env = NULL;
	struct err e = {0};
	int r = vm_clone(v->clone, &o, &e), status = EXIT_RUN_FAILED;

	if (r == 0)
		r = vm_env(&v->env, &env, &e);
	if (r < 0) {
		out_err(&e);
	} else {
		o.clone_env = env;
		status = restore_somewhere(v, &o, argv, at);
	}
	free(env);
	return status;
}

static int run(const struct cli_command *c, int argc, char **argv, bool is_verbose)
{
	struct values v = {0};
	int status, at = cli_options(c, &v, argc, argv, is_verbose, &status);

	if (at < 0)
		return status;
	status = at < argc ? restore(&v, argv, at) : cli_usage(c, "no snapshot was named");
	args_free(options, &v);
	return status;
}

const struct cli_command cmd_restore = {
	.name = "restore",
	.operands = "DIRECTORY [COMMAND [ARG]...]",
	.summary = "Start a VM from a snapshot and go on with what ran in it",
	.options = options,
	.usage_status = EXIT_RUN_FAILED,
	.run = run,
};
