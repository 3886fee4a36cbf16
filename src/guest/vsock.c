// SPDX-License-Identifier: Apache-2.0
#include "guest/vsock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include <unistd.h>

#include "base/fd.h"

enum { BACKLOG = 128 };

static int open_socket(int flags, struct err *e)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd >= 0)
		return fd;
	err_sys(e, "the guest cannot open a socket to the host");
	err_object(e, "vsock");
	return err_remedy(e,
		"the guest kernel needs vsock and virtio-vsock, built in or as modules "
		"in the initramfs");
}

int vsock_listen(unsigned port, struct err *e)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
	autoclose int fd = open_socket(0, e);

	if (fd < 0)
		return e ? e->code : -EIO;
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, BACKLOG) < 0 ||
		fd_set_nonblocking(fd, true) < 0) {
		err_sys(e, "cannot listen");
		return err_object(e, "vsock port %u", port);
	}
	return take_fd(&fd);
}

static int explain_connect(unsigned port, int code, struct err *e)
{
	err_set(e, -code, "cannot reach the host: %s", strerror(code));
	err_object(e, "vsock port %u of the host", port);
	return err_remedy(e, "%s",
		code == ENODEV ? "the machine needs a virtio-vsock device and the guest "
				 "kernel its driver"
			       : "the host must accept connections on that port");
}

/* Returns the descriptor or a negative code. */
static int connect_host(unsigned port, int flags, struct err *e)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
	autoclose int fd = open_socket(flags, e);

	if (fd < 0)
		return e ? e->code : -EIO;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 && errno != EINPROGRESS)
		return explain_connect(port, errno, e);
	return take_fd(&fd);
}

int vsock_connect_host(unsigned port, struct err *e)
{
	autoclose int fd = connect_host(port, 0, e);

	if (fd < 0)
		return fd;
	if (fd_set_nonblocking(fd, true) < 0)
		return explain_connect(port, errno, e);
	return take_fd(&fd);
}

int vsock_begin_connect_host(unsigned port, struct err *e)
{
	return connect_host(port, SOCK_NONBLOCK, e);
}

int vsock_connected(int fd, int timeout_ms, struct err *e)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t bytes = sizeof(int);
	int code = 0, r;

	do
		r = poll(&p, 1, timeout_ms);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		code = ETIMEDOUT;
	else if (r < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &bytes) < 0)
		code = errno;
	else if (!code && (p.revents & (POLLERR | POLLHUP)))
		code = ECONNRESET;
	return code ? err_set(e, -code, "the host does not take the event connection: %s",
			      strerror(code))
		    : 0;
}

bool vsock_is_from_host(int fd)
{
	struct sockaddr_storage addr = {0};
	socklen_t bytes = sizeof(addr);

	if (getpeername(fd, (struct sockaddr *)&addr, &bytes) < 0)
		return false;
	return addr.ss_family != AF_VSOCK ||
	       ((const struct sockaddr_vm *)&addr)->svm_cid == VMADDR_CID_HOST;
}
