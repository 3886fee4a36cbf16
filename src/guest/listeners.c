// SPDX-License-Identifier: Apache-2.0
#include "guest/listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

enum {
	ANSWER_BYTES = 16384, /* the kernel sends at most half of it at once (netlink_dump) */
	STATE_LISTEN = 10,    /* TCP_LISTEN of the kernel's net/tcp_states.h */
};

struct request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 body;
};

static bool is_loopback(const struct agent_listener *l)
{
	struct in6_addr six;

	if (l->family == 4)
		return l->address[0] == 127;
	memcpy(&six, l->address, sizeof(six));
	return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
}

static void take(struct listeners *l, const struct inet_diag_msg *m)
{
	struct agent_listener new = {.port = ntohs(m->id.idiag_sport)};

	if (m->idiag_state != STATE_LISTEN || l->n == LISTENERS_MAX)
		return;
	new.family = m->idiag_family == AF_INET6 ? 6 : 4;
	memcpy(new.address, m->id.idiag_src, new.family == 6 ? 16 : 4);
	new.is_loopback = is_loopback(&new);
	/* Sockets may share an address (SO_REUSEPORT). */
	for (unsigned i = 0; i < l->n; i++)
		if (!memcmp(&l->items[i], &new, sizeof(new)))
			return;
	l->items[l->n++] = new;
}

/* Takes in one datagram of the answer. Returns 1 when more come, 0 after the last, or -errno. */
static int take_answer(struct listeners *l, const uint8_t *data, size_t bytes)
{
	while (bytes >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head;
		struct nlmsgerr error;
		struct inet_diag_msg m;
		size_t step;

		memcpy(&head, data, sizeof(head));
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > bytes)
			return -EBADMSG;
		if (head.nlmsg_type == NLMSG_DONE)
			return 0;
		if (head.nlmsg_type == NLMSG_ERROR) {
			if (head.nlmsg_len < NLMSG_LENGTH(sizeof(error)))
				return -EBADMSG;
			memcpy(&error, data + NLMSG_HDRLEN, sizeof(error));
			return error.error < 0 ? error.error : -EBADMSG;
		}
		if (head.nlmsg_len >= NLMSG_LENGTH(sizeof(m))) {
			memcpy(&m, data + NLMSG_HDRLEN, sizeof(m));
			take(l, &m);
		}
		step = MIN((size_t)NLMSG_ALIGN(head.nlmsg_len), bytes);
		data += step;
		bytes -= step;
	}
	return 1;
}

static int ask(int fd, uint8_t family, struct listeners *l)
{
	struct request q = {
		.head = {.nlmsg_len = sizeof(q),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.body = {.sdiag_family = family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_states = 1u << STATE_LISTEN},
	};
	uint8_t answer[ANSWER_BYTES];
	ssize_t n = send(fd, &q, sizeof(q), 0);
	int r;

	if (n < 0)
		return -errno;
	do {
		n = recv(fd, answer, sizeof(answer), 0);
		if (n < 0 && errno != EINTR)
			return -errno;
		r = n < 0 ? 1 : take_answer(l, answer, (size_t)n);
	} while (r > 0);
	return r;
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct agent_listener));
}

int listeners_get(struct listeners *ret, struct err *e)
{
	autoclose int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct listeners l = {0};
	int r = fd < 0 ? -errno : ask(fd, AF_INET, &l);

	if (r == 0) {
		r = ask(fd, AF_INET6, &l);
		if (r == -ENOENT) /* a kernel without IPv6 */
			r = 0;
	}
	if (r < 0) {
		err_set(e, r, "the guest kernel does not tell who listens: %s", strerror(-r));
		return err_remedy(e, "the guest kernel needs inet_diag and tcp_diag, built in or "
				     "as modules in the initramfs");
	}
	qsort(l.items, l.n, sizeof(l.items[0]), by_bytes);
	*ret = l;
	return 0;
}

bool listeners_are_same(const struct listeners *a, const struct listeners *b)
{
	return a->n == b->n && !memcmp(a->items, b->items, a->n * sizeof(a->items[0]));
}

bool listeners_have_port(const struct listeners *l, uint16_t port)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->items[i].port == port)
			return true;
	return false;
}
