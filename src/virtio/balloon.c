// SPDX-License-Identifier: Apache-2.0
/*
 * Queues, virtio 1.2 §5.5.2: inflate, deflate, then statistics, hinting and reporting where those
 * features are agreed on. Only reporting is offered. The specification numbers it 4 whatever else
 * is there, most drivers number the queues they use without gaps and so call it 2; hence the
 * device has five, and each from 2 on is a reporting queue.
 */
#include "virtio/balloon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"
#include "base/le.h"
#include "base/snapio.h"
#include "mem/gmem.h"

enum {
	QUEUE_INFLATE = 0,
	QUEUE_DEFLATE = 1,
	BALLOON_QUEUES = 5,
	BALLOON_QUEUE_SIZE = 128,

	PAGE_SHIFT = 12, /* §5.5.6: page frames are of 4096 bytes whatever the guest's page is */
	PFNS_AT_ONCE = 64,
};

/* §5.5.3 */
#define F_DEFLATE_ON_OOM (1ull << 2)
#define F_REPORTING	 (1ull << 5)

/* §5.5.4 */
struct balloon_config {
	uint32_t num_pages; /* device's wish */
	uint32_t actual;    /* driver's answer */
	uint32_t free_page_hint_cmd_id;
	uint32_t poison_val;
} PACKED;

struct balloon {
	struct virtio_dev dev;
	struct balloon_config config;
	uint64_t given_back_bytes;
};

/* Guest pages that follow one another, given back in one call. */
struct run {
	gpa_t gpa;
	uint64_t bytes;
};

static struct balloon *of(struct virtio_dev *d)
{
	return container_of(d, struct balloon, dev);
}

/* A page that is not RAM is the guest's nonsense, a host that cannot take memory back a pity:
 * neither hurts, the memory just stays. */
static void give_back(struct balloon *b, const struct run *run)
{
	int64_t bytes;

	if (!run->bytes)
		return;
	bytes = gmem_discard(b->dev.gmem, run->gpa, run->bytes);
	if (bytes > 0)
		b->given_back_bytes += (uint64_t)bytes;
}

/* Adds a page to the run, at either end (Linux hands pages out from the top down as often as up),
 * or gives the run back and begins anew. */
static void add_page(struct balloon *b, struct run *run, gpa_t gpa)
{
	const uint64_t page = 1ull << PAGE_SHIFT;

	if (run->bytes && gpa == run->gpa + run->bytes) {
		run->bytes += page;
		return;
	}
	if (run->bytes && gpa + page == run->gpa) {
		run->gpa = gpa;
		run->bytes += page;
		return;
	}
	give_back(b, run);
	*run = (struct run){gpa, page};
}

/* §5.5.6: an array of le32 page frame numbers. */
static int64_t inflate(struct virtio_dev *d, struct vq_chain *chain)
{
	struct balloon *b = of(d);
	uint32_t pfns[PFNS_AT_ONCE];
	struct run run = {0};
	size_t at = 0, got;

	do {
		got = iov_gather(pfns, chain->iov, chain->n_out, at, sizeof(pfns));
		for (size_t i = 0; i < got / sizeof(pfns[0]); i++)
			add_page(b, &run, (gpa_t)le32_load(&pfns[i]) << PAGE_SHIFT);
		at += got;
	} while (got == sizeof(pfns));
	give_back(b, &run);
	return 0;
}

/* The guest may use its pages again as they are: they come back when touched. */
static int64_t deflate(struct virtio_dev *d, struct vq_chain *chain)
{
	(void)d;
	(void)chain;
	return 0;
}

/* Where in the guest a pointer of a chain is. */
static int gpa_of(const struct gmem *g, const void *host, gpa_t *ret_gpa)
{
	uintptr_t at = (uintptr_t)host;

	for (unsigned i = 0; i < g->n; i++) {
		uintptr_t base = (uintptr_t)g->regions[i].host;

		if (at >= base && at - base < g->regions[i].bytes) {
			*ret_gpa = g->regions[i].gpa + (at - base);
			return 0;
		}
	}
	return -EFAULT;
}

/* §5.5.6.6: the writable buffers of the chain are the free memory itself. */
static int64_t report(struct virtio_dev *d, struct vq_chain *chain)
{
	const struct iovec *in = vq_in(chain);
	struct balloon *b = of(d);

	for (unsigned i = 0; i < chain->n_in; i++) {
		gpa_t gpa;

		if (gpa_of(d->gmem, in[i].iov_base, &gpa) == 0)
			give_back(b, &(struct run){gpa, in[i].iov_len});
	}
	return 0;
}

static void notify(struct virtio_dev *d, unsigned queue)
{
	if (queue == QUEUE_INFLATE)
		virtio_serve(d, queue, inflate);
	else if (queue == QUEUE_DEFLATE)
		virtio_serve(d, queue, deflate);
	else
		virtio_serve(d, queue, report);
}

static void config_write(struct virtio_dev *d, size_t offset, const void *data, size_t bytes)
{
	struct balloon *b = of(d);
	struct balloon_config written = b->config;

	memcpy((char *)&written + offset, data, bytes);
	b->config.actual = written.actual; /* the one field that is the driver's */
}

static void reset(struct virtio_dev *d)
{
	of(d)->config.actual = 0;
}

static void snap(struct virtio_dev *d, struct snapio *io)
{
	struct balloon *b = of(d);
	uint32_t wanted = b->config.num_pages, actual = b->config.actual;

	snapio_u32(io, "balloon_wanted_pages", &wanted);
	snapio_u32(io, "balloon_actual_pages", &actual);
	if (snapio_is_loading(io) && wanted > d->gmem->total >> PAGE_SHIFT)
		snapio_fail(
			io, "balloon_wanted_pages", "%u pages are more than the guest has", wanted);
	if (!snapio_is_good(io))
		return;
	b->config.num_pages = wanted;
	b->config.actual = actual; /* the guest's word, which nothing here relies on */
}

static void balloon_free(struct virtio_dev *d)
{
	virtio_fini(d);
	free(of(d));
}

static const struct virtio_ops ops = {
	.name = "virtio-balloon",
	.id = VIRTIO_ID_BALLOON,
	.n_queues = BALLOON_QUEUES,
	.queue_size = BALLOON_QUEUE_SIZE,
	.config_size = sizeof(struct balloon_config),
	.reset = reset,
	.notify = notify,
	.config_write = config_write,
	.snap = snap,
	.free = balloon_free,
};

int balloon_new(const struct virtio_host *host, struct virtio_dev **ret_dev, struct err *e)
{
	struct balloon *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return err_set(e, -ENOMEM, "no memory for the balloon device");
	r = virtio_init(&b->dev, &ops, host, F_DEFLATE_ON_OOM | F_REPORTING, &b->config, e);
	if (r < 0) {
		free(b);
		return r;
	}
	*ret_dev = &b->dev;
	return 0;
}

void balloon_set_target(struct virtio_dev *d, uint64_t bytes)
{
	struct balloon *b = of(d);
	uint64_t pages = MIN(bytes, d->gmem->total) >> PAGE_SHIFT;

	pthread_mutex_lock(&d->lock);
	b->config.num_pages = (uint32_t)MIN(pages, (uint64_t)UINT32_MAX);
	virtio_signal_config(d);
	pthread_mutex_unlock(&d->lock);
}

uint64_t balloon_actual(struct virtio_dev *d)
{
	uint64_t pages;

	pthread_mutex_lock(&d->lock);
	pages = of(d)->config.actual;
	pthread_mutex_unlock(&d->lock);
	return pages << PAGE_SHIFT;
}

uint64_t balloon_given_back(struct virtio_dev *d)
{
	uint64_t bytes;

	pthread_mutex_lock(&d->lock);
	bytes = of(d)->given_back_bytes;
	pthread_mutex_unlock(&d->lock);
	return bytes;
}
