// SPDX-License-Identifier: Apache-2.0
/* Sockets to the host (AF_VSOCK, vsock(7)). */
#pragma once

#include "base/err.h"

/* A non-blocking listener on a guest port. Returns the descriptor or a negative code. */
int vsock_listen(unsigned port, struct err *e) MUST_CHECK;

/* Connects to a port of the host. Returns the descriptor, non-blocking, or a negative code. */
int vsock_connect_host(unsigned port, struct err *e) MUST_CHECK;

/* The same without waiting: the connection may still be under way (see vsock_connected). */
int vsock_begin_connect_host(unsigned port, struct err *e) MUST_CHECK;

/* Waits until a connection that is under way is there, at most timeout_ms. Returns 0 or negative.
 * Sockets of any family. */
int vsock_connected(int fd, int timeout_ms, struct err *e) MUST_CHECK;

/* False for a vsock peer that is not the host. Sockets of other families have no such peer. */
bool vsock_is_from_host(int fd);
