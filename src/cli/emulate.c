// SPDX-License-Identifier: Apache-2.0
#include "cli/emulate.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

enum {
	/* The emulated host has these without being asked, and a saved state for them. */
	USUAL_VCPUS = 2,
	USUAL_MEMORY_MIB = 512,
	OWN_MEMORY_MIB = 512, /* its kernel, its files, the VMM */
	WORD_MAX = 24,
};

int emulate_mode(enum emulate_mode *ret, struct err *e)
{
	const char *value = getenv("SUPERMACHINE_EMULATE");

	if (!value || !*value || !strcmp(value, "auto")) {
		*ret = EMULATE_AUTO;
	} else if (!strcmp(value, "never")) {
		*ret = EMULATE_NEVER;
	} else if (!strcmp(value, "always")) {
		*ret = EMULATE_ALWAYS;
	} else {
		err_set(e, -EINVAL, "it is \"%.60s\"", value);
		err_object(e, "SUPERMACHINE_EMULATE");
		return err_remedy(e, "set it to never, auto or always");
	}
	return 0;
}

/* In the directory that the environment names, beside this program, or where it was installed. */
static int find_program(const char *own, char out[PATH_MAX], struct err *e)
{
	const char *told = getenv("SUPERMACHINE_LIBEXEC");
	const char *slash = strrchr(own, '/');
	char beside[PATH_MAX];
	const char *places[] = {told && *told ? told : beside, SM_LIBEXECDIR};

	snprintf(beside, sizeof(beside), "%.*s", (int)(slash ? slash - own : 0), own);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		int n = snprintf(out, PATH_MAX, "%s/emulated-host", places[i]);

		if (n > 0 && n < PATH_MAX && access(out, X_OK) == 0)
			return 0;
	}
	err_set(e, -ENOENT, "it is neither in %s nor in %s", places[0], SM_LIBEXECDIR);
	err_object(e, "emulated-host");
	return err_remedy(e, "install supermachine again, or set SUPERMACHINE_LIBEXEC");
}

static int own_path(char out[PATH_MAX], struct err *e)
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);

	if (n < 0)
		return err_sys(e, "find out which program this is");
	out[n] = '\0';
	return 0;
}

/* The words of the command; the array is made large enough by the caller. */
struct words {
	const char **items;
	size_t n;
};

static void add(struct words *w, const char *word)
{
	w->items[w->n++] = word;
}

/* A larger machine only when the VM needs it, and in steps, since each size is booted and saved
 * once. */
static void add_size(struct words *w, const struct emulate_request *q, char memory[WORD_MAX],
	char vcpus[WORD_MAX])
{
	if (q->memory_bytes > USUAL_MEMORY_MIB * MIB) {
		snprintf(memory, WORD_MAX, "%llu",
			(unsigned long long)ALIGN_UP(
				q->memory_bytes / MIB + OWN_MEMORY_MIB, (uint64_t)1024));
		add(w, "-m");
		add(w, memory);
	}
	if (q->vcpus > USUAL_VCPUS) {
		snprintf(vcpus, WORD_MAX, "%u", q->vcpus);
		add(w, "-c");
		add(w, vcpus);
	}
}

/* Where sm_image_open keeps images, as its contract says. */
static bool find_store(char out[PATH_MAX])
{
	const char *store = getenv("SUPERMACHINE_STORE"), *data = getenv("XDG_DATA_HOME"),
		   *home = getenv("HOME");
	int n = 0;

	if (store && *store)
		n = snprintf(out, PATH_MAX, "%s", store);
	else if (data && *data)
		n = snprintf(out, PATH_MAX, "%s/supermachine", data);
	else if (home && *home)
		n = snprintf(out, PATH_MAX, "%s/.local/share/supermachine", home);
	return n > 0 && n < PATH_MAX && access(out, W_OK | X_OK) == 0;
}

static void add_store(struct words *w, const struct emulate_request *q, char store[PATH_MAX])
{
	if (!q->want_store || !find_store(store))
		return;
	add(w, "-w");
	add(w, store);
}

static void add_environment(struct words *w, const struct args_list *env)
{
	static const char *const places[] = {"XDG_DATA_HOME", "XDG_CACHE_HOME"};

	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (getenv(places[i])) {
			add(w, "-e");
			add(w, places[i]);
		}
	/* Of -e NAME=value only the name would be looked up here; the value travels in argv. */
	for (size_t i = 0; env && i < env->n; i++)
		if (!strchr(env->items[i], '=') && getenv(env->items[i])) {
			add(w, "-e");
			add(w, env->items[i]);
		}
	add(w, "-e");
	add(w, "SUPERMACHINE_EMULATE=never");
}

int emulate_become(const struct emulate_request *q, struct err *e)
{
	char program[PATH_MAX], own[PATH_MAX], store[PATH_MAX], memory[WORD_MAX], vcpus[WORD_MAX];
	struct words w = {0};
	size_t n_args = 0;
	int r = own_path(own, e);

	if (r == 0)
		r = find_program(own, program, e);
	if (r < 0)
		return r;
	while (q->argv[n_args])
		n_args++;
	w.items = calloc(n_args + 2 * (q->env ? q->env->n : 0) + 20, sizeof(*w.items));
	if (!w.items)
		return err_set(e, -ENOMEM, "no memory for a command line");
	add(&w, program);
	add_size(&w, q, memory, vcpus);
	add_store(&w, q, store);
	add_environment(&w, q->env);
	add(&w, "--");
	add(&w, own);
	if (q->is_verbose)
		add(&w, "--verbose");
	for (size_t i = 0; i < n_args; i++)
		add(&w, q->argv[i]);
	execv(program, (char **)(uintptr_t)w.items);
	err_sys(e, "cannot be executed");
	free(w.items);
	return err_object(e, "%s", program);
}
