// SPDX-License-Identifier: Apache-2.0
/*
 * Baked states: an image booted once, brought to the wanted state, snapshotted into the store, and
 * restored from then on. One process bakes a state at a time, others that want it wait. Any thread.
 */
#pragma once

#include "api/agent_call.h"
#include "api/bakekey.h"
#include "api/handles.h"

struct bake {
	struct sm_image *image;		     /* borrowed */
	const struct sm_vm_options *options; /* checked and complete; borrowed */
	struct sm_exec_options workload;     /* effective options of the workload */
	struct machine machine;
	struct bakekey key;
	char *dir;     /* snapshots/KEY of the store */
	uint64_t seen; /* which directory it was when it was last found there: its inode */
};

/* `machine` is copied and its kernel found. */
int bake_init(struct bake *b, struct sm_image *image, const struct sm_vm_options *options,
	const struct machine *machine, struct err *e) MUST_CHECK;
void bake_fini(struct bake *b);

/* What else came of an attempt. */
struct bake_result {
	bool is_made; /* now, by us */
	/* A failure that is none of the image's or of its commands': it can run all the same. */
	bool can_run_cold;
	/* Then perhaps, frozen, the VM that was to be baked and has done all that the state is
	 * about. */
	struct sm_vm *vm;
	struct freeze freeze;
	bool is_frozen;
};

/* Makes sure that the state is there. `redo`: NULL, or why the one that was last found is of no
 * use. After a failure what is in *ret is the caller's. */
int bake_ensure(
	struct bake *b, const char *redo, struct bake_result *ret, struct err *e) MUST_CHECK;

/* Ends the VM of a result, if there is one. */
void bake_drop_vm(struct bake_result *res);

/* Tells the caller's notice function. */
void bake_tell(const struct sm_vm_options *o, enum sm_notice_kind kind, const char *text, ...)
	PRINTF_LIKE(3, 4);

/* The VM of a result as one to hand out: renamed, its workload ready to be attached to. It is then
 * the caller's. After a failure it is gone. */
int bake_adopt_vm(struct bake_result *res, const struct bake *b, struct sm_vm **ret,
	struct err *e) MUST_CHECK;

/* Boots a VM and brings it to the state that would be baked, frozen. */
int bake_make_vm(const struct bake *b, struct bake_result *res, struct err *e) MUST_CHECK;
