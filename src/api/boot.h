// SPDX-License-Identifier: Apache-2.0
/*
 * What a VM starts from: files opened for the VMM, which opens nothing itself, and the CTL_CONFIG
 * packet that names them. boot_prepare for a cold boot; restore.h fills the same for a snapshot.
 * Knows no process.
 */
#pragma once

#include "api/snapshot_json.h"
#include "base/buf.h"
#include "base/fd.h"
#include "oci/store.h"
#include "proto/control.h"

enum { BOOT_FDS_MAX = 9 + CTL_INITRAMFS_MAX + CTL_BLOCKS_MAX };

struct boot {
	char *kernel; /* path, for errors */
	int fds[BOOT_FDS_MAX];
	unsigned n_fds;
	unsigned n_initramfs;
	unsigned n_layers;
	struct buf packet; /* struct ctl_config and what follows it */
};

struct boot_request {
	const struct machine *machine; /* kernel: NULL is the default */
	const char *name;	       /* host name */
	int console_fd;		       /* borrowed */
	const struct image *image;
	struct store *store; /* where the writable disk is */
};

/* Opens all and writes the packet. On failure nothing is kept. */
int boot_prepare(struct boot *b, const struct boot_request *q, struct err *e) MUST_CHECK;

/* 0 when `name` can be a VM's name and so its host name, else -EINVAL with what can. */
int boot_check_name(const char *name, struct err *e) MUST_CHECK;

/* Parts of it, for a restore: all zero at first; one file more; the device; the console log. */
void boot_init(struct boot *b);
int boot_add_fd(struct boot *b, int fd);
int boot_add_kvm(struct boot *b, struct err *e) MUST_CHECK;
int boot_add_console(struct boot *b, int console_fd, struct err *e) MUST_CHECK;

/* Closes what was opened (the console log too: boot has a duplicate). */
void boot_fini(struct boot *b);
