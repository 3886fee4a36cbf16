// SPDX-License-Identifier: Apache-2.0
#include "guest/disks.h"

#include <dirent.h>
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "guest/file.h"
#include "proto/bootcfg.h"

enum {
	SERIAL_BYTES = 20,    /* VIRTIO_BLK_ID_BYTES, not terminated when full */
	EVENT_BYTES = 8192,   /* more than a kernel event has (UEVENT_BUFFER_SIZE, 2 KiB) */
	KERNEL_EVENTS = 1,    /* the multicast group of kobject events */
	NODE_NAME_BYTES = 20, /* of "vda" … with all that fits DISKS_NAME_BYTES */
};

/* Reads the serial of a block device; empty when it has none. */
static void read_serial(const char *disk, char out[SERIAL_BYTES + 1])
{
	char path[64];
	autobuf struct buf b;

	out[0] = '\0';
	buf_init(&b, 4096);
	snprintf(path, sizeof(path), "/sys/block/%.*s/serial", NODE_NAME_BYTES, disk);
	if (file_read(path, &b) < 0 || !b.bytes || b.bytes > SERIAL_BYTES)
		return;
	memcpy(out, b.data, b.bytes);
	out[b.bytes] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

static unsigned n_wanted(const struct disks *d)
{
	return d->n + d->has_root;
}

/* Wanted disk i: the layers, then the writable one. */
static char *node_of(struct disks *d, unsigned i)
{
	return i < d->n ? d->node[i] : d->root;
}

static void serial_of(const struct disks *d, unsigned i, char out[SERIAL_BYTES + 1])
{
	if (i < d->n)
		snprintf(out, SERIAL_BYTES + 1, BOOTCFG_LAYER_SERIAL, i);
	else
		snprintf(out, SERIAL_BYTES + 1, BOOTCFG_DISK_SERIAL);
}

/* Takes a disk in if it is one that is wanted. */
static void take_disk(struct disks *d, const char *disk)
{
	char serial[SERIAL_BYTES + 1], want[SERIAL_BYTES + 1];

	if (!str_starts_with(disk, "vd") || strlen(disk) > NODE_NAME_BYTES)
		return;
	read_serial(disk, serial);
	for (unsigned i = 0; serial[0] && i < n_wanted(d); i++) {
		serial_of(d, i, want);
		if (!strcmp(serial, want) && !node_of(d, i)[0])
			snprintf(node_of(d, i), DISKS_NAME_BYTES, "/dev/%.*s", NODE_NAME_BYTES,
				disk);
	}
}

static unsigned first_missing(struct disks *d)
{
	unsigned i = 0;

	while (i < n_wanted(d) && node_of(d, i)[0])
		i++;
	return i;
}

/* Looks at all disks there are. Returns the first that is still missing, n_wanted if none is. */
static unsigned scan(struct disks *d)
{
	DIR *dir = opendir("/sys/block");
	const struct dirent *entry;

	if (!dir)
		return first_missing(d);
	while ((entry = readdir(dir)) && first_missing(d) < n_wanted(d))
		take_disk(d, entry->d_name);
	closedir(dir);
	return first_missing(d);
}

static int listen_to_kernel(void)
{
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_EVENTS};
	autoclose int fd = socket(
		AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	return take_fd(&fd);
}

/* Takes all waiting events and tells whether one is about a block device. */
static bool drain_events(int fd)
{
	char event[EVENT_BYTES + 1];
	bool is_block = false;
	ssize_t n;

	while ((n = recv(fd, event, EVENT_BYTES, 0)) > 0) {
		event[n] = '\0';
		is_block |= str_starts_with(event, "add@") && strstr(event, "/block/");
	}
	/* When events were lost (ENOBUFS) any of them may have been the one. */
	return is_block || errno == ENOBUFS;
}

static int wait_for(struct disks *d, int timeout_ms)
{
	uint64_t deadline = clock_deadline_ns(timeout_ms);
	autoclose int fd = listen_to_kernel();
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (fd < 0)
		return fd;
	/* Again, for what came between the first look and the listening. */
	while (scan(d) < n_wanted(d)) {
		do {
			int r = poll(&p, 1, clock_left_ms(deadline));

			if (r < 0 && errno != EINTR)
				return -errno;
			if (r == 0)
				return -ETIMEDOUT;
		} while (!drain_events(fd));
	}
	return 0;
}

int disks_find(struct disks *d, unsigned n_layers, bool want_root, int timeout_ms, struct err *e)
{
	char serial[SERIAL_BYTES + 1];
	int r;

	*d = (struct disks){.n = n_layers, .has_root = want_root};
	if (n_layers > DISKS_MAX)
		return err_set(
			e, -E2BIG, "%u layer disks are too many, at most %d", n_layers, DISKS_MAX);
	if (scan(d) == n_wanted(d))
		return 0;
	r = wait_for(d, timeout_ms);
	if (r == -ETIMEDOUT) {
		serial_of(d, first_missing(d), serial);
		err_set(e, r, "no disk has the serial %s after %d ms", serial, timeout_ms);
		return err_remedy(e, "the kernel needs virtio-mmio and virtio-blk, built in or as "
				     "modules in the initramfs");
	}
	return r < 0 ? err_set(e, r, "cannot listen to the kernel: %s", strerror(-r)) : 0;
}
