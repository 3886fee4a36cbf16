// SPDX-License-Identifier: Apache-2.0
/*
 * Measures what an idle VM costs the host beyond its guest's memory: Private_Dirty of the VMM
 * process without the mapping that is guest RAM, from /proc/PID/smaps. The tiny guest has halted;
 * QEMU is asked the same beside it. Or looks at a VMM that runs already.
 *
 * usage: bench-idle VMM [QEMU]
 *        bench-idle -p PID -l WHAT
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dirt.h"
#include "peer.h"
#include "proto/control.h"
#include "tiny.h"

enum {
	MEMORY_BYTES = 256 << 20,
	DEBUG_PORT = 0xe9,
	SETTLE_US = 300000, /* from the guest's last word to rest */
	GOAL_KIB = 128,
	QEMU_PATIENCE_MS = 20000,
};

static void print(const char *what, const struct dirt *d, bool has_goal)
{
	printf("{\"bench\":\"idle_private_dirty\",\"what\":\"%s\",\"n\":1,\"own_kib\":%lu,"
	       "\"guest_ram_kib\":%lu,\"guest_touched_kib\":%lu",
		what, d->own_dirty_kib, d->ram_kib, d->ram_dirty_kib);
	if (has_goal)
		printf(",\"goal_kib\":%d,\"met\":%s", GOAL_KIB,
			d->own_dirty_kib <= GOAL_KIB ? "true" : "false");
	printf("}\n");
	fflush(stdout);
}

static int halting_kernel(void)
{
	uint8_t code[TINY_CODE_MAX];
	unsigned bytes = tiny_halt_code(code, DEBUG_PORT, '!');

	return peer_fd(must(tiny_kernel(code, bytes), "kernel"), "kernel");
}

static void measure_vmm(const char *vmm)
{
	const char *argv[] = {vmm, "bench", NULL};
	struct peer_vm vm = {
		.kvm_fd = peer_open("/dev/kvm", O_RDWR),
		.console_fd = peer_console(),
		.kernel_fd = halting_kernel(),
		.memory_bytes = MEMORY_BYTES,
		.vcpus = 1,
		.cmdline = "",
	};
	struct peer p;
	struct dirt d;

	peer_start(&p, argv, NULL, 0);
	peer_configure(&p, &vm);
	peer_await(&p, CTL_RUNNING);
	usleep(SETTLE_US);
	d = dirt_of(p.pid);
	print("vmm", &d, true);
	peer_kill(&p);
}

static void measure_qemu(const char *qemu)
{
	const char *argv[] = {qemu, "-nodefaults", "-no-user-config", "-display", "none", "-M",
		PEER_QEMU_MACHINE, "-cpu", "host,-arch-capabilities", "-m", "256M", "-chardev",
		"file,id=byte,path=/dev/fd/4", "-device", "isa-debugcon,iobase=0xe9,chardev=byte",
		"-kernel", "/dev/fd/5", NULL};
	struct pollfd ready;
	struct peer p;
	struct dirt d;
	int out[2], fds[2];

	if (pipe2(out, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	fds[0] = peer_fd(out[1], "pipe");
	fds[1] = halting_kernel();
	peer_start(&p, argv, fds, ARRAY_LEN(fds));
	ready = (struct pollfd){.fd = out[0], .events = POLLIN};
	if (poll(&ready, 1, QEMU_PATIENCE_MS) != 1)
		die("QEMU's guest did not come to its first access");
	usleep(SETTLE_US);
	d = dirt_of(p.pid);
	print("qemu_microvm", &d, false);
	peer_kill(&p);
}

int main(int argc, char **argv)
{
	const char *label = "vmm";
	struct dirt d;
	pid_t pid = 0;
	int c;

	while ((c = getopt(argc, argv, "p:l:")) != -1) {
		if (c == 'p')
			pid = atoi(optarg);
		else if (c == 'l')
			label = optarg;
		else
			return 2;
	}
	if (pid) {
		d = dirt_of(pid);
		print(label, &d, true);
		return 0;
	}
	if (optind == argc) {
		fprintf(stderr, "usage: bench-idle VMM [QEMU] | -p PID -l WHAT\n");
		return 2;
	}
	measure_vmm(argv[optind]);
	if (argv[optind + 1])
		measure_qemu(argv[optind + 1]);
	return 0;
}
