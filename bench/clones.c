// SPDX-License-Identifier: Apache-2.0
/*
 * Measures snapshots of a real guest through the public library, on a host whose KVM runs Linux:
 * restore → a command's exit status, against a cold boot and QEMU microvm's template restore with
 * the same kernel, initramfs and layer; a small guest against a large one; a baked start with its
 * write set populated against one that is lazy; many clones of one
 * snapshot; roll back against restore; for how long a snapshot stops its VM; what an idle clone
 * costs. Subjects of a comparison take turns.
 *
 * usage: bench-clones [-n ROUNDS] [-c CLONES] DIRECTORY IMAGE KERNEL INITRAMFS [QEMU]
 *
 * DIRECTORY takes the image store and the snapshots: best a tmpfs with 4 GiB. INITRAMFS is for QEMU
 * and may be several files joined by commas; the library finds its own.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "dirt.h"
#include "peer.h"
#include "qemu_guest.h"
#include "series.h"
#include "supermachine.h"
#include "vms.h"

enum {
	SMALL_MIB = 256,
	LARGE_MIB = 4096,
	CLONE_MIB = 64,
	CLONES_MAX = 1000,
	WORKERS_MAX = 16,
	IDLE_US = 3000000,
	IDLE_GOAL_KIB = 128,
	PATH_BYTES = 512,
};

enum subject {
	RESTORE,
	RESTORE_LARGE,
	BAKED,
	BAKED_POPULATED,
	COLD,
	QEMU,
	EXEC_SUBJECTS,
	ROLLBACK_IDLE = EXEC_SUBJECTS,
	ROLLBACK,
	RESTORE_ONLY,
	PAUSE,
	PAUSE_COPY,
	PAUSE_DIFF,
	PAUSE_DIFF_COPY,
	SUBJECTS,
};

static const char *const names[SUBJECTS] = {
	[RESTORE] = "restore_256_mib",
	[RESTORE_LARGE] = "restore_4096_mib",
	[BAKED] = "baked_256_mib",
	[BAKED_POPULATED] = "baked_256_mib_write_set_populated",
	[COLD] = "cold_boot",
	[QEMU] = "qemu_microvm_template",
	[ROLLBACK_IDLE] = "reset_of_idle",
	[ROLLBACK] = "reset_after_exec",
	[RESTORE_ONLY] = "restore",
	[PAUSE] = "full",
	[PAUSE_COPY] = "copy_of_full",
	[PAUSE_DIFF] = "differential",
	[PAUSE_DIFF_COPY] = "copy_of_differential",
};

/* Where a restore's time goes, by the library's account. */
enum step {
	STEP_SPAWN,
	STEP_VMM,
	STEP_AGENT,
	STEP_GUEST,
	STEP_TOTAL,
	STEP_EXEC, /* after them: the command */
	STEPS,
};

struct bench {
	const char *directory, *kernel, *qemu;
	unsigned rounds, n_clones;
	unsigned n_started, n_failed; /* of all clones */
	char store[PATH_BYTES], small[PATH_BYTES], large[PATH_BYTES], clone[PATH_BYTES];
	struct vms vms;
	struct qemu_guest guest;
	struct series us[SUBJECTS], steps[STEPS], qemu_steps[QEMU_GUEST_STEPS];
	unsigned long dirty_kib[SUBJECTS]; /* of guest RAM, before a reset */
};

static double since_us(uint64_t began_ns)
{
	return (double)(clock_now_ns() - began_ns) / 1000;
}

/* ---- restore → exec → status */

static void add_steps(struct bench *b, const struct sm_vm *vm)
{
	struct sm_start_timings t;

	sm_vm_timings(vm, &t);
	series_add(&b->steps[STEP_SPAWN], (double)t.spawn_us);
	series_add(&b->steps[STEP_VMM], (double)t.vmm_us);
	series_add(&b->steps[STEP_AGENT], (double)t.agent_us);
	series_add(&b->steps[STEP_GUEST], (double)t.resume_guest_us);
	series_add(&b->steps[STEP_TOTAL], (double)t.total_us);
}

static struct sm_vm *start_subject(struct bench *b, enum subject s)
{
	if (s == COLD)
		return vms_boot(&b->vms, SMALL_MIB);
	if (s == BAKED || s == BAKED_POPULATED)
		return vms_start_baked(&b->vms, SMALL_MIB, s == BAKED_POPULATED);
	return vms_restore(&b->vms, s == RESTORE ? b->small : b->large);
}

static void exec_round(struct bench *b, enum subject s, bool is_counted)
{
	uint64_t began = clock_now_ns();
	struct sm_vm *vm = start_subject(b, s);
	double started_us = since_us(began), us;

	vms_true(vm);
	us = since_us(began);
	if (is_counted)
		series_add(&b->us[s], us);
	if (is_counted && s == RESTORE) {
		add_steps(b, vm);
		series_add(&b->steps[STEP_EXEC], us - started_us);
	}
	sm_vm_close(vm);
}

static void qemu_round(struct bench *b, bool is_counted)
{
	double at_us[QEMU_GUEST_STEPS], before = 0;

	qemu_guest_round(&b->guest, at_us);
	for (unsigned i = 0; is_counted && i < QEMU_GUEST_STEPS; i++) {
		series_add(&b->qemu_steps[i], at_us[i] - before);
		before = at_us[i];
	}
	if (is_counted)
		series_add(&b->us[QEMU], before);
}

/* One round of each that is not counted comes first: it fills the page cache. Every round begins
 * with another subject, since each leaves some work to the one after it. */
static void measure_exec(struct bench *b)
{
	unsigned n = b->qemu ? EXEC_SUBJECTS : QEMU;

	for (unsigned i = 0; i <= b->rounds; i++)
		for (unsigned k = 0; k < n; k++) {
			enum subject s = (enum subject)((i + k) % n);

			if (s == QEMU)
				qemu_round(b, i > 0);
			else if (s != COLD || i <= MAX(b->rounds / 4, 1u)) /* it takes long */
				exec_round(b, s, i > 0);
		}
}

static void print_steps(
	const char *what, const struct series *steps, const char *const *step_names, unsigned n)
{
	printf("{\"bench\":\"restore_steps\",\"what\":\"%s\",\"n\":%u", what, steps[0].n);
	for (unsigned i = 0; i < n; i++)
		printf(",\"%s_us\":%.0f", step_names[i], series_quantile(&steps[i], 0.5));
	printf("}\n");
	fflush(stdout);
}

static void print_exec(const struct bench *b)
{
	static const char *const steps[STEPS] = {
		[STEP_SPAWN] = "spawn",
		[STEP_VMM] = "vmm",
		[STEP_AGENT] = "agent",
		[STEP_GUEST] = "of_it_in_guest",
		[STEP_TOTAL] = "total",
		[STEP_EXEC] = "exec",
	};
	static const char *const qemu_steps[QEMU_GUEST_STEPS] = {
		[QEMU_GUEST_RESTORED] = "restored",
		[QEMU_GUEST_RESUMED] = "agent",
		[QEMU_GUEST_EXECUTED] = "exec",
	};
	const struct series *x = b->us;
	const struct ratio against[RATIOS_MAX] = {
		{"ratio_to_qemu", &x[QEMU], false, 0.25},
		{"ratio_to_cold_boot", &x[COLD], false, 0},
	};
	const struct ratio large[RATIOS_MAX] = {{"ratio_to_256_mib", &x[RESTORE], false, 1.10}};
	const struct ratio populated[RATIOS_MAX] = {{"ratio_to_lazy", &x[BAKED], false, 1.0}};

	if (b->qemu)
		series_print("start_to_exec_status", &x[QEMU], NULL);
	series_print("start_to_exec_status", &x[COLD], NULL);
	series_print("start_to_exec_status", &x[RESTORE], against);
	series_print("start_to_exec_status", &x[RESTORE_LARGE], large);
	series_print("start_to_exec_status", &x[BAKED], against);
	series_print("start_to_exec_status", &x[BAKED_POPULATED], populated);
	print_steps(names[RESTORE], b->steps, steps, STEPS);
	if (b->qemu)
		print_steps(names[QEMU], b->qemu_steps, qemu_steps, QEMU_GUEST_STEPS);
}

/* ---- many clones of one snapshot, all alive at once */

struct fleet {
	const struct bench *bench;
	struct sm_vm **vms;
	unsigned n;
	atomic_uint next, n_failed;
};

static void *work(void *context)
{
	struct fleet *f = context;
	unsigned i;

	while ((i = atomic_fetch_add(&f->next, 1)) < f->n) {
		f->vms[i] = vms_try_restore(&f->bench->vms, f->bench->clone);
		if (!f->vms[i] || !vms_try_true(f->vms[i]))
			atomic_fetch_add(&f->n_failed, 1);
	}
	return NULL;
}

/* Two for each processor, since each waits now and then. */
static unsigned count_workers(void)
{
	long n = 2 * sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 || n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

/* Wall time until each of n clones has answered a command. */
static double start_fleet(struct fleet *f)
{
	unsigned n_workers = MIN(f->n, count_workers());
	uint64_t began = clock_now_ns();
	pthread_t workers[WORKERS_MAX];

	for (unsigned i = 0; i < n_workers; i++)
		if (pthread_create(&workers[i], NULL, work, f) != 0)
			die("cannot start a thread");
	for (unsigned i = 0; i < n_workers; i++)
		pthread_join(workers[i], NULL);
	return since_us(began);
}

static void print_idle(const struct fleet *f)
{
	unsigned long own = 0, most = 0, guest = 0;

	usleep(IDLE_US);
	if (f->n_failed)
		return;
	for (unsigned i = 0; i < f->n; i++) {
		struct dirt d = dirt_of(sm_vm_pid(f->vms[i]));

		own += d.own_dirty_kib;
		most = MAX(most, d.own_dirty_kib);
		guest += d.ram_dirty_kib;
	}
	printf("{\"bench\":\"idle_clone_private_dirty\",\"what\":\"vmm\",\"n\":%u,\"own_kib\":%lu,"
	       "\"own_most_kib\":%lu,\"guest_touched_kib\":%lu,\"goal_kib\":%d,\"met\":%s}\n",
		f->n, own / f->n, most, guest / f->n, IDLE_GOAL_KIB,
		most <= IDLE_GOAL_KIB ? "true" : "false");
	fflush(stdout);
}

static double fleet_round(struct bench *b, unsigned n, bool is_idle_wanted)
{
	struct fleet f = {.bench = b, .vms = calloc(n, sizeof(f.vms[0])), .n = n};
	double us;

	if (!f.vms)
		die("no memory");
	us = start_fleet(&f);
	b->n_started += n;
	b->n_failed += f.n_failed;
	if (is_idle_wanted)
		print_idle(&f);
	for (unsigned i = 0; i < n; i++)
		sm_vm_close(f.vms[i]);
	free(f.vms);
	return us;
}

static void measure_clones(struct bench *b)
{
	static struct series one, ten, all;
	const struct ratio of_ten[RATIOS_MAX] = {{"ratio_to_one", &one, false, 0}};
	const struct ratio of_all[RATIOS_MAX] = {
		{"ratio_to_one", &one, false, b->n_clones == 100 ? 12 : 0}};
	char name[32];

	snprintf(name, sizeof(name), "%u", b->n_clones);
	one.what = "1";
	ten.what = "10";
	all.what = name;
	(void)fleet_round(b, 1, false);
	for (unsigned i = 0; i < MAX(b->rounds / 5, 1u); i++) {
		for (unsigned k = 0; k < 5; k++)
			series_add(&one, fleet_round(b, 1, false));
		series_add(&ten, fleet_round(b, 10, false));
		series_add(&all, fleet_round(b, b->n_clones, i == 0));
	}
	series_print("clones_to_exec_status", &one, NULL);
	series_print("clones_to_exec_status", &ten, of_ten);
	series_print("clones_to_exec_status", &all, of_all);
	printf("{\"bench\":\"clones_failed\",\"what\":\"vmm\",\"n\":%u,\"failed\":%u}\n",
		b->n_started, b->n_failed);
	fflush(stdout);
}

/* ---- roll back */

static void reset_round(struct bench *b, struct sm_vm *vm, enum subject s)
{
	struct sm_error err;
	uint64_t began;

	if (s == ROLLBACK)
		vms_true(vm);
	b->dirty_kib[s] = dirt_of(sm_vm_pid(vm)).ram_dirty_kib;
	began = clock_now_ns();
	vms_check(sm_vm_reset(vm, &err), &err, "reset");
	series_add(&b->us[s], since_us(began));
}

static void measure_rollback(struct bench *b)
{
	const struct ratio ratios[RATIOS_MAX] = {
		{"times_faster_than_restore", &b->us[RESTORE_ONLY], true, 3}};
	struct sm_vm *vm = vms_restore(&b->vms, b->small), *other;
	uint64_t began;

	for (unsigned i = 0; i < b->rounds; i++) {
		reset_round(b, vm, ROLLBACK_IDLE);
		reset_round(b, vm, ROLLBACK);
		began = clock_now_ns();
		other = vms_restore(&b->vms, b->small);
		series_add(&b->us[RESTORE_ONLY], since_us(began));
		sm_vm_close(other);
	}
	vms_true(vm); /* it is still good for something */
	sm_vm_close(vm);
	series_print("rollback", &b->us[RESTORE_ONLY], NULL);
	series_print("rollback", &b->us[ROLLBACK_IDLE], ratios);
	series_print("rollback", &b->us[ROLLBACK], ratios);
	for (unsigned s = ROLLBACK_IDLE; s <= ROLLBACK; s++)
		printf("{\"bench\":\"rollback_dirty\",\"what\":\"%s\",\"n\":1,\"guest_kib\":%lu}\n",
			names[s], b->dirty_kib[s]);
	fflush(stdout);
}

/* ---- for how long a snapshot stops its VM */

struct taken {
	uint64_t pause_us, bytes;
};

static void keep(const struct sm_snapshot_info *info, void *context)
{
	*(struct taken *)context =
		(struct taken){info->pause_us, info->memory_data_bytes + info->disk_data_bytes};
}

/* The reference: as many bytes written to a file of the same file system. */
static double copy_us(const struct bench *b, uint64_t bytes)
{
	int fd = peer_temporary(b->directory);
	char *from = malloc(bytes + 1);
	uint64_t began;
	double us;

	if (!from)
		die("no memory");
	memset(from, 1, bytes);
	began = clock_now_ns();
	must(fd_pwrite_full(fd, from, bytes, 0), "copy");
	us = since_us(began);
	free(from);
	close(fd);
	return us;
}

static uint64_t pause_round(struct bench *b, struct sm_vm *vm, enum subject s, const char *base)
{
	char dir[PATH_BYTES + 8];
	struct taken t = {0};
	struct sm_error err;

	snprintf(dir, sizeof(dir), "%s/taken", b->directory);
	vms_true(vm);
	vms_snapshot(vm, dir, base);
	vms_check(sm_snapshot_info(dir, keep, &t, &err), &err, dir);
	vms_remove_tree(dir);
	series_add(&b->us[s], (double)t.pause_us);
	series_add(&b->us[s + 1], copy_us(b, t.bytes));
	return t.bytes;
}

static void measure_pause(struct bench *b)
{
	const struct ratio full[RATIOS_MAX] = {{"ratio_to_copy", &b->us[PAUSE_COPY], false, 1.5}};
	const struct ratio diff[RATIOS_MAX] = {
		{"ratio_to_copy", &b->us[PAUSE_DIFF_COPY], false, 1.5}};
	struct sm_vm *booted = vms_boot(&b->vms, SMALL_MIB),
		     *restored = vms_restore(&b->vms, b->small);
	uint64_t bytes = 0, diff_bytes = 0;

	for (unsigned i = 0; i < b->rounds; i++) {
		bytes = pause_round(b, booted, PAUSE, NULL);
		diff_bytes = pause_round(b, restored, PAUSE_DIFF, b->small);
	}
	sm_vm_close(booted);
	sm_vm_close(restored);
	series_print("snapshot_pause", &b->us[PAUSE_COPY], NULL);
	series_print("snapshot_pause", &b->us[PAUSE], full);
	series_print("snapshot_pause", &b->us[PAUSE_DIFF_COPY], NULL);
	series_print("snapshot_pause", &b->us[PAUSE_DIFF], diff);
	printf("{\"bench\":\"snapshot_bytes\",\"what\":\"vmm\",\"n\":1,\"full_kib\":%llu,"
	       "\"differential_kib\":%llu}\n",
		(unsigned long long)bytes >> 10, (unsigned long long)diff_bytes >> 10);
	fflush(stdout);
}

/* ---- all */

static void take(struct bench *b, char path[PATH_BYTES], const char *name, unsigned mib)
{
	snprintf(path, PATH_BYTES, "%s/%s", b->directory, name);
	vms_take(&b->vms, mib, path);
}

static void prepare(struct bench *b, const char *image, const char *initramfs)
{
	for (unsigned s = 0; s < SUBJECTS; s++)
		b->us[s].what = names[s];
	snprintf(b->store, sizeof(b->store), "%s/store", b->directory);
	vms_open(&b->vms, b->store, image, b->kernel);
	take(b, b->small, "small", SMALL_MIB);
	take(b, b->large, "large", LARGE_MIB);
	take(b, b->clone, "clone", CLONE_MIB);
	if (b->qemu)
		qemu_guest_prepare(&b->guest, b->qemu, b->directory, b->store, b->kernel, initramfs,
			SMALL_MIB);
}

static bool parse(struct bench *b, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "n:c:")) != -1) {
		if (c == 'n')
			b->rounds = (unsigned)atoi(optarg);
		else if (c == 'c')
			b->n_clones = (unsigned)atoi(optarg);
		else
			return false;
	}
	return argc - optind >= 4 && b->rounds >= 1 && b->rounds <= SERIES_MAX &&
	       b->n_clones >= 1 && b->n_clones <= CLONES_MAX;
}

int main(int argc, char **argv)
{
	static struct bench b = {.rounds = 10, .n_clones = 100};

	if (!parse(&b, argc, argv)) {
		fprintf(stderr,
			"usage: bench-clones [-n ROUNDS] [-c CLONES] DIRECTORY IMAGE KERNEL "
			"INITRAMFS [QEMU]\n");
		return 2;
	}
	b.directory = argv[optind];
	b.kernel = argv[optind + 2];
	b.qemu = argv[optind + 4];
	prepare(&b, argv[optind + 1], argv[optind + 3]);
	measure_exec(&b);
	print_exec(&b);
	measure_rollback(&b);
	measure_pause(&b);
	measure_clones(&b);
	sm_image_close(b.vms.image);
	return 0;
}
