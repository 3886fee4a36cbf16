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
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/newc.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/fd.h"
#include "peer.h"
#include "proto/agent.h"
#include "proto/bootcfg.h"
#include "proto/control.h"
#include "series.h"

enum {
	MEMORY_BYTES = 256 << 20,
	ROUNDS_MAX = 1000,
	PART_ALIGN = 4, /* of the parts of an initramfs */
	ARCHIVE_MAX = 16 * 1024,
	GUEST_CID = 77,
	PATIENCE_MS = 120000,
	IDLE_US = 5000000,
};

/* What the library gives (src/api/boot.c), so that both measure what users get. */
#define CMDLINE                                                                                    \
	"console=ttyS0 quiet panic=-1 reboot=t rdinit=/init random.trust_cpu=on pci=off "          \
	"8250.nr_uarts=1 i8042.noaux i8042.nokbd i8042.nomux i8042.nopnp i8042.dumbkbd "           \
	"tsc=reliable cryptomgr.notests"

enum qemu_flavour { QEMU_TRIMMED, QEMU_MUTE, QEMU_DEFAULT, QEMU_FLAVOURS };

struct bench {
	const char *vmm, *qemu, *idle, *kernel_name;
	unsigned rounds;
	int kvm_fd, kernel_fd, initramfs_fd, layer_fd, listener;
	struct series vmm_ready, qemu_ready[QEMU_FLAVOURS];
};

/* ---- parts */

/* Appends a file to a nameless one in memory: what is measured is no disk. */
static void append(int to, const char *path)
{
	autoclose int from = open(path, O_RDONLY | O_CLOEXEC);
	off_t at = lseek(to, 0, SEEK_END);
	struct stat st;

	if (from < 0 || fstat(from, &st) < 0)
		die("%s: %s", path, strerror(errno));
	(void)lseek(to, ALIGN_UP(at, (off_t)PART_ALIGN), SEEK_SET);
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = sendfile(to, from, NULL, (size_t)left);

		if (n <= 0)
			die("read %s: %s", path, strerror(errno));
		left -= n;
	}
}

/* A nameless file of one or several files joined by commas. */
static int load(const char *paths)
{
	autofree char *copy = strdup(paths);
	int fd = peer_fd(memfd_create("part", MFD_CLOEXEC), "memory file");
	char *rest = copy, *path;

	while ((path = strsep(&rest, ",")))
		append(fd, path);
	return fd;
}

/* The archive that the library would add: init's configuration. */
static void append_boot_archive(int to)
{
	struct bootcfg c = {.n_layers = 1, .hostname = "bench"};
	char text[BOOTCFG_TEXT_MAX];
	autobuf struct buf archive;
	off_t at = lseek(to, 0, SEEK_END);
	int bytes = must(bootcfg_encode(&c, text, sizeof(text)), "boot configuration");

	buf_init(&archive, ARCHIVE_MAX);
	if (newc_add_file(&archive, &BOOTCFG_PATH[1], text, (size_t)bytes) < 0 ||
		newc_end(&archive) < 0 ||
		fd_pwrite_full(to, archive.data, archive.bytes, ALIGN_UP(at, (off_t)PART_ALIGN)) <
			0)
		die("cannot write the boot archive");
}

/* ---- the agent's call */

/* Waits until the agent says AGENT_READY on its event connection, answering its greeting. */
static void await_ready(int fd)
{
	struct {
		struct agent_frame head;
		struct agent_hello hello;
	} hello = {{sizeof(struct agent_hello), AGENT_HELLO, 0}, {AGENT_VERSION, 0}};
	struct agent_frame frame;
	char payload[256];

	must(fd_write_full(fd, &hello, sizeof(hello)), "greet the agent");
	do {
		must(fd_read_full(fd, &frame, sizeof(frame)), "hear the agent");
		if (frame.bytes > sizeof(payload))
			die("the agent says something else");
		must(fd_read_full(fd, payload, frame.bytes), "hear the agent");
	} while (frame.type != AGENT_READY);
}

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
		.cmdline = CMDLINE,
		.host_port = AGENT_EVENT_PORT,
	};
	struct peer p;
	int fd;

	peer_start(&p, argv, NULL, 0);
	peer_configure(&p, &vm);
	fd = peer_await(&p, CTL_INCOMING);
	await_ready(fd);
	if (is_counted)
		series_add(&b->vmm_ready, peer_age_us(&p));
	if (is_idle_wanted)
		look_while_idle(b->idle, p.pid);
	close(fd);
	close(vm.console_fd);
	peer_kill(&p);
}

/* ---- QEMU */

static int listen_for_agent(void)
{
	struct sockaddr_vm here = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = AGENT_EVENT_PORT};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&here, sizeof(here)) < 0 ||
		listen(fd, 1) < 0)
		die("listen on vsock port %d: %s", AGENT_EVENT_PORT, strerror(errno));
	return fd;
}

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
		"-m", "256M", "-kernel", "/dev/fd/4", "-initrd", "/dev/fd/5", "-append", CMDLINE,
		"-drive", "file=/dev/fd/6,if=none,id=layer,format=raw,readonly=on,file.locking=off",
		"-device", "virtio-blk-device,drive=layer,serial=layer0", "-device",
		"vhost-vsock-device,guest-cid=77", "-device", "virtio-rng-device", "-device",
		"virtio-balloon-device", flavours[flavour].has_console ? "-serial" : NULL, "null",
		NULL};
	int fds[] = {b->kernel_fd, b->initramfs_fd, b->layer_fd};
	struct pollfd ready = {.fd = b->listener, .events = POLLIN};
	struct peer p;
	int fd;

	_Static_assert(GUEST_CID == 77, "as in the options");
	peer_start(&p, argv, fds, ARRAY_LEN(fds));
	if (poll(&ready, 1, PATIENCE_MS) != 1)
		die("the agent does not call from QEMU's guest");
	fd = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		die("accept: %s", strerror(errno));
	await_ready(fd);
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
	b.kernel_fd = load(argv[optind + 1]);
	b.initramfs_fd = load(argv[optind + 2]);
	append_boot_archive(b.initramfs_fd);
	b.layer_fd = load(argv[optind + 3]);
	b.qemu = argv[optind + 4];
	for (unsigned f = 0; f < QEMU_FLAVOURS; f++)
		b.qemu_ready[f].what = flavours[f].name;
	if (b.qemu)
		b.listener = listen_for_agent();
	run(&b);
	print(&b);
	return 0;
}
