// SPDX-License-Identifier: Apache-2.0
/*
 * A guest that writes anything into the registers and the memory of every kind of device.
 *
 * Input: kind of device, then steps of 8 bytes: what, offset (2), width, value (4). After each step
 * the status must still be a state of the specification, and configuration must stay inside.
 */
#include "virtio/mmio.c"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/disk.h"
#include "mem/gmem.h"
#include "virtio/balloon.h"
#include "virtio/blk.h"
#include "virtio/rng.h"

enum { RAM = 1 << 20, BASE = 0x10000000, STEP = 8, STEPS = 512, DISK = 64 * 1024 };

#define CHECK(truth)                                                                               \
	do {                                                                                       \
		if (!(truth))                                                                      \
			abort();                                                                   \
	} while (0)

static void on_irq(void *ctx, unsigned line)
{
	(void)line;
	++*(unsigned *)ctx;
}

static int make_blk(const struct virtio_host *host, bool is_read_only, struct virtio_dev **ret)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	struct disk *disk;

	if (fd < 0 || ftruncate(fd, DISK) < 0 || disk_raw_new(fd, is_read_only, &disk, NULL) < 0)
		return -1;
	return blk_new(host, disk, "fuzz", ret, NULL);
}

static int make(const struct virtio_host *host, unsigned kind, struct virtio_dev **ret)
{
	switch (kind % 4) {
	case 0:
		return rng_new(host, ret, NULL);
	case 1:
		return balloon_new(host, ret, NULL);
	default:
		return make_blk(host, kind % 4 == 2, ret);
	}
}

static void check_status(struct bus *b)
{
	uint32_t status = 0;

	bus_read(b, BASE + REG_STATUS, &status, 4);
	CHECK(!(status & ~0xcfu));
	if (status & VIRTIO_S_DRIVER_OK)
		CHECK(status & VIRTIO_S_FEATURES_OK);
}

static void step(struct bus *b, const struct gmem *g, struct loop *l, const uint8_t *s)
{
	uint64_t value = le32_load(s + 4);
	uint16_t offset = le16_load(s + 1);
	unsigned bytes = 1u << (s[3] % 4);

	switch (s[0] % 5) {
	case 0:
		bus_write(b, BASE + offset % VIRTIO_MMIO_BYTES, &value, bytes);
		break;
	case 1:
		bus_read(b, BASE + offset % VIRTIO_MMIO_BYTES, &value, bytes);
		break;
	case 2: /* a register as drivers write it */
		bus_write(b, BASE + offset % REG_CONFIG / 4 * 4, &value, 4);
		break;
	case 3: /* guest memory */
		le32_store(g->regions[0].host + (uint64_t)offset * 4, (uint32_t)value);
		break;
	default:
		loop_turn(l, 0);
		break;
	}
	check_status(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gmem g;
	static struct bus b;
	struct gmem_range ram = {0, RAM};
	unsigned interrupts = 0;
	struct virtio_dev *d;
	struct loop l;

	if (size < 1 + STEP)
		return 0;
	if (!g.n && gmem_init(&g, &ram, 1, NULL) < 0)
		return 0;
	memset(g.regions[0].host, 0, RAM / 4);
	if (loop_init(&l, NULL) < 0)
		return 0;
	bus_init(&b);
	if (make(&(struct virtio_host){&g, {on_irq, &interrupts, 0}, &l}, data[0], &d) < 0)
		abort();
	CHECK(virtio_mmio_register(d, &b, BASE, VIRTIO_MMIO_BYTES, NULL) == 0);
	for (size_t i = 1; i + STEP <= size && i < STEP * STEPS; i += STEP)
		step(&b, &g, &l, data + i);
	for (unsigned i = 0; i < 4; i++)
		loop_turn(&l, 0);
	virtio_free(d);
	loop_fini(&l);
	return 0;
}
