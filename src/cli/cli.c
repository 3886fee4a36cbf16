// SPDX-License-Identifier: Apache-2.0
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli/out.h"

static int usage_error(const struct cli_command *c, struct err *e)
{
	err_object(e, "%s", c->name);
	err_remedy(e, "supermachine %s --help", c->name);
	out_err(e);
	return c->usage_status;
}

int cli_options(const struct cli_command *c, void *values, int argc, char **argv, bool is_verbose,
	int *ret_status)
{
	struct cli_common *common = values;
	struct err e = {0};
	int at = args_parse(c->options, values, argc, argv, &e);

	if (at < 0) {
		*ret_status = usage_error(c, &e);
		return -1;
	}
	common->is_verbose |= is_verbose;
	if (common->want_help) {
		cli_help(c, stdout);
		args_free(c->options, values);
		*ret_status = cli_end();
		return -1;
	}
	return at;
}

int cli_usage(const struct cli_command *c, const char *fmt, ...)
{
	struct err e = {0};
	char text[sizeof(e.cause)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(&e, -EINVAL, "%s", text);
	return usage_error(c, &e);
}

void cli_help(const struct cli_command *c, FILE *to)
{
	fprintf(to, "usage: supermachine %s [OPTION]...%s%s\n\n%s.\n\n", c->name,
		c->operands[0] ? " " : "", c->operands, c->summary);
	args_help(c->options, to);
}

int cli_end(void)
{
	int r = out_flush();

	if (r == 0)
		return 0;
	fprintf(stderr, "supermachine: standard output: %s\n", strerror(-r));
	return 1;
}
