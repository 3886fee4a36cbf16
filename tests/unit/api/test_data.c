// SPDX-License-Identifier: Apache-2.0
/* The parts of the library that are data in, data out. */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/console.h"
#include "api/error.h"
#include "api/newc.h"
#include "api/options.h"
#include "api/request.h"
#include "base/fd.h"
#include "proto/agent.h"
#include "proto/console_log.h"
#include "proto/frame.h"

/* ---- errors -------------------------------------------------------------------------------- */

static void errors_map(void **state)
{
	struct sm_error out;
	struct err e = {0};
	char text[800];

	(void)state;
	assert_int_equal(error_code(-ENOENT), SM_E_NOT_FOUND);
	assert_int_equal(error_code(-EACCES), SM_E_DENIED);
	assert_int_equal(error_code(-EBADMSG), SM_E_CORRUPT);
	assert_int_equal(error_code(-ENOSPC), SM_E_NO_SPACE);
	assert_int_equal(error_code(-ESHUTDOWN), SM_E_VM_GONE);
	assert_int_equal(error_code(-ENODEV), SM_E_HYPERVISOR);
	assert_int_equal(error_code(-EXFULL), SM_E_IO);
	err_set(&e, -ENOENT, "it is not there");
	err_object(&e, "thing");
	err_remedy(&e, "put it there");
	assert_int_equal(error_out(&out, &e), SM_E_NOT_FOUND);
	assert_int_equal(out.os_code, ENOENT);
	sm_error_sentence(&out, text, sizeof(text));
	assert_string_equal(text, "thing: it is not there; put it there");
	sm_error_sentence(&out, text, 6);
	assert_string_equal(text, "thing");
	assert_int_equal(error_out(NULL, &e), SM_E_NOT_FOUND);
	e = (struct err){.code = -EIO};
	error_out(&out, &e);
	assert_string_not_equal(out.cause, "");
}

/* ---- option structs ------------------------------------------------------------------------ */

struct opts {
	size_t size;
	int first;
	int second;
};

static void options_of_every_age(void **state)
{
	struct {
		struct opts known;
		long unknown;
	} newer = {.known = {.size = sizeof(newer), .first = 1, .second = 2}};
	struct opts o, given = {.size = offsetof(struct opts, second), .first = 7, .second = 9};
	const size_t minimum = offsetof(struct opts, second);
	struct err e = {0};

	(void)state;
	assert_int_equal(options_copy(&o, sizeof(o), minimum, NULL, "opts", &e), 0);
	assert_int_equal(o.first, 0);
	assert_int_equal(o.size, sizeof(o));
	assert_int_equal(options_copy(&o, sizeof(o), minimum, &given, "opts", &e), 0);
	assert_int_equal(o.first, 7);
	assert_int_equal(o.second, 0); /* the older caller has no such field */
	assert_int_equal(o.size, sizeof(o));
	assert_int_equal(options_copy(&o, sizeof(o), minimum, &newer, "opts", &e), 0);
	assert_int_equal(o.second, 2);
	newer.unknown = 1;
	assert_int_equal(options_copy(&o, sizeof(o), minimum, &newer, "opts", &e), -EINVAL);
	assert_string_equal(e.object, "opts");
	given.size = 0;
	assert_int_equal(options_copy(&o, sizeof(o), minimum, &given, "opts", &e), -EINVAL);
	given.size = minimum - 1;
	assert_int_equal(options_copy(&o, sizeof(o), minimum, &given, "opts", &e), -EINVAL);
}

static void options_are_checked(void **state)
{
	struct fixture *f = *state;
	struct sm_vm_options o = SM_INIT(o);
	struct sm_error err;
	struct sm_vm *vm;

	o.vcpus = 17;
	assert_int_equal(sm_vm_start(f->image, &o, &vm, &err), SM_E_INVALID);
	assert_non_null(strstr(err.cause, "16"));
	o = (struct sm_vm_options)SM_INIT(o);
	o.memory_bytes = 1 << 20;
	assert_int_equal(sm_vm_start(f->image, &o, &vm, &err), SM_E_INVALID);
	assert_string_equal(err.object, "memory");
	o = (struct sm_vm_options)SM_INIT(o);
	o.kernel = "/no/such/kernel";
	assert_int_equal(sm_vm_start(f->image, &o, &vm, &err), SM_E_NOT_FOUND);
	assert_string_equal(err.object, "/no/such/kernel");
	o.kernel = f->kernel;
	o.name = "not a host name";
	assert_int_equal(sm_vm_start(f->image, &o, &vm, &err), SM_E_INVALID);
	assert_string_equal(err.object, "not a host name");
	o.name = NULL;
	o.cmdline = "two\nlines";
	assert_int_equal(sm_vm_start(f->image, &o, &vm, &err), SM_E_INVALID);
	o.cmdline = NULL;
	o.size = 3;
	assert_int_equal(sm_vm_start(f->image, &o, &vm, &err), SM_E_INVALID);
	assert_int_equal(sm_image_open(NULL, "", NULL, &f->image, &err), SM_E_INVALID);
}

/* ---- newc ---------------------------------------------------------------------------------- */

/* cpio itself must find in it what was put there. */
static void newc_is_read_by_cpio(void **state)
{
	struct fixture *f = *state;
	char command[256], path[128], text[64] = "";
	struct buf b;
	FILE *p;

	buf_init(&b, 4096);
	assert_int_equal(newc_add_file(&b, "bootcfg", "hello", 5), 0);
	assert_int_equal(newc_add_file(&b, "four", "1234", 4), 0);
	assert_int_equal(newc_end(&b), 0);
	assert_int_equal(b.bytes % 4, 0);
	snprintf(path, sizeof(path), "%s/a.cpio", f->dir);
	p = fopen(path, "w");
	assert_int_equal(fwrite(b.data, 1, b.bytes, p), b.bytes);
	fclose(p);
	buf_fini(&b);
	if (system("command -v cpio > /dev/null")) {
		unlink(path);
		print_message("cpio is not installed\n");
		skip();
	}
	snprintf(command, sizeof(command),
		"cd %s && cpio -i --quiet --to-stdout bootcfg four < a.cpio && rm a.cpio", f->dir);
	p = popen(command, "r");
	assert_non_null(fgets(text, sizeof(text), p));
	assert_int_equal(pclose(p), 0);
	assert_string_equal(text, "hello1234");
}

static void newc_has_a_ceiling(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(newc_add_file(&b, "x", "data", 4), -E2BIG);
	buf_fini(&b);
}

/* ---- requests ------------------------------------------------------------------------------ */

/* The fields of one tag, each followed by '|'. */
static void fields(const struct buf *b, uint16_t tag, char *out, size_t room)
{
	const uint8_t *at = b->data, *end = b->data + b->bytes, *data;
	struct agent_field field;
	size_t n = 0;

	out[0] = '\0';
	while (frame_next_field(&at, end, &field, &data) > 0)
		if (field.tag == tag)
			n += (size_t)snprintf(
				out + n, room - n, "%.*s|", (int)field.bytes, (const char *)data);
}

static void expect(struct fixture *f, const char *const *argv, const struct sm_exec_options *o,
	uint16_t tag, const char *expected)
{
	struct err e = {0};
	char text[1024];
	struct buf b;

	buf_init(&b, AGENT_REQUEST_MAX);
	if (request_encode(&b, &fixture_inner(f->image)->config, argv, o, 0, &e) < 0)
		fail_msg("%s", e.cause);
	fields(&b, tag, text, sizeof(text));
	assert_string_equal(text, expected);
	buf_fini(&b);
}

static void entrypoint_rules(void **state)
{
	const char *const words[] = {"a", "b", NULL}, *const other[] = {"other", NULL};
	const char *const none[] = {NULL};
	struct sm_exec_options o = {.is_entrypoint = 1};

	expect(*state, NULL, &o, AGENT_ARG, "echo|image's command|");
	expect(*state, none, &o, AGENT_ARG, "echo|image's command|");
	expect(*state, words, &o, AGENT_ARG, "echo|a|b|");
	o.entrypoint = other;
	expect(*state, NULL, &o, AGENT_ARG, "other|");
	expect(*state, words, &o, AGENT_ARG, "other|a|b|");
	o.entrypoint = none;
	expect(*state, words, &o, AGENT_ARG, "a|b|");
	o = (struct sm_exec_options){0};
	expect(*state, words, &o, AGENT_ARG, "a|b|");
}

static void environment_rules(void **state)
{
	const char *const argv[] = {"x", NULL};
	const char *const env[] = {"A=1", "FROM_IMAGE=no", "A=2", NULL};
	struct sm_exec_options o = {0};
	struct fixture *f = *state;

	expect(f, argv, &o, AGENT_ENV, "PATH=/usr/sbin:/usr/bin:/sbin:/bin|FROM_IMAGE=yes|");
	o.env = env;
	expect(f, argv, &o, AGENT_ENV, "PATH=/usr/sbin:/usr/bin:/sbin:/bin|FROM_IMAGE=no|A=2|");
	memcpy(fixture_inner(f->image)->config.env.items[0], "HTAP", 4);
	o.env = NULL;
	expect(f, argv, &o, AGENT_ENV,
		"HTAP=/usr/sbin:/usr/bin:/sbin:/bin|FROM_IMAGE=yes|"
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin|");
}

static void place_rules(void **state)
{
	const char *const argv[] = {"x", NULL};
	struct sm_exec_options o = {0};
	struct fixture *f = *state;
	struct image_config *c = &fixture_inner(f->image)->config;

	expect(f, argv, &o, AGENT_CWD, "/|");
	expect(f, argv, &o, AGENT_USER, "");
	c->working_dir = strdup("/image");
	c->user = strdup("image:group");
	expect(f, argv, &o, AGENT_CWD, "/image|");
	expect(f, argv, &o, AGENT_USER, "image:group|");
	o.cwd = "/mine";
	o.user = "1:2";
	expect(f, argv, &o, AGENT_CWD, "/mine|");
	expect(f, argv, &o, AGENT_USER, "1:2|");
}

static void requests_are_refused(void **state)
{
	struct fixture *f = *state;
	const struct image_config *c = &fixture_inner(f->image)->config;
	static const struct image_config empty;
	const char *argv[] = {"x", NULL}, *const bad_env[] = {"novalue", NULL};
	char *big = calloc(1, AGENT_REQUEST_MAX + 1);
	struct sm_exec_options o = {0};
	struct err e = {0};
	struct buf b;

	buf_init(&b, AGENT_REQUEST_MAX);
	assert_int_equal(request_encode(&b, c, NULL, &o, 0, &e), -EINVAL);
	o.is_entrypoint = 1;
	assert_int_equal(request_encode(&b, &empty, NULL, &o, 0, &e), -EINVAL);
	o = (struct sm_exec_options){.env = bad_env};
	assert_int_equal(request_encode(&b, c, argv, &o, 0, &e), -EINVAL);
	assert_string_equal(e.object, "novalue");
	o = (struct sm_exec_options){.cwd = "relative"};
	assert_int_equal(request_encode(&b, c, argv, &o, 0, &e), -EINVAL);
	memset(big, 'a', AGENT_REQUEST_MAX);
	argv[0] = big;
	o = (struct sm_exec_options){0};
	assert_int_equal(request_encode(&b, c, argv, &o, 0, &e), -E2BIG);
	buf_fini(&b);
	free(big);
}

/* ---- console ------------------------------------------------------------------------------- */

static void put_console(int fd, const char *text, size_t bytes, uint64_t at)
{
	struct console_log log = {.written = at + bytes};

	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(fd_pwrite_full(fd, text + i, 1,
					 CONSOLE_LOG_HEADER + (off_t)((at + i) % CONSOLE_LOG_RING)),
			0);
	assert_int_equal(fd_pwrite_full(fd, &log, sizeof(log), 0), 0);
}

static void console_tail_wraps(void **state)
{
	struct err e = {0};
	int fd = console_new(&e);
	char out[64];

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(console_tail(fd, out, sizeof(out)), 0);
	put_console(fd, "hello\n", 6, 0);
	assert_int_equal(console_tail(fd, out, sizeof(out)), 6);
	assert_string_equal(out, "hello\n");
	put_console(fd, "across the end", 14, CONSOLE_LOG_RING - 7);
	assert_int_equal(console_tail(fd, out, 15), 14);
	assert_string_equal(out, "across the end");
	assert_int_equal(console_tail(fd, out, 4), 3);
	assert_string_equal(out, "end");
	assert_true(ftruncate(fd, 100) < 0); /* a VMM that fell cannot hurt a reader */
	close(fd);
}

static void console_summary_is_one_line(void **state)
{
	static const char text[] = "one\r\ntwo\033[m\n\nKernel panic - not syncing: oh\nafter\n";
	static const char quiet[] = "first\nsecond\nthird line\n";
	struct err e = {0};
	int fd = console_new(&e);
	char out[64];

	(void)state;
	put_console(fd, text, sizeof(text) - 1, 0);
	console_summary(fd, out, sizeof(out));
	assert_string_equal(out, "Kernel panic - not syncing: oh | after");
	put_console(fd, quiet, sizeof(quiet) - 1, 0);
	console_summary(fd, out, 30);
	assert_string_equal(out, "third line");
	/* A count that a fallen VMM made up is bounded. */
	assert_int_equal(fd_pwrite_full(fd, &(uint64_t){UINT64_MAX}, 8, 0), 0);
	console_summary(fd, out, sizeof(out));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_map),
		cmocka_unit_test(options_of_every_age),
		cmocka_unit_test_setup_teardown(options_are_checked, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(newc_is_read_by_cpio, fixture_parts, fixture_end),
		cmocka_unit_test(newc_has_a_ceiling),
		cmocka_unit_test_setup_teardown(entrypoint_rules, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(environment_rules, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(place_rules, fixture_parts, fixture_end),
		cmocka_unit_test_setup_teardown(requests_are_refused, fixture_parts, fixture_end),
		cmocka_unit_test(console_tail_wraps),
		cmocka_unit_test(console_summary_is_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
