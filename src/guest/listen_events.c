// SPDX-License-Identifier: Apache-2.0
#include "guest/listen_events.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

enum { RING_BYTES = 4096, PAGE_BYTES = 4096, RECORD_BYTES = 8 };

static int bpf(int command, union bpf_attr *attr)
{
	int r = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : r;
}

static int make_ring(void)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_RINGBUF;
	attr.max_entries = RING_BYTES;
	return bpf(BPF_MAP_CREATE, &attr);
}

#define INSN(c, d, s, o, i)                                                                        \
	{                                                                                          \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)                \
	}

/* if (ops->op == BPF_SOCK_OPS_TCP_LISTEN_CB) bpf_ringbuf_output(ring, &record, 8, WAKEUP);
 * return 1. Encoding: Documentation/bpf/instruction-set.rst. */
static int load_program(int ring_fd)
{
	const struct bpf_insn program[] = {
		INSN(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1,
			offsetof(struct bpf_sock_ops, op), 0),
		INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 8, BPF_SOCK_OPS_TCP_LISTEN_CB),
		INSN(BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, -RECORD_BYTES, 1),
		INSN(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, ring_fd),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -RECORD_BYTES),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, RECORD_BYTES),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_4, 0, 0, BPF_RB_FORCE_WAKEUP),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ringbuf_output),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCK_OPS;
	attr.expected_attach_type = BPF_CGROUP_SOCK_OPS;
	attr.insns = (uintptr_t)program;
	attr.insn_cnt = ARRAY_LEN(program);
	attr.license = (uintptr_t) "Apache-2.0";
	return bpf(BPF_PROG_LOAD, &attr);
}

/* A link, not a mere attachment: it is gone when its descriptor is. */
static int attach(int program_fd, int cgroup_fd)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)program_fd;
	attr.link_create.target_fd = (uint32_t)cgroup_fd;
	attr.link_create.attach_type = BPF_CGROUP_SOCK_OPS;
	return bpf(BPF_LINK_CREATE, &attr);
}

/* Takes all records: what they say is that there was one. */
static void drain(const struct listen_events *l)
{
	unsigned long at = __atomic_load_n((const unsigned long *)l->produced, __ATOMIC_ACQUIRE);

	__atomic_store_n((unsigned long *)l->consumed, at, __ATOMIC_RELEASE);
}

static void ready(struct loop_watch *w, unsigned events)
{
	struct listen_events *l = container_of(w, struct listen_events, watch);

	(void)events;
	drain(l);
	l->happened(l);
}

void listen_events_init(struct listen_events *l)
{
	*l = (struct listen_events){.watch = {-1, ready}, .link_fd = -1};
}

/* The ring's first page is ours to write, the second the kernel's
 * (Documentation/bpf/ringbuf.rst). */
static int map_ring(struct listen_events *l, int fd)
{
	void *p = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	l->consumed = p;
	p = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, PAGE_BYTES);
	if (p == MAP_FAILED)
		return -errno;
	l->produced = p;
	return 0;
}

int listen_events_open(struct listen_events *l, struct loop *loop, int cgroup_fd,
	void (*happened)(struct listen_events *l))
{
	autoclose int program_fd = -1;
	int r;

	listen_events_init(l);
	l->loop = loop;
	l->happened = happened;
	r = l->watch.fd = make_ring();
	if (r >= 0)
		r = map_ring(l, l->watch.fd);
	if (r >= 0)
		r = program_fd = load_program(l->watch.fd);
	if (r >= 0)
		r = l->link_fd = attach(program_fd, cgroup_fd);
	if (r >= 0)
		r = loop_add(loop, &l->watch, LOOP_READ);
	if (r < 0) {
		l->loop = NULL;
		listen_events_close(l);
		return r;
	}
	return 0;
}

void listen_events_close(struct listen_events *l)
{
	if (l->loop)
		loop_remove(l->loop, &l->watch);
	if (l->consumed)
		munmap(l->consumed, PAGE_BYTES);
	if (l->produced)
		munmap(l->produced, PAGE_BYTES);
	if (l->link_fd >= 0)
		close(l->link_fd);
	if (l->watch.fd >= 0)
		close(l->watch.fd);
	listen_events_init(l);
}
