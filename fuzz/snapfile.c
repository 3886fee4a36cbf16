// SPDX-License-Identifier: Apache-2.0
/*
 * The state file of a snapshot, and everything that is loaded from it: whatever the bytes are, they
 * are refused with a sentence, or they are loaded and can be saved again as the same bytes. A
 * device that was refused is as after a reset; one that was loaded then serves its queues.
 *
 * Input: one byte, then the file. With bit 0 of the byte set, its checksums are put right first:
 * what a stranger would do, and what a fuzzer cannot guess. The section "ram", if there is one, is
 * the guest's memory.
 */
#include "base/snapfile.c"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/state.h"
#include "backend/disk.h"
#include "backend/vsock_mux.h"
#include "dev/ioapic.h"
#include "dev/serial_16550.h"
#include "mem/memfile.h"
#include "virtio/balloon.h"
#include "virtio/blk.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"

enum {
	RAM = 64 * 1024,
	PINS = 24,
	SECTORS = 16,
	DEVICES = 4,
	TURNS = 64,
	GUEST_CID = 3,
	OP_RST = 3
};

#define CHECK(truth)                                                                               \
	do {                                                                                       \
		if (!(truth))                                                                      \
			abort();                                                                   \
	} while (0)

struct machine {
	struct gmem ram;
	struct loop loop;
	struct mux *mux;
	struct virtio_dev
		*devices[DEVICES]; /* as the VMM numbers them: vsock, rng, balloon, disk */
	struct ioapic apic;
	struct serial serial;
};

static void on_irq(void *ctx, unsigned line)
{
	(void)ctx;
	(void)line;
}

static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
	(void)ctx;
	(void)address;
	(void)data;
}

static void on_output(void *ctx, const void *data, size_t bytes)
{
	(void)ctx;
	(void)data;
	CHECK(bytes && bytes <= SERIAL_OUTPUT_BURST);
}

static struct machine *make_machine(void)
{
	static struct machine m;
	struct gmem_range range = {0, RAM};
	struct irq irq = {on_irq, NULL, 0};
	struct mux_config config = {
		.guest_cid = GUEST_CID, .host_port_first = 1, .host_port_count = 1};
	struct virtio_host host = {.gmem = &m.ram, .irq = irq, .loop = &m.loop};
	struct disk *disk;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	CHECK(gmem_init(&m.ram, &range, 1, NULL) == 0);
	CHECK(loop_init(&m.loop, NULL) == 0);
	CHECK(ftruncate(fd, SECTORS * DISK_SECTOR_BYTES) == 0);
	CHECK(disk_raw_new(fd, true, &disk, NULL) == 0);
	CHECK(mux_new(&config, &m.mux, NULL) == 0);
	CHECK(vsock_new(&host, m.mux, GUEST_CID, &m.devices[0], NULL) == 0);
	CHECK(rng_new(&host, &m.devices[1], NULL) == 0);
	CHECK(balloon_new(&host, &m.devices[2], NULL) == 0);
	CHECK(blk_new(&host, disk, "layer0", &m.devices[3], NULL) == 0);
	ioapic_init(&m.apic, PINS, on_msi, NULL);
	serial_init(&m.serial, &irq, on_output, NULL);
	return &m;
}

/* Makes the checksums right, as far as the table makes sense. */
static void reseal(uint8_t *data, size_t bytes)
{
	uint32_t n = bytes >= HEADER_BYTES ? le32_load(data + AT_N_SECTIONS) : 0;

	if (bytes < HEADER_BYTES || n > SNAPFILE_SECTIONS_MAX || table_end(n) > bytes)
		return;
	le64_store(data + AT_BYTES, bytes);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *entry = data + table_end(i);
		uint64_t offset = le64_load(entry + ENTRY_OFFSET);
		uint64_t size = le64_load(entry + ENTRY_BYTES_FIELD);

		if (offset <= bytes && size <= bytes - offset)
			le64_store(entry + ENTRY_CHECKSUM, checksum_of(data + offset, size));
	}
	le64_store(data + AT_CHECKSUM, table_checksum(data, data + HEADER_BYTES, n));
}

static void check_table(const struct snapfile *f)
{
	size_t at = table_end(f->n);

	for (unsigned i = 0; i < f->n; i++) {
		const struct snapfile_section *s = &f->sections[i];

		CHECK(memchr(s->name, 0, sizeof(s->name)) && is_name(s->name));
		CHECK(s->offset == at && s->bytes <= f->bytes - at);
		CHECK(find(f->sections, f->n, s->name) == s); /* no other has its name */
		at = ALIGN_UP(at + s->bytes, (size_t)ALIGNMENT);
	}
	CHECK(at == f->bytes);
}

static void fill_ram(const struct machine *m, const struct snapfile *f)
{
	const struct snapfile_section *s = find(f->sections, f->n, "ram");

	memset(m->ram.regions[0].host, 0, RAM);
	if (s)
		memcpy(m->ram.regions[0].host, f->data + s->offset, MIN(s->bytes, (size_t)RAM));
}

/* What is loaded fresh for each section. */
struct loaded {
	struct virtio_dev *device;
	struct arch_vcpu_state *vcpu;
	struct arch_vm_state clock;
	struct memfile_runs memory;
	struct disk_runs disk;
};

static bool starts_with(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

/* The walk that the VMM makes over a section of this name. False when there is none. */
static bool walk(struct machine *m, const char *name, struct loaded *l, struct snapio *io)
{
	if (l->device)
		virtio_snap(l->device, io);
	else if (starts_with(name, "vcpu."))
		arch_vcpu_state_snap(l->vcpu, io);
	else if (!strcmp(name, "clock"))
		arch_vm_state_snap(&l->clock, io);
	else if (!strcmp(name, "memory.runs"))
		memfile_runs_snap(&l->memory, RAM, io);
	else if (!strcmp(name, "disk.runs"))
		disk_runs_snap(&l->disk, io);
	else if (!strcmp(name, "ioapic"))
		ioapic_snap(&m->apic, io);
	else if (!strcmp(name, "serial"))
		serial_snap(&m->serial, io);
	else
		return false;
	return true;
}

static void check_device(const struct virtio_dev *d, bool is_good)
{
	for (unsigned i = 0; i < d->ops->n_queues; i++) {
		const struct virtq *q = &d->queues[i];

		CHECK(is_good || !q->is_ready);
		CHECK(!q->in_flight);
		if (q->is_ready)
			CHECK(q->size && q->size <= q->size_max && q->desc && q->avail && q->used);
	}
	CHECK(is_good || !virtio_is_running(d));
}

static void check_saves_the_same(
	struct machine *m, const struct snapfile_section *s, struct loaded *l, const uint8_t *data)
{
	struct snapio io;
	struct err e;
	struct buf b;

	buf_init(&b, SNAPFILE_BYTES_MAX);
	snapio_save_to(&io, s->name, 1, &b);
	walk(m, s->name, l, &io);
	CHECK(snapio_end(&io, &e) == 0);
	CHECK(b.bytes == s->bytes && !memcmp(b.data, data, b.bytes));
	buf_fini(&b);
}

static void load_section(struct machine *m, const struct snapfile *f, unsigned i)
{
	const struct snapfile_section *s = &f->sections[i];
	struct loaded l = {.vcpu = arch_vcpu_state_new()};
	struct snapio io;
	struct err e = {0};
	int r;

	CHECK(l.vcpu);
	if (starts_with(s->name, "device."))
		l.device = m->devices[MIN((unsigned)(s->name[7] - '0'), DEVICES - 1u)];
	r = snapfile_load(f, s->name, 1, &io, &e);
	CHECK(r == (s->version == 1 ? 0 : -ENOTSUP));
	if (r == 0 && walk(m, s->name, &l, &io)) {
		/* What may follow the last field is not the device's to see. */
		if (l.device)
			check_device(l.device, snapio_is_good(&io));
		r = snapio_end(&io, &e);
		CHECK(r == 0 || r == -EBADMSG);
		CHECK(r == 0 || (e.object[0] && e.cause[0] && e.remedy[0]));
		if (r == 0)
			check_saves_the_same(m, s, &l, f->data + s->offset);
	}
	arch_vcpu_state_free(l.vcpu);
	memfile_runs_fini(&l.memory);
	free(l.disk.items);
}

/* What waits for the guest: nobody talks to it here, so that it can only be refusals. */
static void drain(struct mux *mux)
{
	uint8_t room[64];
	struct iovec iov = {room, sizeof(room)};
	struct mux_header h;

	while (mux_has_next(mux) && mux_next(mux, &h, &iov, 1))
		CHECK(h.op == OP_RST && h.dst_cid == GUEST_CID && !h.len);
}

/* The devices go on, and are then unplugged. */
static void run(struct machine *m)
{
	for (unsigned i = 0; i < TURNS && loop_turn(&m->loop, 0) > 0; i++)
		;
	for (unsigned i = 0; i < TURNS && loop_turn(mux_loop(m->mux), 0) > 0; i++)
		;
	drain(m->mux);
	for (unsigned i = 0; i < DEVICES; i++) {
		pthread_mutex_lock(&m->devices[i]->lock);
		virtio_set_status(m->devices[i], 0);
		pthread_mutex_unlock(&m->devices[i]->lock);
	}
	mux_reset(m->mux);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine *m;
	static struct snapfile f;
	struct err e = {0};
	uint8_t *file;
	int r;

	if (!size || size > SNAPFILE_BYTES_MAX)
		return 0;
	if (!m)
		m = make_machine();
	file = malloc(size - 1 ? size - 1 : 1); /* exact, for sanitizers */
	CHECK(file);
	memcpy(file, data + 1, size - 1);
	if (data[0] & 1)
		reseal(file, size - 1);
	r = snapfile_open(file, size - 1, &f, &e);
	CHECK(r == 0 || r == -EBADMSG || r == -ENOTSUP);
	CHECK(r == 0 || (e.object[0] && e.cause[0] && e.remedy[0]));
	if (r == 0) {
		check_table(&f);
		fill_ram(m, &f);
		for (unsigned i = 0; i < f.n; i++)
			load_section(m, &f, i);
		run(m);
	}
	free(file);
	return 0;
}
