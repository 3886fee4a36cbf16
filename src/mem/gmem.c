// SPDX-License-Identifier: Apache-2.0
#include "mem/gmem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "mem/memfile_int.h"

enum { HUGE_BYTES = 2 << 20, GUEST_PAGE_BYTES = 4096 };

/* A region's host memory, aligned so that the kernel can back it with huge pages. */
static uint8_t *reserve(uint64_t bytes)
{
	uint64_t room;
	uint8_t *raw, *aligned;
	size_t head, tail;

	if (add_overflows(bytes, (uint64_t)HUGE_BYTES, &room) || room > SIZE_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	raw = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		-1, 0);
	if (raw == MAP_FAILED)
		return NULL;
	aligned = (uint8_t *)ALIGN_UP((uintptr_t)raw, (uintptr_t)HUGE_BYTES);
	head = (size_t)(aligned - raw);
	tail = (size_t)(HUGE_BYTES - head);
	if (head)
		munmap(raw, head);
	if (tail)
		munmap(aligned + bytes, tail);
	return aligned;
}

static int check_ranges(const struct gmem_range *ranges, unsigned n, struct err *e)
{
	gpa_t floor = 0, end;

	if (n == 0 || n > GMEM_REGIONS_MAX)
		return err_set(e, -EINVAL, "%u regions of guest memory, 1 to %d are possible", n,
			GMEM_REGIONS_MAX);
	for (unsigned i = 0; i < n; i++) {
		const struct gmem_range *r = &ranges[i];

		if (r->bytes == 0 || (r->gpa | r->bytes) % GUEST_PAGE_BYTES || r->gpa < floor ||
			add_overflows(r->gpa, r->bytes, &end))
			return err_set(e, -EINVAL,
				"guest memory region %u (0x%llx, 0x%llx bytes) is empty, not whole "
				"pages, or out of order",
				i, (unsigned long long)r->gpa, (unsigned long long)r->bytes);
		floor = end;
	}
	return 0;
}

int gmem_init(struct gmem *ret, const struct gmem_range *ranges, unsigned n, struct err *e)
{
	autogmem struct gmem g = {0};
	int r = check_ranges(ranges, n, e);

	if (r < 0)
		return r;
	for (; g.n < n; g.n++) {
		struct gmem_region *region = &g.regions[g.n];

		region->host = reserve(ranges[g.n].bytes);
		if (!region->host) {
			err_sys(e, "mmap of %llu MiB of guest memory",
				(unsigned long long)(ranges[g.n].bytes >> 20));
			return err_remedy(e, "give the VM less memory, or raise the address space "
					     "limit (ulimit -v)");
		}
		region->gpa = ranges[g.n].gpa;
		region->bytes = ranges[g.n].bytes;
		g.total += region->bytes;
	}
	*ret = g;
	g.n = 0; /* handed over */
	return 0;
}

void gmem_fini(struct gmem *g)
{
	int saved = errno;

	for (unsigned i = 0; i < g->n; i++)
		munmap(g->regions[i].host, g->regions[i].bytes);
	memfile_base_free(g->base);
	*g = (struct gmem){0};
	errno = saved;
}

static const struct gmem_region *region_at(const struct gmem *g, gpa_t gpa)
{
	for (unsigned i = 0; i < g->n; i++)
		if (gpa >= g->regions[i].gpa && gpa - g->regions[i].gpa < g->regions[i].bytes)
			return &g->regions[i];
	return NULL;
}

void *gmem_ptr(const struct gmem *g, gpa_t gpa, uint64_t bytes)
{
	const struct gmem_region *r = region_at(g, gpa);

	if (!r || bytes > r->bytes - (gpa - r->gpa))
		return NULL;
	return r->host + (gpa - r->gpa);
}

/* Host memory at gpa and in *n how many of `bytes` lie there in one piece. */
static uint8_t *piece_at(const struct gmem *g, gpa_t gpa, uint64_t bytes, uint64_t *n)
{
	const struct gmem_region *r = region_at(g, gpa);

	if (!r)
		return NULL;
	*n = MIN(bytes, r->bytes - (gpa - r->gpa));
	return r->host + (gpa - r->gpa);
}

static bool is_ram(const struct gmem *g, gpa_t gpa, uint64_t bytes)
{
	uint64_t n;

	for (; bytes; gpa += n, bytes -= n)
		if (!piece_at(g, gpa, bytes, &n))
			return false;
	return true;
}

int gmem_copy_in(const struct gmem *g, void *to, gpa_t gpa, uint64_t bytes)
{
	uint8_t *at = to;
	const uint8_t *host;
	uint64_t n;

	if (!is_ram(g, gpa, bytes))
		return -EFAULT;
	for (; bytes; at += n, gpa += n, bytes -= n) {
		host = piece_at(g, gpa, bytes, &n);
		memcpy(at, host, n);
	}
	return 0;
}

int gmem_copy_out(const struct gmem *g, gpa_t gpa, const void *from, uint64_t bytes)
{
	const uint8_t *at = from;
	uint8_t *host;
	uint64_t n;

	if (!is_ram(g, gpa, bytes))
		return -EFAULT;
	for (; bytes; at += n, gpa += n, bytes -= n) {
		host = piece_at(g, gpa, bytes, &n);
		memcpy(host, at, n);
	}
	return 0;
}

int64_t gmem_discard(const struct gmem *g, gpa_t gpa, uint64_t bytes)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first, end;
	int64_t given = 0;
	uint8_t *host;
	uint64_t n;

	if (!is_ram(g, gpa, bytes))
		return -EFAULT;
	for (; bytes; gpa += n, bytes -= n) {
		host = piece_at(g, gpa, bytes, &n);
		first = ALIGN_UP((uintptr_t)host, page);
		end = ALIGN_DOWN((uintptr_t)host + n, page);
		if (end <= first)
			continue;
		if (madvise((void *)first, end - first, MADV_DONTNEED) < 0)
			return -errno;
		given += (int64_t)(end - first);
	}
	return given;
}
