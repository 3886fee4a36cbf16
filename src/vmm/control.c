// SPDX-License-Identifier: Apache-2.0
#include "vmm/control.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

enum { LAST_WORD_MS = 1000 };

static struct ctl_header head(enum ctl_type type, size_t bytes)
{
	return (struct ctl_header){CTL_VERSION, (uint16_t)type, (uint32_t)bytes};
}

uint16_t control_type(const struct control_packet *p)
{
	struct ctl_header h;

	memcpy(&h, p->data, sizeof(h));
	return h.type;
}

static int check_head(const struct control_packet *p, struct err *e)
{
	struct ctl_header h;

	if (p->bytes < sizeof(h))
		return err_set(e, -EPROTO, "a control message of %zu bytes", p->bytes);
	memcpy(&h, p->data, sizeof(h));
	if (h.version != CTL_VERSION || h.bytes != p->bytes) {
		err_set(e, -EPROTO, "a control message of version %u, %u bytes; this is version %u",
			h.version, h.bytes, CTL_VERSION);
		return err_remedy(e, "install libsupermachine and supermachine-vmm of one version");
	}
	return 0;
}

int control_receive(int sock, struct control_packet *ret, struct err *e)
{
	ssize_t n;
	int r;

	ret->n_fds = ARRAY_LEN(ret->fds);
	n = fd_receive_message(sock, ret->data, sizeof(ret->data), ret->fds, &ret->n_fds);
	if (n == -EAGAIN || !n || n == -ECONNRESET)
		return n == -EAGAIN ? -EAGAIN : 0;
	if (n < 0) {
		errno = (int)-n;
		return err_sys(e, "read the control socket");
	}
	ret->bytes = (size_t)n;
	r = check_head(ret, e);
	if (r < 0) {
		control_packet_close(ret);
		return r;
	}
	return 1;
}

void control_packet_close(struct control_packet *p)
{
	while (p->n_fds)
		close(p->fds[--p->n_fds]);
}

int control_send_running(int sock, const uint64_t timing_us[CTL_TIMINGS])
{
	struct ctl_running m = {.header = head(CTL_RUNNING, sizeof(m))};

	memcpy(m.timing_us, timing_us, sizeof(m.timing_us));
	return fd_send_message(sock, &m, sizeof(m), NULL, 0);
}

int control_send_incoming(int sock, uint32_t port, int fd)
{
	struct ctl_port m = {.header = head(CTL_INCOMING, sizeof(m)), .port = port};

	return fd_send_message(sock, &m, sizeof(m), &fd, 1);
}

/* For what the library waits for: worth waiting for the library. */
static int send_patiently(int sock, const void *message, size_t bytes)
{
	struct pollfd room = {.fd = sock, .events = POLLOUT};
	int r = fd_send_message(sock, message, bytes, NULL, 0);

	if (r == -EAGAIN && poll(&room, 1, LAST_WORD_MS) == 1)
		r = fd_send_message(sock, message, bytes, NULL, 0);
	return r;
}

int control_send_answer(
	int sock, enum ctl_type to, const struct err *why, const uint64_t value[CTL_ANSWER_VALUES])
{
	struct ctl_answer m = {.header = head(CTL_ANSWER, sizeof(m)), .to = to};

	_Static_assert(sizeof(m.object) == sizeof(why->object) &&
			       sizeof(m.cause) == sizeof(why->cause) &&
			       sizeof(m.remedy) == sizeof(why->remedy),
		"texts travel whole");
	if (why) {
		m.code = why->code;
		memcpy(m.object, why->object, sizeof(m.object));
		memcpy(m.cause, why->cause, sizeof(m.cause));
		memcpy(m.remedy, why->remedy, sizeof(m.remedy));
	}
	memcpy(m.value, value, sizeof(m.value));
	return send_patiently(sock, &m, sizeof(m));
}

int control_send_end(
	int sock, enum ctl_type type, enum ctl_end_reason reason, const struct err *why)
{
	struct ctl_end m = {.header = head(type, sizeof(m)), .reason = reason};

	if (why) {
		m.code = why->code;
		memcpy(m.object, why->object, sizeof(m.object));
		memcpy(m.cause, why->cause, sizeof(m.cause));
		memcpy(m.remedy, why->remedy, sizeof(m.remedy));
	}
	return send_patiently(sock, &m, sizeof(m));
}
