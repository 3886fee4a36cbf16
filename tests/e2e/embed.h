// SPDX-License-Identifier: Apache-2.0
/*
 * What the embedders of libsupermachine in this folder share: a VM of $IMAGE, shell commands in it,
 * directories below $SCRATCH. Everything fails the running test when something goes wrong.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <supermachine.h>
#include <time.h>

#define MIB ((uint64_t)1 << 20)

extern struct sm_error err;

/* Fails with the sentence of `err` if the result is an error. */
void check(int result);

/* Fails unless the result is `code` and `err` has a cause and, in object, cause or remedy, each of
 * the words, which NULL ends. */
void check_error(int result, int code, ...);

/* A VM of the image that the environment variable names, booted or restored as the options say. */
struct sm_vm *start_vm(const char *variable, const struct sm_vm_options *options);
struct sm_vm *restore_vm(const char *dir, const struct sm_vm_options *options);
/* Ends it by force. */
void drop_vm(struct sm_vm *vm);

/* Runs a shell command, which must end with 0. `say` gives its output, freed by the caller;
 * `shell` compares it unless `expected` is NULL; `number` reads it. */
char *say(struct sm_vm *vm, const char *command);
void shell(struct sm_vm *vm, const char *command, const char *expected);
double number(struct sm_vm *vm, const char *command);

/* A shell command that goes on; its output goes to `f`. */
struct sm_exec *start_shell(struct sm_vm *vm, const char *command, sm_write_fn f, void *context);

/* "$SCRATCH/name", in one of eight buffers. */
const char *scratch(const char *name);
/* The file in it. */
const char *in(const char *dir, const char *file);
void remove_tree(const char *dir);
int exists(const char *path);

/* Seconds. */
double seconds(clockid_t clock);
/* The number of an environment variable, or what it is by default. */
unsigned setting(const char *variable, unsigned by_default);
