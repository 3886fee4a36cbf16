// SPDX-License-Identifier: Apache-2.0
/*
 * Measures the way from spawning a process to its guest's first I/O exit, as this process sees it:
 * the floor program says so by a byte, the VMM by its CTL_END (the guest's first access turns the
 * machine off), QEMU by the byte that its guest writes to a debug console. All in interleaved
 * rounds, one child at a time, 256 MiB of guest memory each.
 *
 * usage: bench-spawn [-n ROUNDS] [-q QEMU-ROUNDS] FLOOR VMM [QEMU]
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "arch/layout.h"
#include "peer.h"
#include "proto/control.h"
#include "series.h"
#include "tiny.h"

enum {
	MEMORY_BYTES = 256 << 20,
	POWER_OFF_VALUE = 5 << 2 | 1 << 5, /* SLP_TYP 5 and SLP_EN, ACPI 6.4 table 4.18 */
	DEBUG_PORT = 0xe9,
	QEMU_PATIENCE_MS = 20000,
	REST_NS = 5000000, /* between two children */
};

/* What is measured; each has a time to the first exit and one to the end of the process. QEMU's
 * come last, since not every round has them. */
enum subject {
	FLOOR_NOTHING,
	FLOOR_BOOT,
	FLOOR_BOOT_LATE,
	FLOOR_RESTORE,
	FLOOR_RESTORE_LATE,
	VMM,
	QEMU_KERNEL,
	QEMU_FIRMWARE,
	SUBJECTS,
};

struct bench {
	const char *floor, *vmm, *qemu;
	unsigned rounds, qemu_rounds;
	int kvm_fd, memory_fd, state_fd; /* the floor's */
	struct peer_vm vm;
	int qemu_kernel_fd, qemu_firmware_fd;
	struct series first_exit[SUBJECTS], end[SUBJECTS];
	struct series steps[CTL_TIMINGS]; /* of the VMM's build */
};

static const char *const names[SUBJECTS] = {
	[FLOOR_NOTHING] = "floor_nothing",
	[FLOOR_BOOT] = "floor_boot",
	[FLOOR_BOOT_LATE] = "floor_boot_irqchip_first",
	[FLOOR_RESTORE] = "floor_restore",
	[FLOOR_RESTORE_LATE] = "floor_restore_irqchip_first",
	[VMM] = "vmm",
	[QEMU_KERNEL] = "qemu_microvm_kernel",
	[QEMU_FIRMWARE] = "qemu_microvm_firmware",
};

/* ---- the floor */

static void run_floor(struct bench *b, const char *mode, struct series *first, struct series *end)
{
	const char *argv[] = {b->floor, mode, NULL};
	int fds[] = {b->kvm_fd, b->memory_fd, b->state_fd};
	struct peer p;
	char byte;

	peer_start(&p, argv, fds, ARRAY_LEN(fds));
	if (recv(p.sock, &byte, 1, 0) != 1)
		die("the floor program failed (%s)", mode);
	if (first)
		series_add(first, peer_age_us(&p));
	if (peer_wait(&p) != 0)
		die("the floor program failed (%s)", mode);
	if (end)
		series_add(end, peer_age_us(&p));
}

static void floor_round(struct bench *b, enum subject s)
{
	static const char *const modes[] = {
		[FLOOR_NOTHING] = "nothing",
		[FLOOR_BOOT] = "boot",
		[FLOOR_BOOT_LATE] = "boot-irqchip-first",
		[FLOOR_RESTORE] = "restore",
		[FLOOR_RESTORE_LATE] = "restore-irqchip-first",
	};

	run_floor(b, modes[s], &b->first_exit[s], &b->end[s]);
}

/* ---- the VMM */

static void vmm_round(struct bench *b)
{
	const char *argv[] = {b->vmm, "bench", NULL};
	struct peer p;

	peer_start(&p, argv, NULL, 0);
	peer_configure(&p, &b->vm);
	peer_await(&p, CTL_END);
	series_add(&b->first_exit[VMM], peer_age_us(&p));
	for (unsigned i = 0; i < CTL_TIMINGS; i++)
		series_add(&b->steps[i], (double)p.timing_us[i]);
	if (peer_wait(&p) != 0)
		die("the VMM ended with an error");
	series_add(&b->end[VMM], peer_age_us(&p));
}

/* ---- QEMU; its guest's byte comes out of descriptor 4 */

static void qemu_round(struct bench *b, enum subject s)
{
	const char *argv[] = {b->qemu, "-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", "-M", PEER_QEMU_MACHINE, "-cpu", "host,-arch-capabilities", "-m",
		"256M", "-chardev", "file,id=byte,path=/dev/fd/4", "-device",
		"isa-debugcon,iobase=0xe9,chardev=byte", s == QEMU_KERNEL ? "-kernel" : "-bios",
		"/dev/fd/5", NULL};
	int out[2], fds[2];
	struct pollfd ready;
	struct peer p;
	char byte;

	if (pipe2(out, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	fds[0] = peer_fd(out[1], "pipe");
	fds[1] = s == QEMU_KERNEL ? b->qemu_kernel_fd : b->qemu_firmware_fd;
	peer_start(&p, argv, fds, ARRAY_LEN(fds));
	close(fds[0]);
	ready = (struct pollfd){.fd = out[0], .events = POLLIN};
	if (poll(&ready, 1, QEMU_PATIENCE_MS) != 1 || read(out[0], &byte, 1) != 1)
		die("QEMU's guest did not come to its first access (%s)", names[s]);
	series_add(&b->first_exit[s], peer_age_us(&p));
	close(out[0]);
	peer_kill(&p);
	series_add(&b->end[s], peer_age_us(&p));
}

/* ---- all */

static void prepare(struct bench *b)
{
	uint8_t code[TINY_CODE_MAX];
	unsigned bytes;

	b->kvm_fd = peer_open("/dev/kvm", O_RDWR);
	b->memory_fd = peer_fd(memfd_create("memory", MFD_CLOEXEC), "memory file");
	b->state_fd = peer_fd(memfd_create("state", MFD_CLOEXEC), "state file");
	bytes = tiny_out_code(code, LAYOUT_SLEEP_CONTROL_PORT, POWER_OFF_VALUE);
	b->vm = (struct peer_vm){
		.kvm_fd = b->kvm_fd,
		.console_fd = peer_console(),
		.kernel_fd = peer_fd(must(tiny_kernel(code, bytes), "kernel"), "kernel"),
		.memory_bytes = MEMORY_BYTES,
		.vcpus = 1,
		.cmdline = "",
	};
	bytes = tiny_out_code(code, DEBUG_PORT, '!');
	b->qemu_kernel_fd = peer_fd(must(tiny_kernel(code, bytes), "kernel"), "kernel");
	b->qemu_firmware_fd = peer_fd(must(tiny_firmware(DEBUG_PORT, '!'), "firmware"), "firmware");
	for (unsigned s = 0; s < SUBJECTS; s++)
		b->first_exit[s].what = b->end[s].what = names[s];
	run_floor(b, "save", NULL, NULL);
}

static void run_subject(struct bench *b, enum subject s)
{
	const struct timespec rest = {.tv_nsec = REST_NS};

	/* A VM that ended a moment ago still keeps the kernel busy. */
	nanosleep(&rest, NULL);
	if (s == QEMU_KERNEL || s == QEMU_FIRMWARE)
		qemu_round(b, s);
	else if (s == VMM)
		vmm_round(b);
	else
		floor_round(b, s);
}

/* Every round begins with another one. */
static void run_round(struct bench *b, unsigned i)
{
	/* QEMU's rounds are spread evenly over all */
	bool has_qemu =
		b->qemu && i * b->qemu_rounds / b->rounds != (i + 1) * b->qemu_rounds / b->rounds;
	unsigned n = has_qemu ? SUBJECTS : QEMU_KERNEL;

	for (unsigned k = 0; k < n; k++)
		run_subject(b, (enum subject)((i + k) % n));
}

/* How long the VMM's steps took by its own clock; medians. */
static void print_steps(const struct bench *b)
{
	static const char *const steps[] = {
		[CTL_T_CONFIG] = "config",
		[CTL_T_MEMORY] = "memory",
		[CTL_T_HYPERVISOR] = "hypervisor",
		[CTL_T_KERNEL] = "kernel",
		[CTL_T_DEVICES] = "devices",
		[CTL_T_VCPUS] = "vcpus",
		[CTL_T_TOTAL] = "total",
	};

	printf("{\"bench\":\"vmm_build_steps\",\"what\":\"vmm\",\"n\":%u", b->steps[0].n);
	for (unsigned i = 0; i < ARRAY_LEN(steps); i++)
		printf(",\"%s_us\":%.0f", steps[i], series_quantile(&b->steps[i], 0.5));
	printf("}\n");
}

static void print(struct bench *b)
{
	/* At real-time priority a woken thread gets a processor at once, without it perhaps
	 * not: figures of the two are never to be mixed up. */
	static const char *const names_of[][3] = {
		{"spawn_to_main", "spawn_to_first_exit", "spawn_to_process_end"},
		{"spawn_to_main_realtime", "spawn_to_first_exit_realtime",
			"spawn_to_process_end_realtime"},
	};
	const char *const *name = names_of[sched_getscheduler(0) != SCHED_OTHER];
	const struct series *x = b->first_exit;
	const struct ratio against_boot[RATIOS_MAX] = {{"ratio_to_floor", &x[FLOOR_BOOT]}};
	const struct ratio against_restore[RATIOS_MAX] = {{"ratio_to_floor", &x[FLOOR_RESTORE]}};
	const struct ratio vmm[RATIOS_MAX] = {
		{"ratio_to_floor", &x[FLOOR_BOOT], false, 1.25},
		{"times_faster_than_qemu", &x[QEMU_KERNEL], true, 20},
		{"times_faster_than_qemu_firmware", &x[QEMU_FIRMWARE], true, 20},
		{"times_faster_than_irqchip_first", &x[FLOOR_BOOT_LATE], true, 0},
	};
	const struct ratio vmm_end[RATIOS_MAX] = {
		{"ratio_to_floor", &b->end[FLOOR_BOOT]},
	};

	series_print(name[0], &x[FLOOR_NOTHING], NULL);
	series_print(name[1], &x[FLOOR_BOOT], NULL);
	series_print(name[1], &x[FLOOR_BOOT_LATE], against_boot);
	series_print(name[1], &x[VMM], vmm);
	print_steps(b);
	if (b->qemu) {
		series_print(name[1], &x[QEMU_KERNEL], against_boot);
		series_print(name[1], &x[QEMU_FIRMWARE], against_boot);
	}
	series_print(name[1], &x[FLOOR_RESTORE], NULL);
	series_print(name[1], &x[FLOOR_RESTORE_LATE], against_restore);
	series_print(name[2], &b->end[FLOOR_BOOT], NULL);
	series_print(name[2], &b->end[VMM], vmm_end);
	if (b->qemu)
		series_print(name[2], &b->end[QEMU_KERNEL], vmm_end);
}

int main(int argc, char **argv)
{
	static struct bench b = {.rounds = 200, .qemu_rounds = 30};
	int c;

	while ((c = getopt(argc, argv, "n:q:")) != -1) {
		if (c == 'n')
			b.rounds = (unsigned)atoi(optarg);
		else if (c == 'q')
			b.qemu_rounds = (unsigned)atoi(optarg);
		else
			return 2;
	}
	if (argc - optind < 2 || b.rounds < 1 || b.rounds > SERIES_MAX ||
		b.qemu_rounds > b.rounds) {
		fprintf(stderr,
			"usage: bench-spawn [-n ROUNDS] [-q QEMU-ROUNDS] FLOOR VMM [QEMU]\n");
		return 2;
	}
	b.floor = argv[optind];
	b.vmm = argv[optind + 1];
	b.qemu = argv[optind + 2];
	prepare(&b);
	for (unsigned i = 0; i < b.rounds; i++)
		run_round(&b, i);
	print(&b);
	return 0;
}
