// SPDX-License-Identifier: Apache-2.0
#include "mem/pagemap.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"

#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_FILE    (1ull << 61)

struct pagemap *pagemap_new(int fd)
{
	struct pagemap *pm = malloc(sizeof(*pm));

	if (!pm)
		return NULL;
	pm->fd = fd;
	pm->first = pm->n = 0;
	pm->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	return pm;
}

static enum page_kind kind_of(uint64_t entry)
{
	if (!(entry & (ENTRY_PRESENT | ENTRY_SWAPPED)))
		return PAGE_UNTOUCHED;
	return entry & ENTRY_FILE ? PAGE_FILE : PAGE_OWN;
}

/* Makes the window begin at `page`. */
static int move_window(struct pagemap *pm, uint64_t page, uint64_t n, struct err *e)
{
	int r;

	n = MIN(n, (uint64_t)PAGEMAP_WINDOW);
	pm->n = 0;
	r = fd_pread_full(pm->fd, pm->entries, n * sizeof(pm->entries[0]),
		(off_t)(page * sizeof(pm->entries[0])));
	if (r < 0) {
		errno = -r;
		err_sys(e, "read which pages are in use from pagemap");
		return err_remedy(e, "give the VMM process its own /proc/self/pagemap");
	}
	pm->first = page;
	pm->n = n;
	return 0;
}

int pagemap_stretch(struct pagemap *pm, const uint8_t *host, uint64_t bytes, uint64_t ahead,
	enum page_kind *ret_kind, uint64_t *ret_bytes, struct err *e)
{
	uint64_t page = (uintptr_t)host / pm->page_bytes;
	uint64_t n = (bytes + pm->page_bytes - 1) / pm->page_bytes, at, i;
	enum page_kind kind;
	int r;

	if (pm->fd < 0) {
		*ret_kind = PAGE_OWN;
		*ret_bytes = bytes;
		return 0;
	}
	if (page < pm->first || page - pm->first >= pm->n) {
		r = move_window(pm, page, MAX(n, ahead / pm->page_bytes), e);
		if (r < 0)
			return r;
	}
	at = page - pm->first;
	kind = kind_of(pm->entries[at]);
	for (i = at + 1; i < pm->n && i - at < n && kind_of(pm->entries[i]) == kind; i++)
		;
	*ret_kind = kind;
	*ret_bytes = MIN((i - at) * pm->page_bytes, bytes);
	return 0;
}
