// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"
#include "cli/out.h"

struct values {
	struct cli_common common;
	bool is_json;
	bool is_quiet;
};

static const struct args_option options[] = {
	{"json", 0, ARGS_FLAG, offsetof(struct values, is_json), NULL, "print JSON"},
	{"quiet", 'q', ARGS_FLAG, offsetof(struct values, is_quiet), NULL,
		"print nothing, only exit 0 or 1"},
	CLI_COMMON,
	{0},
};

static void print_finding(const struct sm_check *k, void *context)
{
	const char *verdict = k->is_ok ? "ok" : k->is_required ? "FAILED" : "missing";

	(void)context;
	printf("%-8s %-16s %s\n", verdict, k->name, k->found);
	if (!k->is_ok)
		printf("%-8s %-16s try: %s\n", "", "", k->remedy);
}

static void add_finding(const struct sm_check *k, void *context)
{
	struct out_json *j = context;

	out_json_open(j, NULL, '{');
	out_json_text(j, "name", k->name);
	out_json_bool(j, "ok", k->is_ok);
	out_json_bool(j, "required", k->is_required);
	out_json_text(j, "found", k->found);
	out_json_text(j, "remedy", k->remedy);
	out_json_close(j, '}');
}

static int check_as_json(struct sm_error *err)
{
	struct out_json j = {.to = stdout};
	int r;

	out_json_open(&j, NULL, '{');
	out_json_open(&j, "checks", '[');
	r = sm_host_check(add_finding, &j, err);
	out_json_close(&j, ']');
	out_json_bool(&j, "can_run", r == 0);
	out_json_close(&j, '}');
	fputc('\n', stdout);
	return r;
}

static int check_as_text(struct sm_error *err)
{
	int r = sm_host_check(print_finding, NULL, err);

	if (r == 0)
		puts("This host can run VMs.");
	else if (r == SM_E_HYPERVISOR)
		puts("This host cannot run VMs by itself; the emulated host can, slowly "
		     "(SUPERMACHINE_EMULATE).");
	else
		puts("This host cannot run VMs yet.");
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
	if (v.is_quiet)
		r = sm_host_check(NULL, NULL, &err);
	else
		r = v.is_json ? check_as_json(&err) : check_as_text(&err);
	return cli_end() || r < 0;
}

const struct cli_command cmd_doctor = {
	.name = "doctor",
	.operands = "",
	.summary = "Examine whether this host can run VMs, and say what to do if not",
	.options = options,
	.usage_status = EXIT_USAGE,
	.run = run,
};
