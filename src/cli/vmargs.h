// SPDX-License-Identifier: Apache-2.0
/*
 * The options that describe a VM and its command, for `run` and `bake` alike: the same words must
 * mean the same baked state.
 */
#pragma once

#include "cli/cli.h"

/* The options' values; a command's own ones come after it in a larger struct. */
struct vm_values {
	struct cli_common common;
	struct args_list env;
	const char *cwd;
	const char *user;
	const char *entrypoint;
	const char *memory;
	const char *cpus;
	const char *disk;
	const char *tmpfs;
	const char *kernel;
	const char *ready;
	const char *warmup;
};

/* clang-format off */
#define VM_OPTION(name, letter, kind, member, value, help) \
	{name, letter, kind, offsetof(struct vm_values, member), value, help}
#define VM_OPTIONS                                                                                 \
	VM_OPTION("env", 'e', ARGS_LIST, env, "NAME[=VALUE]",                                      \
		"set a variable, or take it over from here"),                                      \
	VM_OPTION("workdir", 'w', ARGS_TEXT, cwd, "DIR", "working directory of the command"),      \
	VM_OPTION("user", 'u', ARGS_TEXT, user, "USER[:GROUP]",                                    \
		"names of the image, or numbers"),                                                 \
	VM_OPTION("entrypoint", 0, ARGS_TEXT, entrypoint, "CMD",                                   \
		"instead of the image's; \"\" for none"),                                          \
	VM_OPTION("memory", 'm', ARGS_TEXT, memory, "SIZE",                                        \
		"of the VM, like 256M or 2G; default 512M"),                                       \
	VM_OPTION("cpus", 0, ARGS_TEXT, cpus, "N", "1 to 16; default 1"),                          \
	VM_OPTION("disk", 0, ARGS_TEXT, disk, "SIZE",                                              \
		"of the disk that takes writes; default 8G"),                                      \
	VM_OPTION("tmpfs", 0, ARGS_TEXT, tmpfs, "SIZE",                                            \
		"writes go to the VM's memory, not to a disk"),                                    \
	VM_OPTION("kernel", 0, ARGS_TEXT, kernel, "PATH",                                          \
		"another guest kernel: ELF vmlinux or bzImage"),                                   \
	VM_OPTION("ready", 0, ARGS_TEXT, ready, "WHEN",                                            \
		"listen[:PORT], exec:CMD, file:PATH or none"),                                     \
	VM_OPTION("warmup", 0, ARGS_TEXT, warmup, "CMD",                                           \
		"run in the VM before its state is kept")
/* clang-format on */

/* What they say, checked. Points into the values and itself: it stays where it is. */
struct vm_plan {
	struct sm_vm_options vm;
	struct sm_exec_options exec;
	const char *const *command; /* argv; may be empty */
	const char **env;
	const char *entrypoint[2];
	bool is_ready_said; /* --ready was given */
};

/* Fills the plan, zeroed by the caller; `command` is NULL-terminated. vm_plan_fini also after a
 * failure. */
int vm_plan(struct vm_plan *p, const struct vm_values *v, const char *const *command,
	struct err *e) MUST_CHECK;
void vm_plan_fini(struct vm_plan *p);

/* Decides which state is baked: what --ready says; without it, that of a server which listens if
 * the image is one (`exposes_ports`) and its own command is to run. Returns whether that was
 * guessed. */
bool vm_plan_ready(struct vm_plan *p, bool exposes_ports);

/* The plan's command is to run in a VM that is restored or booted without it. */
void vm_plan_unready(struct vm_plan *p);

/* -e as an array of NAME=value, NULL-terminated, freed by the caller. NAME alone is taken over from
 * our environment, and left out when it is not there. */
int vm_env(const struct args_list *list, const char ***ret, struct err *e) MUST_CHECK;

/* "K/N": clone K, from 0 on, of N. NULL changes nothing. */
int vm_clone(const char *text, struct sm_vm_options *o, struct err *e) MUST_CHECK;
