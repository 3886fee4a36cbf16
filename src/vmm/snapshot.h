// SPDX-License-Identifier: Apache-2.0
/*
 * A machine's state to files and back: which sections there are, in which order, and how they fit
 * the machine that is there. What a section holds is known by what it describes.
 *
 * Sections of `state`: machine, clock, vcpu.N, ioapic, serial, device.N in the machine contract's
 * order; of a differential snapshot also memory.runs and disk.runs. All functions want the machine
 * at rest (vm_rest), or not started yet, and run on the main thread.
 */
#pragma once

#include "base/err.h"
#include "base/snapfile.h"
#include "backend/disk.h"
#include "mem/memfile.h"
#include "proto/control.h"

struct arch_vm_state;
struct vm;
struct vm_config;

/* What a machine was restored from; kept for as long as it may be rolled back. */
struct snapshot {
	int state_fd;			 /* owned; -1: the machine was booted */
	struct memfile_runs memory_runs; /* of a differential snapshot */
	struct disk_runs disk_runs;
};

void snapshot_fini(struct snapshot *s);

/* A state file in memory while it is loaded. */
struct snapshot_reader {
	/* Owned, in pages of its own that go back to the host afterwards. */
	struct snapshot_pages {
		struct snapfile file;
		uint8_t data[];
	} * at;
	size_t bytes; /* of data */
};

/* Reads the file and checks all that can be checked without a machine: sums, sections, and that it
 * is of a machine like `config`'s. On success also gives which vCPUs the guest had started. */
int snapshot_read(struct snapshot_reader *r, int state_fd, const struct vm_config *config,
	uint32_t *ret_on, struct err *e) MUST_CHECK;
void snapshot_reader_fini(struct snapshot_reader *r);

/* The runs of a differential snapshot; empty ones for a full one. */
int snapshot_read_runs(struct snapshot_reader *r, uint64_t memory_bytes, struct snapshot *ret,
	struct err *e) MUST_CHECK;

/* Gives vm->saved[] and vm->clock their content. */
int snapshot_read_vcpus(struct snapshot_reader *r, struct vm *vm, struct err *e) MUST_CHECK;

/* Interrupt controller, console and every device, by its place in the contract's order. */
int snapshot_load_ioapic(struct snapshot_reader *r, struct vm *vm, struct err *e) MUST_CHECK;
int snapshot_load_devices(struct snapshot_reader *r, struct vm *vm, struct err *e) MUST_CHECK;

/* Where a snapshot is written: empty files, borrowed. disk_fd is -1 when there is no disk. */
struct snapshot_files {
	int state_fd, memory_fd, disk_fd, pagemap_fd;
	bool is_diff;
};

/* Writes all of it and fills the values CTL_V_SNAPSHOT_* but PAUSE_US and WALL_NS. The machine is
 * as it was, whatever comes of it. */
int snapshot_save(struct vm *vm, const struct snapshot_files *files,
	uint64_t value[CTL_ANSWER_VALUES], struct err *e) MUST_CHECK;
