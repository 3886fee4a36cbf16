// SPDX-License-Identifier: Apache-2.0
/* File descriptors: closed by scope, read and written whole, passed between processes. */
#pragma once

#include <sys/types.h>

#include "base/cc.h"

#define autoclose CLEANUP(autoclose_run)

/* Closes *fd unless it is -1, sets it to -1, keeps errno. */
void autoclose_run(int *fd);

/* Hands *fd out of an autoclose variable. */
int take_fd(int *fd);

/* Reads or writes all of it, going on after EINTR and short transfers.
 * Return 0 or -errno; reading fewer bytes than asked before end of file is -ENODATA. */
int fd_read_full(int fd, void *data, size_t bytes) MUST_CHECK;
int fd_write_full(int fd, const void *data, size_t bytes) MUST_CHECK;
int fd_pread_full(int fd, void *data, size_t bytes, off_t at) MUST_CHECK;
int fd_pwrite_full(int fd, const void *data, size_t bytes, off_t at) MUST_CHECK;

/* Sends one message with up to FD_PASS_MAX descriptors over a unix socket (SCM_RIGHTS).
 * Never raises SIGPIPE. Returns 0 or -errno. */
enum { FD_PASS_MAX = 128 };
int fd_send_message(
	int sock, const void *data, size_t bytes, const int *fds, unsigned n_fds) MUST_CHECK;

/* Receives one message; descriptors are close-on-exec and belong to the caller. *n_fds is the room
 * in fds on entry, the number received on return. Returns the message's length, 0 when the peer is
 * gone, -EMSGSIZE when it did not fit (nothing is kept), -EAGAIN, or another -errno. */
ssize_t fd_receive_message(int sock, void *data, size_t room, int *fds, unsigned *n_fds) MUST_CHECK;

/* Sets O_NONBLOCK on or off. Returns 0 or -errno. */
int fd_set_nonblocking(int fd, bool is_nonblocking) MUST_CHECK;
