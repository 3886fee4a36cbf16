// SPDX-License-Identifier: Apache-2.0
/*
 * supermachine-pull: converts one image into the store. Started by the library (pullclient.h says
 * what it writes), or by hand:
 *
 *   supermachine-pull [--store=DIR] [--platform=OS/ARCH] [--max-layers=N] [--max-layer-bytes=N] REF
 *
 * A second thread watches standard output: when nobody reads it any more, the work is given up.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "oci/confine.h"
#include "oci/json.h"
#include "oci/pull.h"
#include "oci/store.h"

enum { GIVE_UP_SECONDS = 5 };

struct pull_program {
	const char *store;
	struct pull_options options;
	atomic_bool is_unheard;
};

/* Takes j. One line, in one piece: it is shorter than PIPE_BUF or nobody else writes. */
static int say(json_t *j)
{
	char *line = j ? json_dumps(j, JSON_COMPACT) : NULL;
	size_t n = line ? strlen(line) : 0;
	int r = -ENOMEM;

	json_decref(j);
	if (line) {
		line[n] = '\n'; /* in the place of the NUL */
		r = fd_write_full(STDOUT_FILENO, line, n + 1);
	}
	free(line);
	return r;
}

static int say_progress(void *context, const struct image_progress *p)
{
	struct pull_program *program = context;

	if (atomic_load(&program->is_unheard))
		return -EPIPE;
	return say(json_pack("{s:s, s:i, s:s, s:i, s:i, s:I, s:I}", "event", "progress", "stage",
		(int)p->stage, "digest", p->digest, "layer", (int)p->layer, "layers",
		(int)p->n_layers, "done", (json_int_t)p->done_bytes, "total",
		(json_int_t)p->total_bytes));
}

/* Names in errors come from strangers and need not be UTF-8, which JSON must be. */
static json_t *safe_text(const char *s)
{
	json_t *j = json_string(s);
	char ascii[sizeof(((struct err *)0)->cause) + 1];
	size_t n = 0;

	if (j)
		return j;
	for (; *s && n + 1 < sizeof(ascii); s++)
		ascii[n++] = (unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e ? '?' : *s;
	return json_stringn(ascii, n);
}

static int say_error(const struct err *e)
{
	return say(json_pack("{s:s, s:i, s:o, s:o, s:o}", "event", "error", "code", e->code,
		"object", safe_text(e->object), "cause", safe_text(e->cause), "remedy",
		safe_text(e->remedy)));
}

static int say_image(const struct digest *manifest)
{
	char digest[DIGEST_TEXT_BYTES];

	digest_format(manifest, digest);
	return say(json_pack("{s:s, s:s}", "event", "image", "manifest", digest));
}

static int confine(void *context, const char *store, const char *source, struct err *e)
{
	(void)context;
	return confine_to(store, source, e);
}

/* poll(2): POLLERR on the writing end of a pipe means that the reading end is closed. */
static void *watch_listener(void *context)
{
	struct pull_program *program = context;
	struct pollfd p = {.fd = STDOUT_FILENO};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	if (!(p.revents & POLLERR))
		return NULL;
	atomic_store(&program->is_unheard, true);
	/* Whoever works notices at the next block; whoever waits for another process's lock does
	 * not, and holds nothing that needs tidying. */
	sleep(GIVE_UP_SECONDS);
	_exit(EXIT_FAILURE);
}

static int parse_number(const char *text, uint64_t max, uint64_t *ret, struct err *e)
{
	int r = str_to_u64(text, ret);

	if (!r && *ret <= max)
		return 0;
	return err_set(e, -EINVAL, "\"%.40s\" is not a number in range", text);
}

static int parse_argument(struct pull_program *p, const char *a, struct err *e)
{
	const char *value = strchr(a, '=');
	uint64_t n;
	int r;

	if (!str_starts_with(a, "--")) {
		p->options.reference = a;
		return 0;
	}
	value = value ? value + 1 : "";
	if (str_starts_with(a, "--store=")) {
		p->store = value;
		return 0;
	}
	if (str_starts_with(a, "--platform=")) {
		p->options.platform = value;
		return 0;
	}
	if (str_starts_with(a, "--max-layer-bytes="))
		return parse_number(value, INT64_MAX, &p->options.max_layer_bytes, e);
	if (!str_starts_with(a, "--max-layers="))
		return err_set(e, -EINVAL, "unknown option %.60s", a);
	r = parse_number(value, 1 << 20, &n, e);
	p->options.max_layers = r ? 0 : (unsigned)n;
	return r;
}

static int parse_arguments(struct pull_program *p, int argc, char **argv, struct err *e)
{
	for (int i = 1; i < argc; i++) {
		int r = parse_argument(p, argv[i], e);

		if (r < 0)
			return r;
	}
	if (p->options.reference)
		return 0;
	err_set(e, -EINVAL, "no image was named");
	return err_remedy(e, "write: supermachine-pull [--store=DIR] oci:DIR[:TAG]");
}

static int run(struct pull_program *p, struct err *e)
{
	struct digest manifest;
	struct store *s;
	int r = store_open(p->store, &s, e);

	if (r < 0)
		return r;
	r = pull_image(s, &p->options, &manifest, e);
	store_close(s);
	return r < 0 ? r : say_image(&manifest);
}

int main(int argc, char **argv)
{
	/* Static: the watching thread may outlive main. */
	static struct pull_program p = {.options = {.progress = say_progress, .confine = confine}};
	struct err e = {0};
	pthread_t watcher;
	int r;

	p.options.context = &p;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file size limit is then an error like a full disk */
	if (!pthread_create(&watcher, NULL, watch_listener, &p))
		pthread_detach(watcher);
	r = parse_arguments(&p, argc, argv, &e);
	if (!r)
		r = run(&p, &e);
	if (r < 0 && e.code)
		(void)!say_error(&e); /* nobody listens: the status still tells */
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
