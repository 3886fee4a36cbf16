// SPDX-License-Identifier: Apache-2.0
/* A command run to its end, with what it wrote in memory. */
#include <errno.h>
#include <signal.h>

#include "api/error.h"
#include "api/exec.h"
#include "api/handles.h"
#include "api/options.h"
#include "base/alloc.h"
#include "base/clock.h"

enum { LIMIT_BYTES = 16 << 20 };

struct collector {
	struct buf out;
	struct buf err;
	int failure; /* -E2BIG or -ENOMEM */
};

static int collect(struct collector *c, struct buf *to, const void *data, size_t bytes)
{
	if (!c->failure)
		c->failure = buf_append(to, data, bytes);
	return c->failure;
}

static int collect_out(const void *data, size_t bytes, void *context)
{
	struct collector *c = context;

	return collect(c, &c->out, data, bytes);
}

static int collect_err(const void *data, size_t bytes, void *context)
{
	struct collector *c = context;

	return collect(c, &c->err, data, bytes);
}

static int collection_error(
	const struct sm_exec *x, const struct collector *c, size_t limit, struct err *e)
{
	if (c->failure == -ENOMEM)
		return err_set(e, -ENOMEM, "no memory for the command's output");
	err_set(e, -EFBIG, "it wrote more than %zu bytes and was killed", limit);
	err_object(e, "%s", x->label);
	return err_remedy(e, "raise limit_bytes, or take the output as a stream (sm_exec_start)");
}

static int give(struct collector *c, const struct sm_exec *x, struct sm_output *ret, struct err *e)
{
	/* Terminates both; the bytes then change hands. */
	if (!buf_cstr(&c->out) || !buf_cstr(&c->err))
		return err_set(e, -ENOMEM, "no memory for the command's output");
	*ret = (struct sm_output){
		.out = (char *)take_ptr(&c->out.data),
		.out_bytes = c->out.bytes,
		.err = (char *)take_ptr(&c->err.data),
		.err_bytes = c->err.bytes,
		.exit = x->exit,
	};
	return 0;
}

static int run(struct sm_exec *x, struct collector *c, const struct sm_output_options *o,
	struct sm_output *ret, struct err *e)
{
	int r = pump_run(x, clock_deadline_ns(o->timeout_ms ? o->timeout_ms : -1), e);

	if (r == -ETIMEDOUT) {
		err_set(e, r, "it did not end within %lld ms and was killed",
			(long long)o->timeout_ms);
		return err_object(e, "%s", x->label);
	}
	if (r < 0)
		return r;
	if (c->failure)
		return collection_error(x, c, c->out.ceiling, e);
	return give(c, x, ret, e);
}

int sm_exec_output(struct sm_vm *vm, const char *const *argv,
	const struct sm_output_options *options, struct sm_output *ret, struct sm_error *err)
{
	struct sm_output_options o;
	struct sm_exec_options inner;
	struct exec_input input = {.fd = -1};
	struct collector c = {0};
	struct sm_exec *x = NULL;
	struct err e = {0};
	uint32_t stage = 0;
	int r;

	r = options_copy(&o, sizeof(o), sizeof(o), options, "struct sm_output_options", &e);
	if (r == 0)
		r = options_copy(
			&inner, sizeof(inner), sizeof(inner), o.exec, "struct sm_exec_options", &e);
	if (r < 0)
		return error_out(err, &e);
	inner.use_fds = 0;
	inner.on_stdout = collect_out;
	inner.on_stderr = collect_err;
	inner.context = &c;
	input.data = o.input;
	input.left = o.input ? o.input_bytes : 0;
	input.is_open = o.input != NULL;
	buf_init(&c.out, o.limit_bytes ? o.limit_bytes : LIMIT_BYTES);
	buf_init(&c.err, c.out.ceiling);
	r = exec_open(vm, argv, &inner, &input, &x, &stage, &e);
	if (r == 0) {
		r = run(x, &c, &o, ret, &e);
		err_object(&e, "%s", x->label);
	}
	sm_exec_close(x);
	buf_fini(&c.out);
	buf_fini(&c.err);
	if (r == 0)
		return 0;
	return error_out_as(err, &e, exec_error_code(stage, &e));
}

void sm_output_free(struct sm_output *output)
{
	if (!output)
		return;
	free(output->out);
	free(output->err);
	*output = (struct sm_output){0};
}
