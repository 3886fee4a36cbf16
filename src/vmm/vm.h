// SPDX-License-Identifier: Apache-2.0
/*
 * The virtual machine: owns everything that belongs to it, in the order in which it is built.
 *
 * vm_build wires arch, hv, devices and backends together; nobody else sees more than one of them.
 * Devices stand in `devices` in the machine contract's order (vsock, rng, balloon, layers,
 * volumes, root disk), which is also the order of saved state.
 */
#pragma once

#include <pthread.h>

#include "base/loop.h"
#include "dev/bus.h"
#include "dev/ioapic.h"
#include "dev/power.h"
#include "dev/serial_16550.h"
#include "arch/plan.h"
#include "arch/state.h"
#include "mem/gmem.h"
#include "proto/control.h"
#include "vmm/config.h"
#include "vmm/console.h"
#include "vmm/coord.h"
#include "vmm/snapshot.h"
#include "vmm/vcpu.h"

struct disk;
struct hv;
struct mux;
struct virtio_dev;

/* Why the machine is no more: the first reason that came up. */
struct vm_end {
	pthread_mutex_t lock;
	enum ctl_end_reason reason; /* lock; 0: it lives */
	struct err why;		    /* lock; with CTL_END_ERROR */
};

struct vm {
	struct vm_config *config; /* borrowed; its descriptors are taken from it */
	struct loop *main_loop;	  /* borrowed; stopped when the machine ends */
	struct vm_end end;

	struct gmem memory;
	struct hv *hv;
	struct bus mmio, pio;
	struct ioapic ioapic;
	struct console console;
	struct serial serial;
	struct power power;
	struct virtio_mmio_slot slots[VIRTIO_MMIO_SLOTS_MAX];
	unsigned n_slots;

	struct loop io_loop; /* rng, balloon and disks */
	pthread_t io_thread;
	bool is_io_started;
	struct mux *mux; /* a thread of its own */
	struct virtio_dev *devices[VIRTIO_MMIO_SLOTS_MAX];
	unsigned n_devices;
	struct disk *disk; /* borrowed from its device: the writable root disk, or NULL */

	struct arch_boot_state boot; /* for the vCPUs; complete when they pass the gate */
	struct coord coord;
	struct vcpu vcpus[CTL_VCPUS_MAX];
	unsigned n_vcpus;

	/* Of a machine that is restored; saved and clock only while its state is loaded. */
	struct snapshot snapshot;
	struct arch_vcpu_state *saved[CTL_VCPUS_MAX]; /* owned */
	struct arch_vm_state clock;
	uint64_t timing_us[CTL_TIMINGS];
};

enum { VM_DEVICE_VSOCK, VM_DEVICE_RNG, VM_DEVICE_BALLOON, VM_DEVICE_FIRST_BLOCK };

/* A guest's connection to a host port: takes fd on success. Muxer's thread. */
typedef int (*vm_incoming_fn)(void *context, uint32_t port, int fd);

/* Builds the machine that `config` asks for; its vCPUs stand at the gate. On failure *vm is
 * to be ended by vm_stop and vm_fini all the same. */
int vm_build(struct vm *vm, struct vm_config *config, struct loop *main_loop,
	vm_incoming_fn incoming, void *incoming_context, struct err *e) MUST_CHECK;

/* Lets the vCPUs run, then starts the device threads. A restored machine's clocks go on from here,
 * and it is told that it is another one. */
int vm_start(struct vm *vm, struct err *e) MUST_CHECK;

/* Brings the machine to rest: no vCPU in the guest, no request half done, no device thread. All of
 * its state is then in plain fields and in guest memory. */
void vm_rest(struct vm *vm);

/* Goes on after vm_rest as if nothing had been. */
int vm_go(struct vm *vm, struct err *e) MUST_CHECK;

/* Makes a restored machine its snapshot again and lets it run. pagemap_fd (borrowed) as for
 * memfile_rollback. -EINVAL, the machine untouched, for
 * one that was booted; after any other failure it must be given up. */
int vm_rollback(struct vm *vm, int pagemap_fd, struct err *e) MUST_CHECK;

/* Brings every vCPU to rest for good and stops the device threads. */
void vm_stop(struct vm *vm);

/* Frees everything; after vm_stop if it was started. */
void vm_fini(struct vm *vm);

/* Notes why the machine is over, unless a reason is noted already, and stops the main loop. Any
 * thread. */
void vm_finish(struct vm *vm, enum ctl_end_reason reason, const struct err *why);

/* The reason, once the main loop has stopped. */
enum ctl_end_reason vm_end_reason(struct vm *vm, struct err *ret_why);
