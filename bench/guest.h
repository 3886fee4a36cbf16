// SPDX-License-Identifier: Apache-2.0
/*
 * A real guest without the library: the files that it boots from, and what a host says to its agent
 * (proto/agent.h), for guests that QEMU runs and for VMMs that a measurement starts itself.
 * Whatever fails ends the program, unless said otherwise.
 */
#pragma once

#include "base/cc.h"

/* What the library gives (src/api/boot.c), so that all measure what users get. */
#define GUEST_CMDLINE                                                                              \
	"console=ttyS0 quiet panic=-1 reboot=t rdinit=/init random.trust_cpu=on pci=off "          \
	"8250.nr_uarts=1 i8042.noaux i8042.nokbd i8042.nomux i8042.nopnp i8042.dumbkbd "           \
	"tsc=reliable cryptomgr.notests"

/* A nameless file in memory of one or several files joined by commas. */
int guest_load(const char *paths);

/* Appends the archive that the library would add to an initramfs: init's configuration, with one
 * layer and its writes in memory. */
void guest_append_boot_archive(int initramfs_fd);

/* Listens on the vsock port that agents call. Returns the descriptor. */
int guest_listen(void);

/* The next call on it, greeted and AGENT_READY. */
int guest_accept_ready(int listener);

/* Waits until the agent says AGENT_READY on its event connection, greeting it. */
void guest_await_ready(int event_fd);

/* Connects to the agent of the guest with that CID. Returns the descriptor or -errno. */
int guest_connect(unsigned cid) MUST_CHECK;

/* Brings the workload to rest; it stays so while the connection lives. */
void guest_freeze(int fd);

/* The step after a restore. Returns 0, or -errno when the connection broke, as it may while the
 * guest still learns that its transport was reset. */
int guest_resume(int fd) MUST_CHECK;

/* Runs /bin/busybox true, on a connection of its own, and checks its exit status. */
void guest_exec_true(int fd);
