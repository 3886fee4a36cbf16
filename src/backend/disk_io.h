// SPDX-License-Identifier: Apache-2.0
/* Positioned vector I/O on a descriptor, whole, and holes in files: what every disk is made of.
 * Keeps nothing; any thread. */
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/cc.h"

/* Move the `bytes` bytes of the list, going on after EINTR and short transfers. Return the bytes
 * moved, fewer only at the end of the file, or -errno. */
ssize_t disk_io_read(
	int fd, const struct iovec *iov, unsigned n, size_t bytes, uint64_t offset) MUST_CHECK;
ssize_t disk_io_write(
	int fd, const struct iovec *iov, unsigned n, size_t bytes, uint64_t offset) MUST_CHECK;

/* Make the range read as zeroes: punch gives its storage up, zero keeps it. The file's size stays.
 * 0 or -errno, -EOPNOTSUPP where the file system cannot. */
int disk_io_punch(int fd, uint64_t offset, uint64_t bytes) MUST_CHECK;
int disk_io_zero(int fd, uint64_t offset, uint64_t bytes) MUST_CHECK;
