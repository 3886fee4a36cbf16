// SPDX-License-Identifier: Apache-2.0
#include "embed.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COMMAND_MS = 120000 }; /* a guest that hangs shall not hang the test */

struct sm_error err;

void check(int result)
{
	char text[800];

	if (result >= 0)
		return;
	sm_error_sentence(&err, text, sizeof(text));
	fail_msg("%d: %s", result, text);
}

void check_error(int result, int code, ...)
{
	char text[800];
	const char *word;
	va_list ap;

	sm_error_sentence(&err, text, sizeof(text));
	if (result != code)
		fail_msg("%d instead of %d: %s", result, code, result < 0 ? text : "no error");
	assert_true(err.cause[0]);
	va_start(ap, code);
	while ((word = va_arg(ap, const char *)))
		if (!strstr(text, word))
			fail_msg("\"%s\" is not in: %s", word, text);
	va_end(ap);
}

struct sm_vm *start_vm(const char *variable, const struct sm_vm_options *options)
{
	struct sm_image *image;
	struct sm_vm *vm;

	check(sm_image_open(NULL, getenv(variable), NULL, &image, &err));
	check(sm_vm_start(image, options, &vm, &err));
	sm_image_close(image);
	return vm;
}

struct sm_vm *restore_vm(const char *dir, const struct sm_vm_options *options)
{
	struct sm_vm *vm;

	check(sm_vm_restore(NULL, dir, options, &vm, &err));
	return vm;
}

void drop_vm(struct sm_vm *vm)
{
	struct sm_stop_options force = SM_INIT(force);

	force.is_forced = 1;
	check(sm_vm_stop(vm, &force, &err));
	sm_vm_close(vm);
}

char *say(struct sm_vm *vm, const char *command)
{
	const char *argv[] = {"sh", "-c", command, NULL};
	struct sm_output_options o = SM_INIT(o);
	struct sm_output out;
	char *text;

	o.timeout_ms = COMMAND_MS;
	check(sm_exec_output(vm, argv, &o, &out, &err));
	if (out.exit.status)
		fail_msg("%s: status %d: %s", command, out.exit.status, out.err);
	text = strdup(out.out);
	assert_non_null(text);
	sm_output_free(&out);
	return text;
}

void shell(struct sm_vm *vm, const char *command, const char *expected)
{
	char *text = say(vm, command);

	if (expected)
		assert_string_equal(text, expected);
	free(text);
}

double number(struct sm_vm *vm, const char *command)
{
	char *text = say(vm, command), *end;
	double n = strtod(text, &end);

	if (end == text)
		fail_msg("%s: no number: %s", command, text);
	free(text);
	return n;
}

struct sm_exec *start_shell(struct sm_vm *vm, const char *command, sm_write_fn f, void *context)
{
	const char *argv[] = {"sh", "-c", command, NULL};
	struct sm_exec_options o = SM_INIT(o);
	struct sm_exec *exec;

	o.on_stdout = f;
	o.context = context;
	check(sm_exec_start(vm, argv, &o, &exec, &err));
	return exec;
}

const char *scratch(const char *name)
{
	static char buffers[8][512];
	static unsigned at;
	char *out = buffers[at++ % 8];

	snprintf(out, sizeof(buffers[0]), "%s/%s", getenv("SCRATCH"), name);
	return out;
}

const char *in(const char *dir, const char *file)
{
	static char out[1024];

	snprintf(out, sizeof(out), "%s/%s", dir, file);
	return out;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	return remove(path);
}

void remove_tree(const char *dir)
{
	(void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int exists(const char *path)
{
	return access(path, F_OK) == 0;
}

double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

unsigned setting(const char *variable, unsigned by_default)
{
	const char *text = getenv(variable);

	return text && *text ? (unsigned)strtoul(text, NULL, 10) : by_default;
}
