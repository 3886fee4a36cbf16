// SPDX-License-Identifier: Apache-2.0
/*
 * Measures a real boot: from spawning the VMM to AGENT_READY of our init in the guest, which calls
 * the host over vsock; the same kernel, initramfs, command line and layer under QEMU microvm with
 * vhost-vsock, in interleaved rounds. For a host with complete KVM. QEMU is measured as the machine
 * that ours is, the same without a console, and as `-M microvm` makes it.
 *
 * usage: bench-boot [-n ROUNDS] [-k KERNEL-NAME] [-i IDLE-PROGRAM] VMM KERNEL INITRAMFS LAYER
 * [QEMU]
 *
 * INITRAMFS may be several files joined by commas. With -i the first VM is left alone for a while
 * once its agent answers, and `IDLE-PROGRAM -p PID` then looks at it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "guest.h"
#include "peer.h"
#include "proto/agent.h"
#include "proto/control.h"
#include "series.h"

enum {
	MEMORY_BYTES = 256 << 20,
	ROUNDS_MAX = 1000,
	GUEST_CID = 77,
	IDLE_US = 5000000,
};

enum qemu_flavour { QEMU_TRIMMED, QEMU_MUTE, QEMU_DEFAULT, QEMU_FLAVOURS };

struct bench {
	const char *vmm, *qemu, *idle, *kernel_name;
	unsigned rounds;
	int kvm_fd, kernel_fd, initramfs_fd, layer_fd, listener;
	struct series vmm_ready, qemu_ready[QEMU_FLAVOURS];
};

static void look_while_idle(const char *program, pid_t pid)
{
	char number[16];
	const char *argv[] = {program, "-p", number, "-l", "vmm_linux_idle", NULL};
	struct peer p;

	usleep(IDLE_US);
	snprintf(number, sizeof(number), "%d", (int)pid);
	peer_start(&p, argv, NULL, 0);
	if (peer_wait(&p) != 0)
		die("%s failed", program);
}

static void vmm_round(struct bench *b, bool is_counted, bool is_idle_wanted)
{
	const char *argv[] = {b->vmm, "bench", NULL};
	struct peer_vm vm = {
		.kvm_fd = b->kvm_fd,
		.console_fd = peer_console(),
		.kernel_fd = b->kernel_fd,
		.initramfs_fds = {b->initramfs_fd},
		.n_initramfs = 1,
		.layer_fds = {b->layer_fd},
		.n_layers = 1,
		.memory_bytes = MEMORY_BYTES,
		.vcpus = 1,
		.cmdline = GUEST_CMDLINE,
		.host_port = AGENT_EVENT_PORT,
	};
	struct peer p;
	int fd;

	peer_start(&p, argv, NULL, 0);
	peer_configure(&p, &vm);
	fd = peer_await(&p, CTL_INCOMING);
	guest_await_ready(fd);
	if (is_counted)
		series_add(&b->vmm_ready, peer_age_us(&p));
	if (is_idle_wanted)
		look_while_idle(b->idle, p.pid);
	close(fd);
	close(vm.console_fd);
	peer_kill(&p);
}

/* ---- QEMU */

static const struct {
	const char *name, *machine;
	bool has_console;
} flavours[QEMU_FLAVOURS] = {
	/* What it can do at best: without a clock chip this kernel looks for one for seconds. */
	[QEMU_TRIMMED] = {"qemu_microvm",
		"microvm,accel=kvm,kernel-irqchip=split,x-option-roms=off,auto-kernel-cmdline=off,"
		"rtc=on,pit=off,pic=off",
		true},
	[QEMU_MUTE] = {"qemu_microvm_without_console",
		"microvm,accel=kvm,kernel-irqchip=split,x-option-roms=off,auto-kernel-cmdline=off,"
		"rtc=on,pit=off,pic=off,isa-serial=off",
		false},
	/* what `-M microvm` alone means */
	[QEMU_DEFAULT] = {"qemu_microvm_by_default", "microvm,accel=kvm", true},
};

static void qemu_round(struct bench *b, enum qemu_flavour flavour, bool is_counted)
{
	/* The machine that ours is: rng, balloon, vsock, one layer, and the console or none. */
	const char *argv[] = {b->qemu, "-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", "-M", flavours[flavour].machine, "-cpu", "host,-arch-capabilities",
		"-m", "256M", "-kernel", "/dev/fd/4", "-initrd", "/dev/fd/5", "-append",
		GUEST_CMDLINE, "-drive",
		"file=/dev/fd/6,if=none,id=layer,format=raw,readonly=on,file.locking=off",
		"-device", "virtio-blk-device,drive=layer,serial=layer0", "-device",
		"vhost-vsock-device,guest-cid=77", "-device", "virtio-rng-device", "-device",
		"virtio-balloon-device", flavours[flavour].has_console ? "-serial" : NULL, "null",
		NULL};
	int fds[] = {b->kernel_fd, b->initramfs_fd, b->layer_fd};
	struct peer p;
	int fd;

	_Static_assert(GUEST_CID == 77, "as in the options");
	peer_start(&p, argv, fds, ARRAY_LEN(fds));
	fd = guest_accept_ready(b->listener);
	if (is_counted)
		series_add(&b->qemu_ready[flavour], peer_age_us(&p));
	close(fd);
	peer_kill(&p);
}

/* ---- all */

static void print(const struct bench *b)
{
	const struct ratio vmm[RATIOS_MAX] = {
		{"ratio_to_qemu", &b->qemu_ready[QEMU_TRIMMED], false, 0.5},
		{"ratio_to_qemu_without_console", &b->qemu_ready[QEMU_MUTE], false, 0},
		{"ratio_to_qemu_by_default", &b->qemu_ready[QEMU_DEFAULT], false, 0},
	};

	char name[64];

	snprintf(name, sizeof(name), "spawn_to_agent_ready_%s_kernel", b->kernel_name);
	series_print(name, &b->vmm_ready, b->qemu ? vmm : NULL);
	for (unsigned f = 0; b->qemu && f < QEMU_FLAVOURS; f++)
		series_print(name, &b->qemu_ready[f], NULL);
}

/* One round of each that is not counted comes first: it fills the page cache. */
static void run(struct bench *b)
{
	for (unsigned i = 0; i <= b->rounds; i++) {
		vmm_round(b, i > 0, i == 0 && b->idle);
		for (unsigned f = 0; b->qemu && f < QEMU_FLAVOURS; f++)
			qemu_round(b, (enum qemu_flavour)f, i > 0);
	}
}

int main(int argc, char **argv)
{
	static struct bench b = {
		.rounds = 10,
		.kernel_name = "this",
		.vmm_ready.what = "vmm",
	};
	int c;

	while ((c = getopt(argc, argv, "n:k:i:")) != -1) {
		if (c == 'n')
			b.rounds = (unsigned)atoi(optarg);
		else if (c == 'k')
			b.kernel_name = optarg;
		else if (c == 'i')
			b.idle = optarg;
		else
			return 2;
	}
	if (argc - optind < 4 || b.rounds < 1 || b.rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: bench-boot [-n ROUNDS] [-k KERNEL-NAME] [-i IDLE-PROGRAM] "
				"VMM KERNEL INITRAMFS LAYER [QEMU]\n");
		return 2;
	}
	b.vmm = argv[optind];
	b.kvm_fd = peer_open("/dev/kvm", O_RDWR);
	b.kernel_fd = guest_load(argv[optind + 1]);
	b.initramfs_fd = guest_load(argv[optind + 2]);
	guest_append_boot_archive(b.initramfs_fd);
	b.layer_fd = guest_load(argv[optind + 3]);
	b.qemu = argv[optind + 4];
	for (unsigned f = 0; f < QEMU_FLAVOURS; f++)
		b.qemu_ready[f].what = flavours[f].name;
	if (b.qemu)
		b.listener = guest_listen();
	run(&b);
	print(&b);
	return 0;
}
