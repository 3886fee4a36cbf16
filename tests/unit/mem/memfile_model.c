// SPDX-License-Identifier: Apache-2.0
#include "memfile_model.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/sparse.h"
#include "mem/pagemap.h"

const struct gmem_range ranges[N_RANGES] = {
	{0, 6 * MIB},
	{6 * MIB, 4 * MIB},
	{4 * GIB, 3 * MIB},
};

static uint64_t seed = 88172645463325252ull;

uint64_t any(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

int disk_file(void)
{
	char path[] = "/tmp/test_memfile.XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_return_code(fd, errno);
	unlink(path);
	return fd;
}

/* On a disk's file system and in memory by turns: they find holes in different ways. */
int new_file(void)
{
	static unsigned n;
	int fd = n++ % 2 ? disk_file() : memfd_create("test", MFD_CLOEXEC);

	assert_return_code(fd, errno);
	return fd;
}

void model_init(struct model *m)
{
	struct err e = {0};

	*m = (struct model){0};
	assert_int_equal(gmem_init(&m->g, ranges, N_RANGES, &e), 0);
	m->now = calloc(1, TOTAL);
	assert_non_null(m->now);
	m->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	assert_return_code(m->pagemap_fd, errno);
}

void model_fini(struct model *m)
{
	gmem_fini(&m->g);
	free(m->now);
	free(m->base);
	close(m->pagemap_fd);
}

uint8_t *host_at(const struct gmem *g, uint64_t offset)
{
	for (unsigned i = 0; i < g->n; offset -= g->regions[i++].bytes)
		if (offset < g->regions[i].bytes)
			return g->regions[i].host + offset;
	fail();
	return NULL;
}

static gpa_t gpa_at(const struct gmem *g, uint64_t offset)
{
	for (unsigned i = 0; i < g->n; offset -= g->regions[i++].bytes)
		if (offset < g->regions[i].bytes)
			return g->regions[i].gpa + offset;
	fail();
	return 0;
}

void write_page(struct model *m, uint64_t page, uint8_t value)
{
	memset(host_at(&m->g, PAGES(page)), value, PAGE);
	memset(m->now + PAGES(page), value, PAGE);
}

void discard_page(struct model *m, uint64_t page)
{
	assert_int_equal(gmem_discard(&m->g, gpa_at(&m->g, PAGES(page)), PAGE), (int64_t)PAGE);
	if (m->base)
		memcpy(m->now + PAGES(page), m->base + PAGES(page), PAGE);
	else
		memset(m->now + PAGES(page), 0, PAGE);
}

/* What a guest and its balloon do. */
void disturb(struct model *m, unsigned n)
{
	while (n--) {
		uint64_t page = any(N_PAGES), kind = any(16), at = PAGES(page) + any(PAGE - 8);
		uint64_t word = any(UINT64_MAX);

		if (kind < 8) {
			memcpy(host_at(&m->g, at), &word, sizeof(word));
			memcpy(m->now + at, &word, sizeof(word));
		} else if (kind < 10) {
			write_page(m, page, 0);
		} else if (kind < 12) {
			write_page(m, page, (uint8_t)word);
		} else if (kind < 14) {
			discard_page(m, page);
		} else {
			assert_int_equal(*host_at(&m->g, at), m->now[at]);
		}
	}
}

void assert_ram(const struct gmem *g, const uint8_t *want)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < g->n; at += g->regions[i++].bytes)
		assert_int_equal(memcmp(g->regions[i].host, want + at, g->regions[i].bytes), 0);
	assert_int_equal(at, TOTAL);
}

void assert_file(int fd, const uint8_t *want, uint64_t bytes)
{
	uint8_t *got = malloc(bytes + 1);

	assert_non_null(got);
	assert_int_equal(pread(fd, got, bytes + 1, 0), bytes);
	assert_int_equal(memcmp(got, want, bytes), 0);
	free(got);
}

void assert_saved(int fd, const struct memfile_saved *saved)
{
	uint64_t checksum = 0, data = 0;
	struct err e = {0};

	assert_int_equal(sparse_checksum(fd, &checksum, &data, &e), 0);
	assert_int_equal(checksum, saved->checksum);
	assert_int_equal(data, saved->data_bytes);
}

void count_kinds(const struct model *m, uint64_t counts[3])
{
	struct pagemap *pm = pagemap_new(m->pagemap_fd);
	struct err e = {0};

	assert_non_null(pm);
	memset(counts, 0, 3 * sizeof(*counts));
	for (unsigned i = 0; i < m->g.n; i++) {
		uint64_t n, all = m->g.regions[i].bytes;

		for (uint64_t at = 0; at < all; at += n) {
			enum page_kind kind;

			assert_int_equal(pagemap_stretch(pm, m->g.regions[i].host + at, all - at,
						 all - at, &kind, &n, &e),
				0);
			counts[kind] += n / PAGE;
		}
	}
	free(pm);
}

void save(const struct model *m, int fd)
{
	uint64_t before[3], after[3];
	struct memfile_saved saved;
	struct err e = {0};

	count_kinds(m, before);
	assert_int_equal(memfile_save(&m->g, m->pagemap_fd, fd, &saved, &e), 0);
	count_kinds(m, after);
	assert_memory_equal(before, after, sizeof(before));
	assert_file(fd, m->now, TOTAL);
	assert_saved(fd, &saved);
}

/* Goes on as a VM that was restored from `fd`, which holds what RAM is now. */
void remap(struct model *m, int fd)
{
	struct err e = {0};
	struct gmem g;

	assert_int_equal(memfile_map(fd, ranges, N_RANGES, &g, &e), 0);
	gmem_fini(&m->g);
	m->g = g;
	if (!m->base)
		m->base = malloc(TOTAL);
	assert_non_null(m->base);
	memcpy(m->base, m->now, TOTAL);
}

unsigned open_files(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Saves what differs from the base, then restores the chain of two in place of the VM. */
void through_a_chain(struct model *m, int base_fd, struct memfile_runs *inherited, bool is_first)
{
	struct memfile_runs runs = {0};
	struct memfile_saved saved;
	int fd = new_file();
	struct err e = {0};
	struct gmem g;
	uint64_t bytes = 0;
	struct stat st;

	assert_int_equal(memfile_save_diff(&m->g, is_first ? NULL : inherited, m->pagemap_fd, fd,
				 &runs, &saved, &e),
		0);
	assert_saved(fd, &saved);
	for (uint32_t i = 0; i < runs.n; i++)
		bytes += runs.items[i].bytes;
	assert_return_code(fstat(fd, &st), errno);
	assert_int_equal(st.st_size, bytes);
	assert_int_equal(memfile_map(base_fd, ranges, N_RANGES, &g, &e), 0);
	assert_int_equal(memfile_map_runs(&g, fd, &runs, &e), 0);
	close(fd);
	assert_ram(&g, m->now);
	gmem_fini(&m->g);
	m->g = g;
	memcpy(m->base, m->now, TOTAL);
	memfile_runs_fini(inherited);
	*inherited = runs;
}
