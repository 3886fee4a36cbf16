// SPDX-License-Identifier: Apache-2.0
/*
 * The floor: the bare system calls of a boot or of a restore, from exec to the guest's first I/O
 * exit, which it reports by one byte. No VMM on the same host can be faster, so a VMM is measured
 * in multiples of it. One thread, no device, no message read: everything is inherited.
 *
 * usage: floor nothing|boot|boot-irqchip-first|save|restore|restore-irqchip-first|read [MIB]
 *
 * Descriptors: 3 socket, 4 /dev/kvm, 5 memory file, 6 state file (the last two: save and restore).
 * MIB of guest memory, 256 by default. "read" restores, then reads all state again and reports how
 * many nanoseconds that took. "irqchip first" is the order in which many VMMs do it, with the whole
 * interrupt controller and the timer of a PC; from Linux 6.18 on the memory slot after them waits
 * for a grace period.
 */
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "floor_state.h"

enum { SOCKET_FD = 3, KVM_FD, MEMORY_FD, STATE_FD };

enum {
	MEMORY_MIB = 256,
	TSS_ADDRESS = 0xfffbd000, /* below the firmware's place, as KVM API §4.41 asks */
	PML4 = 0x9000,
	PDPT = 0xa000,
	PD = 0xb000,
	CODE = 0x100000,
	PORT = 0x600,
};

struct machine {
	int vm, vcpu;
	uint8_t *memory;
	size_t memory_bytes;
	struct kvm_run *run;
	size_t run_bytes;
};

static const size_t LOW_MAX = 3ul << 30, HIGH = 4ul << 30;

/* Writes to a port again and again: the first time is the exit that is waited for, the second one
 * is that of a restored guest. */
static const uint8_t guest[] = {
	0x66, 0xba, PORT & 0xff, PORT >> 8, /* mov dx, PORT */
	0xb0, 0x34,			    /* mov al, 0x34 */
	0xee,				    /* 1: out dx, al */
	0xeb, 0xfd,			    /* jmp 1b */
};

/* Memory has a hole below 4 GiB, where a PC has its devices. */
static void set_slots(const struct machine *m)
{
	size_t low = m->memory_bytes < LOW_MAX ? m->memory_bytes : LOW_MAX;
	struct kvm_userspace_memory_region slots[] = {
		{.memory_size = low, .userspace_addr = (uintptr_t)m->memory},
		{.slot = 1,
			.guest_phys_addr = HIGH,
			.memory_size = m->memory_bytes - low,
			.userspace_addr = (uintptr_t)m->memory + low},
	};

	floor_must(ioctl(m->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS), "KVM_SET_TSS_ADDR");
	floor_must(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &slots[0]), "memory slot");
	if (slots[1].memory_size)
		floor_must(ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &slots[1]), "memory slot");
}

static void set_split_irqchip(const struct machine *m)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP};

	floor_must(ioctl(m->vm, KVM_ENABLE_CAP, &split), "split irqchip");
}

static void set_whole_irqchip(const struct machine *m)
{
	struct kvm_pit_config pit = {0};

	floor_must(ioctl(m->vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	floor_must(ioctl(m->vm, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
}

static struct machine map_memory(size_t bytes, int fd, int how)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, how, fd, 0);

	floor_must(p == MAP_FAILED ? -1 : 0, "memory");
	return (struct machine){.memory = p, .memory_bytes = bytes};
}

static void create_machine(struct machine *m, bool is_irqchip_first)
{
	m->vm = floor_must(ioctl(KVM_FD, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	if (is_irqchip_first) {
		set_whole_irqchip(m);
		set_slots(m);
	} else {
		set_slots(m);
		set_split_irqchip(m);
	}
	m->vcpu = floor_must(ioctl(m->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	m->run_bytes = (size_t)floor_must(
		ioctl(KVM_FD, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	m->run = mmap(NULL, m->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	floor_must(m->run == MAP_FAILED ? -1 : 0, "vCPU's page");
}

/* The first GiB one to one, and the code (Intel SDM vol. 3 §4.5). */
static void load_guest(const struct machine *m)
{
	enum { PRESENT_WRITABLE = 3, LARGE = 1 << 7, LARGE_SHIFT = 21 };
	uint64_t *pd = (uint64_t *)(m->memory + PD);

	*(uint64_t *)(m->memory + PML4) = PDPT | PRESENT_WRITABLE;
	*(uint64_t *)(m->memory + PDPT) = PD | PRESENT_WRITABLE;
	for (uint64_t i = 0; i < 512; i++)
		pd[i] = i << LARGE_SHIFT | PRESENT_WRITABLE | LARGE;
	memcpy(m->memory + CODE, guest, sizeof(guest));
}

/* 64-bit mode, flat; through the shared page, which costs no call. */
static void set_registers(const struct machine *m)
{
	struct kvm_segment code = {
		.limit = ~0u, .selector = 0x10, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
	struct kvm_segment data = {
		.limit = ~0u, .selector = 0x18, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
	struct kvm_segment task = {.limit = 0x67, .selector = 0x20, .type = 11, .present = 1};

	m->run->s.regs.regs = (struct kvm_regs){.rip = CODE, .rflags = 2};
	m->run->s.regs.sregs = (struct kvm_sregs){
		.cs = code,
		.ds = data,
		.es = data,
		.fs = data,
		.gs = data,
		.ss = data,
		.tr = task,
		.ldt = {.unusable = 1},
		.cr0 = 0x80010033, /* PG WP NE ET MP PE */
		.cr3 = PML4,
		.cr4 = 1 << 5, /* PAE */
		.efer = 0x500, /* LMA LME */
		.apic_base = 0xfee00900,
	};
	m->run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
}

static void set_cpu(const struct machine *m)
{
	static struct floor_cpuid cpuid = {.head.nent = FLOOR_CPUID_MAX};
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.head.nmsrs = 2,
		.entries = {{.index = 0x1a0, .data = 1},      /* IA32_MISC_ENABLE: fast strings */
			{.index = 0x2ff, .data = 0xc00 | 6}}, /* IA32_MTRR_DEF_TYPE */
	};

	floor_must(ioctl(KVM_FD, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
	floor_must(ioctl(m->vcpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
	floor_must(ioctl(m->vcpu, KVM_SET_MSRS, &msrs) == 2 ? 0 : -1, "KVM_SET_MSRS");
}

static void run_to_exit(const struct machine *m)
{
	floor_must(ioctl(m->vcpu, KVM_RUN, 0), "KVM_RUN");
	if (m->run->exit_reason != KVM_EXIT_IO || m->run->io.port != PORT)
		floor_must(-1, "the guest left for another reason than its port access");
}

static void report(void)
{
	floor_must((int)send(SOCKET_FD, "!", 1, MSG_NOSIGNAL), "report");
}

static void boot(size_t bytes, bool is_irqchip_first)
{
	struct machine m = map_memory(bytes, -1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);

	create_machine(&m, is_irqchip_first);
	set_cpu(&m);
	load_guest(&m);
	set_registers(&m);
	run_to_exit(&m);
	report();
}

/* Leaves a guest that stands behind its first port access in the two files. */
static void save(size_t bytes)
{
	static struct floor_state state;
	struct machine m;

	floor_must(ftruncate(MEMORY_FD, (off_t)bytes), "length of the memory file");
	m = map_memory(bytes, MEMORY_FD, MAP_SHARED);
	create_machine(&m, false);
	set_cpu(&m);
	load_guest(&m);
	set_registers(&m);
	run_to_exit(&m);
	m.run->immediate_exit = 1; /* completes the access, runs nothing */
	(void)ioctl(m.vcpu, KVM_RUN, 0);
	floor_state_save(KVM_FD, m.vm, m.vcpu, &state);
	if (pwrite(STATE_FD, &state, sizeof(state), 0) != sizeof(state))
		floor_must(-1, "write the state");
	report();
}

static void restore(size_t bytes, bool is_irqchip_first)
{
	static struct floor_state state;
	struct machine m = map_memory(bytes, MEMORY_FD, MAP_PRIVATE | MAP_NORESERVE);

	create_machine(&m, is_irqchip_first);
	if (pread(STATE_FD, &state, sizeof(state), 0) != sizeof(state))
		floor_must(-1, "read the state");
	floor_state_restore(m.vm, m.vcpu, &state);
	run_to_exit(&m);
	report();
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What the state costs to read, of a vCPU that has run. */
static void read_state(size_t bytes)
{
	static struct floor_state state;
	struct machine m = map_memory(bytes, MEMORY_FD, MAP_PRIVATE | MAP_NORESERVE);
	uint64_t took_ns;

	create_machine(&m, false);
	if (pread(STATE_FD, &state, sizeof(state), 0) != sizeof(state))
		floor_must(-1, "read the state");
	floor_state_restore(m.vm, m.vcpu, &state);
	run_to_exit(&m);
	took_ns = now_ns();
	floor_state_read(m.vm, m.vcpu, &state);
	took_ns = now_ns() - took_ns;
	floor_must((int)send(SOCKET_FD, &took_ns, sizeof(took_ns), MSG_NOSIGNAL), "report");
}

int main(int argc, char **argv)
{
	const char *what = argc == 2 || argc == 3 ? argv[1] : "";
	size_t bytes = (argc == 3 ? strtoul(argv[2], NULL, 10) : MEMORY_MIB) << 20;

	if (strcmp(what, "nothing") == 0)
		report(); /* what a process costs */
	else if (strcmp(what, "boot") == 0)
		boot(bytes, false);
	else if (strcmp(what, "boot-irqchip-first") == 0)
		boot(bytes, true);
	else if (strcmp(what, "save") == 0)
		save(bytes);
	else if (strcmp(what, "restore") == 0)
		restore(bytes, false);
	else if (strcmp(what, "restore-irqchip-first") == 0)
		restore(bytes, true);
	else if (strcmp(what, "read") == 0)
		read_state(bytes);
	else
		floor_must(-1, "usage: floor nothing|boot|boot-irqchip-first|save|restore|"
			       "restore-irqchip-first|read [MIB]");
	_exit(0);
}
