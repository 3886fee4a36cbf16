// SPDX-License-Identifier: Apache-2.0
#include "cli/vmargs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

enum { VCPUS_MAX = 16, CLONES_MAX = 1 << 30 };

static int parse_cpus(const char *text, unsigned *ret, struct err *e)
{
	uint64_t n;

	if (!text)
		return 0;
	if (str_to_u64(text, &n) < 0 || n < 1 || n > VCPUS_MAX) {
		err_set(e, -EINVAL, "\"%.40s\" is no number of vCPUs that a VM can have", text);
		err_object(e, "--cpus");
		return err_remedy(e, "a number from 1 to %d", VCPUS_MAX);
	}
	*ret = (unsigned)n;
	return 0;
}

static int parse_size(const char *option, const char *text, uint64_t *ret, struct err *e)
{
	uint64_t n;

	if (!text)
		return 0;
	if (str_to_size(text, &n) < 0 || !n) {
		err_set(e, -EINVAL, "\"%.40s\" is no size", text);
		err_object(e, "--%s", option);
		return err_remedy(e, "a number with M or G after it, like 512M");
	}
	*ret = n;
	return 0;
}

/* ---- --ready ------------------------------------------------------------------------------- */

static int not_ready(const char *text, struct err *e)
{
	err_set(e, -EINVAL, "\"%.80s\" says no time at which a VM can be ready", text);
	err_object(e, "--ready");
	return err_remedy(e, "listen, listen:PORT, exec:COMMAND, file:/ABSOLUTE/PATH or none");
}

static int parse_ready(const char *text, struct sm_vm_options *o, struct err *e)
{
	uint64_t port;

	if (!text || !strcmp(text, "none"))
		return 0;
	if (!strcmp(text, "listen")) {
		o->ready = SM_READY_LISTEN;
	} else if (str_starts_with(text, "listen:")) {
		if (str_to_u64(text + 7, &port) < 0 || port < 1 || port > UINT16_MAX)
			return not_ready(text, e);
		o->ready = SM_READY_LISTEN;
		o->ready_port = (uint16_t)port;
	} else if (str_starts_with(text, "exec:") && text[5]) {
		o->ready = SM_READY_EXEC;
		o->ready_text = text + 5;
	} else if (str_starts_with(text, "file:/")) {
		o->ready = SM_READY_FILE;
		o->ready_text = text + 5;
	} else {
		return not_ready(text, e);
	}
	return 0;
}

bool vm_plan_ready(struct vm_plan *p, bool exposes_ports)
{
	bool is_guess = exposes_ports && !p->is_ready_said && !p->command[0] &&
			p->exec.stdin_fd == SM_FD_NULL;

	if (is_guess)
		p->vm.ready = SM_READY_LISTEN;
	if (p->vm.no_bake || p->vm.ready == SM_READY_INIT) {
		vm_plan_unready(p);
		return false;
	}
	p->vm.workload = p->command;
	p->vm.workload_options = &p->exec;
	return is_guess;
}

void vm_plan_unready(struct vm_plan *p)
{
	p->vm.ready = SM_READY_INIT;
	p->vm.ready_text = NULL;
	p->vm.ready_port = 0;
	p->vm.workload = NULL;
	p->vm.workload_options = NULL;
}

/* ---- environment, clones ------------------------------------------------------------------- */

int vm_env(const struct args_list *list, const char ***ret, struct err *e)
{
	const char **env = calloc(list->n + 1, sizeof(*env));
	size_t n = 0;

	if (!env)
		return err_set(e, -ENOMEM, "no memory for the environment");
	for (size_t i = 0; i < list->n; i++) {
		const char *word = list->items[i], *value = getenv(word);

		if (!*word || *word == '=') {
			free(env);
			err_set(e, -EINVAL, "\"%.40s\" names no variable", word);
			err_object(e, "--env");
			return err_remedy(e, "-e NAME=value, or -e NAME");
		}
		/* getenv of a word with '=' finds nothing. */
		if (!strchr(word, '=') && value) {
			/* In the environment it stands right behind its name. */
			word = value - strlen(word) - 1;
		} else if (!strchr(word, '=')) {
			continue;
		}
		env[n++] = word;
	}
	*ret = env;
	return 0;
}

int vm_clone(const char *text, struct sm_vm_options *o, struct err *e)
{
	const char *slash = text ? strchr(text, '/') : NULL;
	char first[24];
	uint64_t k, n;

	if (!text)
		return 0;
	snprintf(first, sizeof(first), "%.*s", slash ? (int)(slash - text) : 0, text);
	if (!slash || str_to_u64(first, &k) < 0 || str_to_u64(slash + 1, &n) < 0 || k >= n ||
		n > CLONES_MAX) {
		err_set(e, -EINVAL, "\"%.40s\" does not say which clone of how many", text);
		err_object(e, "--clone");
		return err_remedy(e, "K/N, where K is from 0 to N - 1");
	}
	o->clone_index = (unsigned)k;
	o->clone_count = (unsigned)n;
	return 0;
}

/* ---- all ----------------------------------------------------------------------------------- */

static void plan_exec(struct vm_plan *p, const struct vm_values *v)
{
	p->exec.size = sizeof(p->exec);
	p->exec.env = p->env;
	p->exec.cwd = v->cwd;
	p->exec.user = v->user;
	p->exec.use_fds = 1;
	p->exec.stdin_fd = SM_FD_NULL;
	p->exec.stdout_fd = STDOUT_FILENO;
	p->exec.stderr_fd = STDERR_FILENO;
	p->exec.is_entrypoint = 1;
	if (v->entrypoint) {
		p->entrypoint[0] = *v->entrypoint ? v->entrypoint : NULL;
		p->exec.entrypoint = p->entrypoint;
	}
}

int vm_plan(struct vm_plan *p, const struct vm_values *v, const char *const *command, struct err *e)
{
	int r = parse_cpus(v->cpus, &p->vm.vcpus, e);

	if (r == 0)
		r = parse_size("memory", v->memory, &p->vm.memory_bytes, e);
	if (r == 0)
		r = parse_size("disk", v->disk, &p->vm.disk_bytes, e);
	if (r == 0)
		r = parse_size("tmpfs", v->tmpfs, &p->vm.tmpfs_bytes, e);
	if (r == 0 && v->disk && v->tmpfs) {
		err_set(e, -EINVAL, "what the VM writes goes to a disk or to a tmpfs, not to both");
		err_object(e, "--tmpfs");
		r = err_remedy(e, "leave out --disk or --tmpfs");
	}
	if (r == 0)
		r = parse_ready(v->ready, &p->vm, e);
	if (r == 0)
		r = vm_env(&v->env, &p->env, e);
	if (r < 0)
		return r;
	p->vm.size = sizeof(p->vm);
	p->vm.kernel = v->kernel;
	p->vm.warmup = v->warmup;
	p->is_ready_said = v->ready;
	p->command = command;
	plan_exec(p, v);
	return 0;
}

void vm_plan_fini(struct vm_plan *p)
{
	free(p->env);
	p->env = NULL;
}
