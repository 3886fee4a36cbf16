// SPDX-License-Identifier: Apache-2.0
#include "qemu_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest.h"

enum {
	GUEST_CID = 77,
	RETRIES = 1000, /* while the guest learns of its new transport */
	RETRY_US = 200,
};

/* As trimmed as bench-boot's best; a console as ours has one. */
#define MACHINE                                                                                    \
	"microvm,accel=kvm,kernel-irqchip=split,x-option-roms=off,auto-kernel-cmdline=off,"        \
	"rtc=on,pit=off,pic=off"

static void start(struct qemu_guest *g, struct qemu *q, bool is_restored, int kernel, int initramfs)
{
	const char *options[] = {"-drive",
		"file=/dev/fd/6,if=none,id=layer,format=raw,readonly=on,file.locking=off",
		"-device", "virtio-blk-device,drive=layer,serial=layer0", "-device",
		"vhost-vsock-device,guest-cid=77", "-device", "virtio-rng-device", "-device",
		"virtio-balloon-device", "-serial", "null", is_restored ? NULL : "-kernel",
		"/dev/fd/7", "-initrd", "/dev/fd/8", "-append", GUEST_CMDLINE, NULL};
	const int fds[] = {g->layer_fd, kernel, initramfs};

	_Static_assert(GUEST_CID == 77 && QEMU_FIRST_FD == 6, "as in the options");
	qemu_start(q, &g->template, is_restored, options, fds, is_restored ? 1 : 3);
}

/* ---- the layer that the library has made of the image; the largest file there */

static struct {
	char path[512];
	off_t bytes;
} found;

static int look(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)where;
	if (kind == FTW_F && st->st_size > found.bytes && strlen(path) < sizeof(found.path)) {
		strcpy(found.path, path);
		found.bytes = st->st_size;
	}
	return 0;
}

static int open_layer(const char *store)
{
	char dir[512];

	snprintf(dir, sizeof(dir), "%s/layers", store);
	if (nftw(dir, look, 16, FTW_PHYS) < 0 || !found.bytes)
		die("no layer in %s", dir);
	return peer_open(found.path, O_RDONLY);
}

/* ---- life */

void qemu_guest_prepare(struct qemu_guest *g, const char *qemu, const char *directory,
	const char *store, const char *kernel, const char *initramfs, unsigned mib)
{
	int kernel_fd = guest_load(kernel), initramfs_fd = guest_load(initramfs);
	int events, frozen;
	struct qemu q;

	guest_append_boot_archive(initramfs_fd);
	*g = (struct qemu_guest){
		.template = {qemu, MACHINE, mib, -1, -1},
		.listener = guest_listen(),
		.layer_fd = open_layer(store),
	};
	qemu_template_init(&g->template, directory);
	start(g, &q, false, kernel_fd, initramfs_fd);
	events = guest_accept_ready(g->listener);
	frozen = must(guest_connect(GUEST_CID), "connect to the agent in QEMU");
	guest_freeze(frozen);
	qemu_save(&q);
	close(events);
	close(frozen);
	close(kernel_fd);
	close(initramfs_fd);
}

/* The guest resets what connections it has when it learns that its transport is another one. A
 * connection that came before that is lost, and made again. */
static void resume(void)
{
	for (unsigned i = 0; i < RETRIES; i++) {
		int fd = guest_connect(GUEST_CID);
		int r = fd < 0 ? fd : guest_resume(fd);

		if (fd >= 0)
			close(fd);
		if (r == 0)
			return;
		usleep(RETRY_US);
	}
	die("the agent in QEMU's restored guest cannot be reached");
}

void qemu_guest_round(struct qemu_guest *g, double ret_at_us[QEMU_GUEST_STEPS])
{
	int events, fd;
	struct qemu q;

	start(g, &q, true, -1, -1);
	qemu_await_restored(&q);
	ret_at_us[QEMU_GUEST_RESTORED] = peer_age_us(&q.peer);
	resume();
	ret_at_us[QEMU_GUEST_RESUMED] = peer_age_us(&q.peer);
	fd = must(guest_connect(GUEST_CID), "connect to the agent in QEMU");
	guest_exec_true(fd);
	ret_at_us[QEMU_GUEST_EXECUTED] = peer_age_us(&q.peer);
	close(fd);
	events =
		accept4(g->listener, NULL, NULL, SOCK_CLOEXEC); /* the agent's, after the restore */
	qemu_kill(&q);
	close(events);
}
