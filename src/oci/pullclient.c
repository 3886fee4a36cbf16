// SPDX-License-Identifier: Apache-2.0
#include "oci/pullclient.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "oci/json.h"
#include "oci/ref.h"

enum { LINE_BYTES_MAX = 16384, PATH_BYTES = 4096 };

struct pull_client {
	const struct pull_request *request;
	int out; /* the helper's standard output */
	pid_t pid;
	bool is_done;
	struct digest manifest;
};

static const char program_name[] = "supermachine-pull";

/* Beside the running program (a build tree), or where an installation has it. */
static bool find_near_program(char out[PATH_BYTES])
{
	static const char *const places[] = {"", "../libexec/supermachine/"};
	char exe[PATH_BYTES];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	if (n <= 0)
		return false;
	exe[n] = '\0';
	slash = strrchr(exe, '/');
	if (!slash)
		return false;
	slash[1] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (snprintf(out, PATH_BYTES, "%s%s%s", exe, places[i], program_name) <
				PATH_BYTES &&
			!access(out, X_OK))
			return true;
	}
	return false;
}

static int find_program(const struct image_open_options *o, char out[PATH_BYTES], struct err *e)
{
	const char *given = o->pull_program ? o->pull_program : getenv("SUPERMACHINE_PULL");

	if (given && *given) {
		snprintf(out, PATH_BYTES, "%s", given);
		return 0;
	}
	if (find_near_program(out))
		return 0;
	err_set(e, -ENOENT, "the helper program that converts images was not found");
	err_object(e, "%s", program_name);
	return err_remedy(e, "install it, or set SUPERMACHINE_PULL to its path");
}

static int spawn_with(const char *program, char *const argv[], int out, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int r = posix_spawn_file_actions_init(&actions);

	if (r)
		return -r;
	r = posix_spawnattr_init(&attributes);
	if (r) {
		posix_spawn_file_actions_destroy(&actions);
		return -r;
	}
	sigemptyset(&none);
	sigfillset(&all);
	r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!r)
		r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (!r)
		r = posix_spawnattr_setsigmask(&attributes, &none);
	if (!r)
		r = posix_spawnattr_setsigdefault(&attributes, &all);
	if (!r)
		r = posix_spawnattr_setflags(
			&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (!r)
		r = posix_spawn(ret, program, &actions, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int spawn(struct pull_client *c, const char *program, struct err *e)
{
	const struct pull_request *q = c->request;
	char layers[64], bytes[64], store[PATH_BYTES + 16], platform[80];
	char reference[REF_TEXT_BYTES];
	char *argv[] = {
		(char *)(uintptr_t)program_name, store, platform, layers, bytes, reference, NULL};
	int ends[2], r;

	snprintf(store, sizeof(store), "--store=%s", q->store);
	snprintf(platform, sizeof(platform), "--platform=%s", q->platform);
	snprintf(layers, sizeof(layers), "--max-layers=%u", q->options->max_layers);
	snprintf(bytes, sizeof(bytes), "--max-layer-bytes=%llu",
		(unsigned long long)q->options->max_layer_bytes);
	snprintf(reference, sizeof(reference), "%s", q->reference);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	r = spawn_with(program, argv, ends[1], &c->pid);
	close(ends[1]);
	if (r < 0) {
		close(ends[0]);
		err_set(e, r, "cannot be run: %s", strerror(-r));
		err_object(e, "%.150s", program);
		return err_remedy(e, "install supermachine again, or set SUPERMACHINE_PULL");
	}
	c->out = ends[0];
	return 0;
}

static uint64_t number(const json_t *j, const char *key)
{
	uint64_t v;

	return json_get_u64(j, key, &v, NULL) < 0 ? 0 : v;
}

static const char *text(const json_t *j, const char *key)
{
	const char *v;

	return json_get_text(j, key, &v, NULL) < 0 || !v ? "" : v;
}

static int on_progress(struct pull_client *c, const json_t *j, struct err *e)
{
	const struct image_open_options *o = c->request->options;
	struct image_progress p = {
		.stage = (enum image_stage)MIN(number(j, "stage"), (uint64_t)IMAGE_LAYER_READY),
		.layer = (unsigned)number(j, "layer"),
		.n_layers = (unsigned)number(j, "layers"),
		.done_bytes = number(j, "done"),
		.total_bytes = number(j, "total"),
	};

	snprintf(p.digest, sizeof(p.digest), "%s", text(j, "digest"));
	if (!o->progress || !o->progress(o->context, &p))
		return 0;
	return err_set(e, -ECANCELED, "was given up");
}

static int on_error(const json_t *j, struct err *e)
{
	const json_t *code = json_object_get(j, "code");
	json_int_t value = json_is_integer(code) ? json_integer_value(code) : 0;

	err_set(e, value < 0 && value > -4096 ? (int)value : -EIO, "%s", text(j, "cause"));
	if (text(j, "object")[0])
		err_object(e, "%s", text(j, "object"));
	if (text(j, "remedy")[0])
		err_remedy(e, "%s", text(j, "remedy"));
	return e ? e->code : -EIO;
}

static int on_line(struct pull_client *c, const char *line, size_t bytes, struct err *e)
{
	autojson json_t *j = NULL;
	const char *event;
	int r = json_document(line, bytes, &j, e);

	if (r < 0)
		return err_ctx(e, "%s said something unknown", program_name);
	event = text(j, "event");
	if (!strcmp(event, "progress"))
		return on_progress(c, j, e);
	if (!strcmp(event, "error"))
		return on_error(j, e);
	if (strcmp(event, "image"))
		return 0;
	c->is_done = true;
	return digest_parse(text(j, "manifest"), &c->manifest, e);
}

static int take_lines(struct pull_client *c, struct buf *b, struct err *e)
{
	uint8_t *end;

	while ((end = b->bytes ? memchr(b->data, '\n', b->bytes) : NULL)) {
		size_t n = (size_t)(end - b->data);
		int r = on_line(c, (const char *)b->data, n, e);

		if (r < 0)
			return r;
		buf_consume(b, n + 1);
	}
	return 0;
}

static int listen_to(struct pull_client *c, struct err *e)
{
	autobuf struct buf b;
	int r = 0;

	buf_init(&b, LINE_BYTES_MAX);
	while (!r) {
		void *at = buf_reserve(&b, LINE_BYTES_MAX - b.bytes);
		ssize_t n;

		if (!at || b.bytes == LINE_BYTES_MAX)
			return err_set(e, -EBADMSG, "%s said too much", program_name);
		n = read(c->out, at, LINE_BYTES_MAX - b.bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read from %s", program_name);
		if (!n)
			return 0;
		buf_grew(&b, (size_t)n);
		r = take_lines(c, &b, e);
	}
	return r;
}

/* The embedder may reap our child before us; then its end is simply not known. */
static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 0;
	return status;
}

static int unexpected_end(int status, struct err *e)
{
	if (WIFSIGNALED(status))
		err_set(e, -EIO, "was ended by signal %d while it converted the image",
			WTERMSIG(status));
	else
		err_set(e, -EIO, "ended unexpectedly with status %d", WEXITSTATUS(status));
	err_object(e, "%s", program_name);
	return err_remedy(e, "try again; nothing half-made was kept");
}

int pull_client_run(const struct pull_request *q, struct digest *ret_manifest, struct err *e)
{
	struct pull_client c = {.request = q, .out = -1};
	char program[PATH_BYTES];
	int status, r = find_program(q->options, program, e);

	if (!r)
		r = spawn(&c, program, e);
	if (r < 0)
		return r;
	r = listen_to(&c, e);
	autoclose_run(&c.out); /* tells a helper that still works to give up */
	status = wait_for(c.pid);
	if (r < 0)
		return r;
	if (!c.is_done)
		return unexpected_end(status, e);
	*ret_manifest = c.manifest;
	return 0;
}
