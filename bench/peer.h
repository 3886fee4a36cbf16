// SPDX-License-Identifier: Apache-2.0
/*
 * The other process of a measurement: started, spoken to over a socket, waited for. Everything
 * here ends the program with a sentence when it fails: a measurement has nothing to fall back to.
 */
#pragma once

#include <sys/types.h>

#include "base/cc.h"
#include "proto/control.h"

enum { PEER_SOCKET_FD = 3, PEER_PARTS_MAX = 4 };

/* The fewest devices that QEMU can do with. */
#define PEER_QEMU_MACHINE                                                                          \
	"microvm,accel=kvm,kernel-irqchip=split,pit=off,pic=off,rtc=off,isa-serial=off,"           \
	"x-option-roms=off,auto-kernel-cmdline=off"

struct peer {
	pid_t pid;
	int sock;			   /* our end of what is descriptor PEER_SOCKET_FD there */
	uint64_t started_ns;		   /* just before it was spawned */
	uint64_t timing_us[CTL_TIMINGS];   /* what a VMM said of its build */
	uint64_t value[CTL_ANSWER_VALUES]; /* of its last CTL_ANSWER */
};

NORETURN void die(const char *what, ...) PRINTF_LIKE(1, 2);

/* The descriptor, or the end of the program if it is an error (-errno). */
int must(int fd_or_error, const char *what);

/* Moves a descriptor out of the way of those that a child gets by number. */
int peer_fd(int fd, const char *what);

/* Starts argv[0] with an empty environment; fds (made by peer_fd) become descriptors 4, 5, …. */
void peer_start(struct peer *p, const char *const *argv, const int *fds, unsigned n_fds);

/* Microseconds from its start to now. */
double peer_age_us(const struct peer *p);

/* Waits for the process; returns its exit status or 128 + signal. Closes the socket. */
int peer_wait(struct peer *p);

/* Ends a process that would not end by itself. */
void peer_kill(struct peer *p);

/* What a VM of the VMM is made of; descriptors are borrowed. */
struct peer_vm {
	int kvm_fd, console_fd, kernel_fd;
	bool is_restore; /* instead of the kernel: */
	int state_fd, memory_fd;
	int initramfs_fds[PEER_PARTS_MAX];
	unsigned n_initramfs;
	int layer_fds[PEER_PARTS_MAX];
	unsigned n_layers;
	uint64_t memory_bytes;
	unsigned vcpus;
	const char *cmdline;
	uint32_t host_port; /* that the guest may connect to; 0: none */
};

/* Sends the configuration to a VMM that was just started. */
void peer_configure(struct peer *p, const struct peer_vm *vm);

/* Waits for a message of that type and returns the descriptor that came with it, or -1. A VMM that
 * ends with an error instead ends us too, with its words. What a CTL_RUNNING that passes by says
 * is kept in *p. */
int peer_await(struct peer *p, unsigned type);

/* Asks a running VMM for a snapshot into two empty files and waits for it. */
void peer_snapshot(struct peer *p, int state_fd, int memory_fd);

/* How many pages a restored guest has made its own. */
uint64_t peer_pages_written(struct peer *p);

/* Makes a restored VM its snapshot again, and waits until it is. */
void peer_roll_back(struct peer *p);

/* A file for the guest's console, as the VMM wants it. */
int peer_console(void);

int peer_open(const char *path, int flags);

/* A new file without a name in that directory. */
int peer_temporary(const char *directory);
