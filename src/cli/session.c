// SPDX-License-Identifier: Apache-2.0
#include "cli/session.h"

#include <stdio.h>
#include <sys/random.h>

#include "cli/out.h"

enum {
	STATUS_NOT_EXECUTABLE = 126,
	STATUS_NOT_FOUND = 127,
	STATUS_SIGNAL = 128,
};

int session_open(struct session *s, bool is_verbose, bool want_timings)
{
	struct err e = {0};

	progress_init(&s->progress, is_verbose);
	s->is_verbose = is_verbose;
	s->want_timings = want_timings;
	s->serve = (struct serve){.dir_fd = -1, .listen_fd = -1, .stop_fd = -1};
	if (signals_start(&s->signals, &e) == 0)
		return 0;
	out_err(&e);
	return EXIT_RUN_FAILED;
}

void session_close(struct session *s)
{
	serve_release(&s->serve);
}

int session_failed(struct session *s, const struct sm_error *err)
{
	progress_clear(&s->progress);
	out_error(err);
	return EXIT_RUN_FAILED;
}

static int failed_here(struct session *s, const struct err *e)
{
	progress_clear(&s->progress);
	out_err(e);
	return EXIT_RUN_FAILED;
}

int session_name(struct session *s, const char *name, struct sm_vm_options *o)
{
	char made_up[16];
	uint32_t random = 0;
	struct err e = {0};

	(void)!getrandom(&random, sizeof(random), 0);
	snprintf(made_up, sizeof(made_up), "sm-%08x", random);
	if (serve_claim(&s->serve, name ? name : made_up, &e) < 0) {
		serve_release(&s->serve);
		if (name)
			return failed_here(s, &e);
		/* Who did not name it does not want to reach it. */
		if (s->is_verbose)
			fprintf(stderr, "supermachine: no snapshots of this VM: %s: %s\n", e.object,
				e.cause);
	}
	o->name = s->serve.name;
	o->notice = progress_notice;
	o->context = &s->progress;
	if (s->is_verbose) {
		o->failed_log = s->console;
		o->failed_log_bytes = sizeof(s->console);
	}
	return 0;
}

int session_start_failed(struct session *s, const struct sm_error *err)
{
	progress_clear(&s->progress);
	if (s->console[0])
		fprintf(stderr, "--- console of the guest\n%s\n---\n", s->console);
	return session_failed(s, err);
}

/* ---- the command --------------------------------------------------------------------------- */

/* What a shell would say of a command that did not start. */
static int command_failed(struct session *s, const struct sm_error *err)
{
	int status = session_failed(s, err);

	if (err->code == SM_E_NOT_FOUND)
		return STATUS_NOT_FOUND;
	return err->code == SM_E_EXEC ? STATUS_NOT_EXECUTABLE : status;
}

static int wait_for(struct session *s, struct sm_vm *vm, struct sm_exec *exec)
{
	struct sm_error err;
	struct sm_exit end;
	int r, forced_by;

	signals_attach(&s->signals, vm, exec);
	progress_step(&s->progress, "command started");
	r = sm_exec_wait(exec, -1, &end, &err);
	forced_by = signals_detach(&s->signals);
	sm_exec_close(exec);
	progress_step(&s->progress, "command");
	if (r == 0)
		return end.status;
	return forced_by ? STATUS_SIGNAL + forced_by : session_failed(s, &err);
}

static int run_command(struct session *s, struct sm_vm *vm, const char *const *argv,
	const struct sm_exec_options *options)
{
	struct sm_exec *exec;
	struct sm_error err;

	if (argv) {
		if (sm_exec_start(vm, argv, options, &exec, &err) < 0)
			return command_failed(s, &err);
	} else if (sm_vm_attach(vm, 0, options, &exec, &err) < 0) {
		return session_failed(s, &err);
	}
	return wait_for(s, vm, exec);
}

static void answer_others(struct session *s, struct sm_vm *vm)
{
	struct err e = {0};

	if (s->serve.listen_fd < 0 || serve_start(&s->serve, vm, &e) == 0)
		return;
	/* Better than to keep them waiting for ever. */
	serve_release(&s->serve);
	fprintf(stderr, "supermachine: no snapshots of this VM: %s\n", e.cause);
}

int session_run(struct session *s, struct sm_vm *vm, const char *const *argv,
	const struct sm_exec_options *exec)
{
	/* Nothing that the VM wrote is kept, so that there is nothing to wait for. */
	const struct sm_stop_options stop = {.size = sizeof(stop), .is_forced = 1};
	int status;

	progress_step(&s->progress, "VM started");
	sm_vm_timings(vm, &s->timings);
	progress_start_timings(&s->progress, &s->timings);
	answer_others(s, vm);
	status = run_command(s, vm, argv, exec);
	serve_stop(&s->serve);
	(void)sm_vm_stop(vm, &stop, NULL);
	sm_vm_close(vm);
	progress_step(&s->progress, "VM stopped");
	if (s->want_timings)
		progress_json_timings(&s->timings, stderr);
	return status;
}
