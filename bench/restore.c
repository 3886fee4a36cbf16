// SPDX-License-Identifier: Apache-2.0
/*
 * Measures restores with a guest of a dozen bytes: spawn of the process → first I/O exit of the
 * restored guest, as this process sees it, of 256 MiB and of 4 GiB; the floor program and QEMU
 * microvm's template restore beside it; rollback in place against a restore; how long a VM stands
 * still for a snapshot. All in interleaved rounds, one child at a time.
 *
 * The guest of a snapshot spins on one jump. In the memory file that jump is then replaced by what
 * the restored guest shall do: its very next instruction is the exit that is waited for.
 *
 * usage: bench-restore [-n ROUNDS] [-q QEMU-ROUNDS] [-d DIRECTORY] FLOOR VMM [QEMU]
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "arch/layout.h"
#include "base/clock.h"
#include "base/fd.h"
#include "peer.h"
#include "proto/control.h"
#include "qemu.h"
#include "series.h"
#include "tiny.h"

enum {
	SMALL_MIB = 256,
	LARGE_MIB = 4096,
	POWER_OFF_VALUE = 5 << 2 | 1 << 5, /* SLP_TYP 5 and SLP_EN, ACPI 6.4 table 4.18 */
	DEBUG_PORT = 0xe9,
	DIRTY_PAGES = 64,
	QEMU_PATIENCE_MS = 20000,
	SETTLE_US = 300000, /* for a fresh guest to arrive at its jump */
	REST_NS = 5000000,  /* between two children */
	PAGE_BYTES = 4096,
};

/* What is measured; QEMU comes last, since not every round has it. */
enum subject {
	FLOOR,
	FLOOR_LATE,
	FLOOR_LARGE,
	VMM,
	VMM_LARGE,
	ROLLBACK,
	ROLLBACK_DIRTY,
	PAUSE,
	FLOOR_READ,
	QEMU,
	SUBJECTS,
};

static const char *const names[SUBJECTS] = {
	[FLOOR] = "floor_restore",
	[FLOOR_LATE] = "floor_restore_irqchip_first",
	[FLOOR_LARGE] = "floor_restore_4096_mib",
	[VMM] = "vmm_256_mib",
	[VMM_LARGE] = "vmm_4096_mib",
	[ROLLBACK] = "vmm_clean",
	[ROLLBACK_DIRTY] = "vmm_64_pages",
	[PAUSE] = "vmm",
	[FLOOR_READ] = "floor_state_read_and_copy",
	[QEMU] = "qemu_microvm_template",
};

/* The files of a snapshot, nameless. */
struct files {
	int state_fd, memory_fd;
	unsigned mib;
};

struct bench {
	const char *floor, *vmm, *directory;
	unsigned rounds, qemu_rounds;
	int kvm_fd, console_fd, kernel_fd;
	struct files floor_small, floor_large, small, large;
	struct peer rolled[2],
		source; /* live all the time, halted: ROLLBACK, ROLLBACK_DIRTY, PAUSE */
	int copy_fd;	/* for FLOOR_READ */
	struct qemu_template template;
	struct series us[SUBJECTS],
		running[2]; /* of VMM and VMM_LARGE: until it says CTL_RUNNING */
	struct series steps[CTL_TIMINGS];
};

/* ---- the floor */

/* Returns what the program said: for its mode "read" a duration in nanoseconds. */
static uint64_t run_floor(
	struct bench *b, const char *mode, const struct files *files, struct series *to)
{
	char mib[16];
	const char *argv[] = {b->floor, mode, mib, NULL};
	int fds[] = {b->kvm_fd, files->memory_fd, files->state_fd};
	uint64_t said = 0;
	struct peer p;

	snprintf(mib, sizeof(mib), "%u", files->mib);
	peer_start(&p, argv, fds, ARRAY_LEN(fds));
	if (recv(p.sock, &said, sizeof(said), 0) <= 0)
		die("the floor program failed (%s)", mode);
	if (to)
		series_add(to, peer_age_us(&p));
	if (peer_wait(&p) != 0)
		die("the floor program failed (%s)", mode);
	return said;
}

static void make_floor(struct bench *b, struct files *ret, unsigned mib)
{
	*ret = (struct files){peer_temporary(b->directory), peer_temporary(b->directory), mib};
	(void)run_floor(b, "save", ret, NULL);
	if (fsync(ret->memory_fd) < 0)
		die("memory file: %s", strerror(errno));
}

static void floor_round(struct bench *b, enum subject s)
{
	const char *mode = s == FLOOR_LATE ? "restore-irqchip-first" : "restore";

	(void)run_floor(b, mode, s == FLOOR_LARGE ? &b->floor_large : &b->floor_small, &b->us[s]);
}

/* What a snapshot cannot do without: to read the vCPU's state, and to write as many bytes as the
 * guest has made. */
static void floor_read_round(struct bench *b)
{
	uint64_t bytes = b->source.value[CTL_V_SNAPSHOT_MEMORY_BYTES];
	double read_us = (double)run_floor(b, "read", &b->floor_small, NULL) / 1000;
	char *from = malloc(bytes);
	uint64_t began;

	if (!from || ftruncate(b->copy_fd, 0) < 0)
		die("copy: %s", strerror(errno));
	memset(from, 1, bytes);
	began = clock_now_ns();
	must(fd_pwrite_full(b->copy_fd, from, bytes, 0), "copy");
	series_add(&b->us[FLOOR_READ], read_us + (double)(clock_now_ns() - began) / 1000);
	free(from);
}

/* ---- the VMM */

static void start_vmm(struct bench *b, struct peer *p, const struct files *snapshot)
{
	const char *argv[] = {b->vmm, "bench", NULL};
	struct peer_vm vm = {
		.kvm_fd = b->kvm_fd,
		.console_fd = b->console_fd,
		.kernel_fd = b->kernel_fd,
		.is_restore = snapshot->state_fd >= 0,
		.state_fd = snapshot->state_fd,
		.memory_fd = snapshot->memory_fd,
		.memory_bytes = (uint64_t)snapshot->mib << 20,
		.vcpus = 1,
		.cmdline = "",
	};

	peer_start(p, argv, NULL, 0);
	peer_configure(p, &vm);
	(void)peer_await(p, CTL_RUNNING);
}

static void boot_to_jump(struct bench *b, struct peer *p, unsigned mib)
{
	const struct files none = {-1, -1, mib};

	start_vmm(b, p, &none);
	usleep(SETTLE_US);
}

static void take_snapshot(struct bench *b, struct files *ret, unsigned mib)
{
	struct peer p;

	boot_to_jump(b, &p, mib);
	*ret = (struct files){peer_temporary(b->directory), peer_temporary(b->directory), mib};
	peer_snapshot(&p, ret->state_fd, ret->memory_fd);
	peer_kill(&p);
}

/* Gives a snapshot's guest something else to do. RAM below the hole lies in the file as it lies in
 * the guest. */
static void patch(int memory_fd, unsigned pages, bool is_halting)
{
	uint8_t code[TINY_PATCH_MAX], there[2] = {0};
	unsigned bytes = tiny_patch(code, pages, is_halting);

	must(fd_pread_full(memory_fd, there, sizeof(there), TINY_SPIN_GPA), "memory file");
	if (there[0] != 0xeb)
		die("the guest's jump is not where it should be in the memory file");
	must(fd_pwrite_full(memory_fd, code, bytes, TINY_SPIN_GPA), "memory file");
	if (fsync(memory_fd) < 0)
		die("memory file: %s", strerror(errno));
}

static void vmm_round(struct bench *b, enum subject s)
{
	struct peer p;

	start_vmm(b, &p, s == VMM ? &b->small : &b->large);
	series_add(&b->running[s - VMM], peer_age_us(&p));
	(void)peer_await(&p, CTL_END);
	series_add(&b->us[s], peer_age_us(&p));
	for (unsigned i = 0; s == VMM && i < CTL_TIMINGS; i++)
		series_add(&b->steps[i], (double)p.timing_us[i]);
	if (peer_wait(&p) != 0)
		die("the VMM ended with an error");
}

static void rollback_round(struct bench *b, enum subject s)
{
	uint64_t began = clock_now_ns();

	peer_roll_back(&b->rolled[s - ROLLBACK]);
	series_add(&b->us[s], (double)(clock_now_ns() - began) / 1000);
}

static void pause_round(struct bench *b)
{
	int state_fd = peer_temporary(b->directory), memory_fd = peer_temporary(b->directory);

	peer_snapshot(&b->source, state_fd, memory_fd);
	series_add(&b->us[PAUSE], (double)b->source.value[CTL_V_SNAPSHOT_PAUSE_US]);
	close(state_fd);
	close(memory_fd);
}

/* ---- QEMU; its guest's byte comes out of descriptor QEMU_FIRST_FD */

static void start_qemu(struct bench *b, struct qemu *q, bool is_restored, int out, int kernel)
{
	const char *options[] = {"-chardev", "file,id=byte,path=/dev/fd/6", "-device",
		"isa-debugcon,iobase=0xe9,chardev=byte", is_restored ? NULL : "-kernel",
		"/dev/fd/7", NULL};
	const int fds[] = {out, kernel};

	_Static_assert(QEMU_FIRST_FD == 6 && DEBUG_PORT == 0xe9, "as in the options");
	qemu_start(q, &b->template, is_restored, options, fds, is_restored ? 1 : 2);
}

static void qemu_round(struct bench *b)
{
	struct pollfd ready = {.events = POLLIN};
	int out[2], write_fd;
	struct qemu q;
	char byte;

	if (pipe2(out, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	write_fd = peer_fd(out[1], "pipe");
	start_qemu(b, &q, true, write_fd, -1);
	close(write_fd);
	ready.fd = out[0];
	if (poll(&ready, 1, QEMU_PATIENCE_MS) != 1 || read(out[0], &byte, 1) != 1)
		die("QEMU's restored guest did not come to its access");
	series_add(&b->us[QEMU], peer_age_us(&q.peer));
	close(out[0]);
	qemu_kill(&q);
}

static void make_template(struct bench *b, const char *program)
{
	uint8_t code[TINY_CODE_MAX];
	unsigned bytes = tiny_spin_code(code, DEBUG_PORT, '!');
	int kernel = peer_fd(must(tiny_kernel(code, bytes), "kernel"), "kernel");
	int out = peer_open("/dev/null", O_RDWR);
	struct qemu q;

	b->template = (struct qemu_template){program, PEER_QEMU_MACHINE, SMALL_MIB, .ram_fd = -1};
	qemu_template_init(&b->template, b->directory);
	start_qemu(b, &q, false, out, kernel);
	usleep(SETTLE_US);
	qemu_save(&q);
	patch(b->template.ram_fd, 0, false);
	close(kernel);
	close(out);
}

/* ---- all */

/* A VM that lives on, restored from a snapshot whose guest dirties some pages and halts. */
static void start_rolled(struct bench *b, struct peer *p, unsigned pages)
{
	struct files halting;

	take_snapshot(b, &halting, SMALL_MIB);
	patch(halting.memory_fd, pages, true);
	start_vmm(b, p, &halting);
	usleep(SETTLE_US);
	if (peer_pages_written(p) < pages)
		die("the restored guest has not written its %u pages", pages);
}

static void prepare(struct bench *b, const char *qemu)
{
	uint8_t code[TINY_CODE_MAX];
	unsigned bytes = tiny_spin_code(code, LAYOUT_SLEEP_CONTROL_PORT, POWER_OFF_VALUE);

	b->kvm_fd = peer_open("/dev/kvm", O_RDWR);
	b->console_fd = peer_console();
	b->kernel_fd = peer_fd(must(tiny_kernel(code, bytes), "kernel"), "kernel");
	b->copy_fd = peer_temporary(b->directory);
	for (unsigned s = 0; s < SUBJECTS; s++)
		b->us[s].what = names[s];
	b->running[0].what = names[VMM];
	b->running[1].what = names[VMM_LARGE];
	make_floor(b, &b->floor_small, SMALL_MIB);
	make_floor(b, &b->floor_large, LARGE_MIB);
	take_snapshot(b, &b->small, SMALL_MIB);
	patch(b->small.memory_fd, 0, false);
	take_snapshot(b, &b->large, LARGE_MIB);
	patch(b->large.memory_fd, 0, false);
	start_rolled(b, &b->rolled[0], 0);
	start_rolled(b, &b->rolled[1], DIRTY_PAGES);
	if (qemu)
		make_template(b, qemu);
}

/* The guest whose snapshots are timed halts: one that spins would take a processor from all. */
static void start_source(struct bench *b)
{
	uint8_t code[TINY_CODE_MAX];
	unsigned bytes = tiny_halt_code(code, DEBUG_PORT, '!');

	close(b->kernel_fd);
	b->kernel_fd = peer_fd(must(tiny_kernel(code, bytes), "kernel"), "kernel");
	boot_to_jump(b, &b->source, SMALL_MIB);
	pause_round(b); /* says how many bytes FLOOR_READ has to copy */
	b->us[PAUSE].n = 0;
}

static void run_subject(struct bench *b, enum subject s)
{
	const struct timespec rest = {.tv_nsec = REST_NS};

	/* A VM that ended a moment ago still keeps the kernel busy. */
	nanosleep(&rest, NULL);
	if (s == FLOOR || s == FLOOR_LATE || s == FLOOR_LARGE)
		floor_round(b, s);
	else if (s == VMM || s == VMM_LARGE)
		vmm_round(b, s);
	else if (s == ROLLBACK || s == ROLLBACK_DIRTY)
		rollback_round(b, s);
	else if (s == PAUSE)
		pause_round(b);
	else if (s == FLOOR_READ)
		floor_read_round(b);
	else
		qemu_round(b);
}

/* Every round begins with another one; QEMU's rounds are spread evenly over all. */
static void run_round(struct bench *b, unsigned i)
{
	bool has_qemu = b->template.qemu &&
			i * b->qemu_rounds / b->rounds != (i + 1) * b->qemu_rounds / b->rounds;
	unsigned n = has_qemu ? SUBJECTS : QEMU;

	for (unsigned k = 0; k < n; k++)
		run_subject(b, (enum subject)((i + k) % n));
}

/* ---- figures */

/* Medians of the VMM's steps by its own clock. */
static void print_steps(const struct bench *b)
{
	static const char *const steps[] = {
		[CTL_T_CONFIG] = "config",
		[CTL_T_MEMORY] = "memory",
		[CTL_T_HYPERVISOR] = "hypervisor",
		[CTL_T_KERNEL] = NULL,
		[CTL_T_DEVICES] = "devices",
		[CTL_T_VCPUS] = "vcpus",
		[CTL_T_TOTAL] = "total",
		[CTL_T_STATE] = "state",
		[CTL_T_RAM_COPY] = "ram_copy",
		[CTL_T_IRQCHIP] = "irqchip",
		[CTL_T_VCPU_STATE] = "vcpu_state",
		[CTL_T_CLOCK] = "clock",
		[CTL_T_MMIO] = "mmio",
		[CTL_T_LISTENERS] = "listeners",
	};

	printf("{\"bench\":\"vmm_restore_steps\",\"what\":\"%s\",\"n\":%u", names[VMM],
		b->steps[0].n);
	for (unsigned i = 0; i < ARRAY_LEN(steps); i++)
		if (steps[i])
			printf(",\"%s_us\":%.0f", steps[i], series_quantile(&b->steps[i], 0.5));
	printf("}\n");
}

static unsigned long resident_kib(const struct files *f)
{
	size_t bytes = (size_t)f->mib << 20, pages = bytes / PAGE_BYTES;
	void *p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, f->memory_fd, 0);
	unsigned char *is_in = malloc(pages);
	unsigned long n = 0;

	if (p == MAP_FAILED || !is_in || mincore(p, bytes, is_in) < 0)
		die("what is in memory of the memory file: %s", strerror(errno));
	for (size_t i = 0; i < pages; i++)
		n += is_in[i] & 1;
	munmap(p, bytes);
	free(is_in);
	return n * (PAGE_BYTES / 1024);
}

/* How much of the memory file a restore reads, by what is in the page cache afterwards. */
static void print_reads(struct bench *b)
{
	unsigned long before;

	if (posix_fadvise(b->large.memory_fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		die("drop the memory file from the page cache");
	before = resident_kib(&b->large);
	vmm_round(b, VMM_LARGE);
	printf("{\"bench\":\"restore_reads\",\"what\":\"%s\",\"n\":1,\"file_kib\":%lu,"
	       "\"in_page_cache_before_kib\":%lu,\"after_kib\":%lu}\n",
		names[VMM_LARGE], (unsigned long)b->large.mib << 10, before,
		resident_kib(&b->large));
}

static void print(struct bench *b)
{
	/* Figures at real-time priority are never to be mixed up with others; see spawn.c. */
	bool is_realtime = sched_getscheduler(0) != SCHED_OTHER;
	const char *first =
		is_realtime ? "restore_to_first_exit_realtime" : "restore_to_first_exit";
	const char *running = is_realtime ? "restore_to_running_realtime" : "restore_to_running";
	const char *rollback = is_realtime ? "rollback_realtime" : "rollback";
	const char *pause = is_realtime ? "snapshot_pause_realtime" : "snapshot_pause";
	const struct series *x = b->us;
	const struct ratio late[RATIOS_MAX] = {{"ratio_to_floor", &x[FLOOR]}};
	const struct ratio small[RATIOS_MAX] = {
		{"ratio_to_floor", &x[FLOOR], false, 1.25},
		{"times_faster_than_qemu", &x[QEMU], true, 30},
		{"times_faster_than_irqchip_first", &x[FLOOR_LATE], true, 5},
	};
	const struct ratio large[RATIOS_MAX] = {
		{"ratio_to_256_mib", &x[VMM], false, 1.10},
		{"ratio_to_floor", &x[FLOOR_LARGE]},
	};
	const struct ratio back[RATIOS_MAX] = {
		{"times_faster_than_restore", &b->running[0], true, 3}};
	const struct ratio rest[RATIOS_MAX] = {{"ratio_to_floor", &x[FLOOR_READ], false, 1.5}};

	series_print(first, &x[FLOOR], NULL);
	series_print(first, &x[FLOOR_LATE], late);
	if (x[QEMU].n)
		series_print(first, &x[QEMU], late);
	series_print(first, &x[VMM], small);
	print_steps(b);
	series_print(first, &x[FLOOR_LARGE], late);
	series_print(first, &x[VMM_LARGE], large);
	series_print(running, &b->running[0], NULL);
	series_print(rollback, &x[ROLLBACK], back);
	series_print(rollback, &x[ROLLBACK_DIRTY], back);
	series_print(pause, &x[FLOOR_READ], NULL);
	series_print(pause, &x[PAUSE], rest);
	print_reads(b);
}

static bool parse(struct bench *b, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "n:q:d:")) != -1) {
		if (c == 'n')
			b->rounds = (unsigned)atoi(optarg);
		else if (c == 'q')
			b->qemu_rounds = (unsigned)atoi(optarg);
		else if (c == 'd')
			b->directory = optarg;
		else
			return false;
	}
	return argc - optind >= 2 && b->rounds >= 1 && b->rounds <= SERIES_MAX &&
	       b->qemu_rounds <= b->rounds;
}

int main(int argc, char **argv)
{
	static struct bench b = {.rounds = 200, .qemu_rounds = 30, .directory = "/tmp"};

	if (!parse(&b, argc, argv)) {
		fprintf(stderr, "usage: bench-restore [-n ROUNDS] [-q QEMU-ROUNDS] [-d DIRECTORY] "
				"FLOOR VMM [QEMU]\n");
		return 2;
	}
	b.floor = argv[optind];
	b.vmm = argv[optind + 1];
	prepare(&b, argv[optind + 2]);
	start_source(&b);
	for (unsigned i = 0; i < b.rounds; i++)
		run_round(&b, i);
	print(&b);
	peer_kill(&b.rolled[0]);
	peer_kill(&b.rolled[1]);
	peer_kill(&b.source);
	return 0;
}
