// SPDX-License-Identifier: Apache-2.0
/*
 * A small virtio driver for tests: real guest memory, the real bus, the real transport, an
 * interrupt line that counts. It does what a guest does, through the same registers and rings, and
 * lets a test do what a guest must not.
 *
 * One loop serves the device. Either the test turns it (drv_turn) or a thread runs it
 * (drv_run_thread); a device with a loop of its own (vsock) brings that.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "dev/bus.h"
#include "mem/gmem.h"
#include "virtio/virtio.h"

enum {
	DRV_BASE = 0xd0000000,
	DRV_RAM = 16 << 20,
	DRV_LINE = 11,

	R_MAGIC = 0x00,
	R_VERSION = 0x04,
	R_ID = 0x08,
	R_FEATURES = 0x10,
	R_FEATURES_SEL = 0x14,
	R_DRIVER_FEATURES = 0x20,
	R_DRIVER_FEATURES_SEL = 0x24,
	R_QUEUE_SEL = 0x30,
	R_QUEUE_MAX = 0x34,
	R_QUEUE_NUM = 0x38,
	R_QUEUE_READY = 0x44,
	R_NOTIFY = 0x50,
	R_INT_STATUS = 0x60,
	R_INT_ACK = 0x64,
	R_STATUS = 0x70,
	R_DESC = 0x80,
	R_AVAIL = 0x90,
	R_USED = 0xa0,
	R_SHM_LEN = 0xb0,
	R_QUEUE_RESET = 0xc0,
	R_GENERATION = 0xfc,
	R_CONFIG = 0x100,

	D_NEXT = 1,
	D_WRITE = 2,
	D_INDIRECT = 4,
};

struct drv_desc {
	uint64_t gpa;
	uint32_t bytes;
	uint16_t flags;
	uint16_t next;
};

struct drv_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[];
};

struct drv_used {
	uint16_t flags;
	uint16_t idx;
	struct {
		uint32_t head;
		uint32_t bytes;
	} ring[];
};

struct drv_queue {
	unsigned index;
	uint16_t size;
	struct drv_desc *desc;
	struct drv_avail *avail;
	struct drv_used *used;
	gpa_t desc_gpa, avail_gpa, used_gpa;
	uint16_t next_desc;  /* descriptors are handed out round and round */
	uint16_t next_avail; /* our count of what was made available */
	uint16_t next_used;  /* our count of what was seen used */
	uint16_t kicked;     /* next_avail at the last kick */
};

struct drv {
	struct gmem gmem;
	struct bus bus;
	struct loop loop;
	struct virtio_host host;
	struct virtio_dev *dev;
	_Atomic unsigned interrupts;
	uint64_t features; /* agreed on */
	gpa_t next_free;
	pthread_t thread;
	bool has_thread;
	struct drv_queue queues[VIRTIO_QUEUES_MAX];
};

/* One buffer of a chain: where, how long, does the device write it? */
struct drv_buf {
	gpa_t gpa;
	uint32_t bytes;
	bool is_in;
};

/* The machine without a device; drv_plug puts it on the bus. */
void drv_init(struct drv *d);
void drv_plug(struct drv *d, struct virtio_dev *dev);
void drv_fini(struct drv *d); /* frees the device too */

/* The loop in a thread of its own, until drv_stop_thread. */
void drv_run_thread(struct drv *d);
void drv_stop_thread(struct drv *d);

/* Turns the loop until nothing is left to do. */
void drv_turn(struct drv *d);

uint32_t drv_read(struct drv *d, uint32_t at);
void drv_write(struct drv *d, uint32_t at, uint32_t value);

/* Zeroed guest memory. */
gpa_t drv_alloc(struct drv *d, size_t bytes, size_t align);
void *drv_ptr(struct drv *d, gpa_t gpa);

uint64_t drv_features(struct drv *d);

/* Reset, ACKNOWLEDGE, DRIVER, the features of `want`, FEATURES_OK. False when refused. */
bool drv_negotiate(struct drv *d, uint64_t want);
void drv_set_queue(struct drv *d, unsigned index, uint16_t size);
void drv_start(struct drv *d);

/* All of it: negotiate `want` of what is offered, n queues of `size`, DRIVER_OK. */
void drv_up(struct drv *d, uint64_t want, unsigned n_queues, uint16_t size);

/* Makes a chain available. Returns its head. */
uint16_t drv_add(struct drv_queue *q, const struct drv_buf *bufs, unsigned n);
uint16_t drv_add_indirect(
	struct drv *d, struct drv_queue *q, const struct drv_buf *bufs, unsigned n);

/* Puts a head into the available ring as it is. */
void drv_offer(struct drv_queue *q, uint16_t head);

/* Notifies the device if it wants that. Returns whether it did. */
bool drv_kick(struct drv *d, struct drv_queue *q);

/* Takes the next used element. Returns false when there is none. */
bool drv_used(struct drv_queue *q, uint16_t *ret_head, uint32_t *ret_bytes);

/* Waits for it at most 10 s. */
bool drv_wait_used(struct drv_queue *q, uint16_t *ret_head, uint32_t *ret_bytes);

/* The guest of `from` goes on in `to`: its driver and the memory that it has handed out. The device
 * is the test's to load. */
void drv_move(struct drv *to, const struct drv *from);

/* Tells the device after which used element to interrupt (event index). */
void drv_want_interrupt_at(struct drv_queue *q, uint16_t event);
uint16_t drv_avail_event(struct drv_queue *q);

/* One request from start to end, the loop turned by hand. Returns the used length; the request
 * must be completed. */
uint32_t drv_do(struct drv *d, struct drv_queue *q, const struct drv_buf *bufs, unsigned n);
