// SPDX-License-Identifier: Apache-2.0
#include "guest/interp.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

enum { HEAD_BYTES = 256, HEADERS_MAX = 64 }; /* BINPRM_BUF_SIZE; far more than linkers make */

static int copy_out(const char *s, size_t n, char *out, size_t out_bytes)
{
	if (!n || n >= out_bytes)
		return -ENOENT;
	memcpy(out, s, n);
	out[n] = '\0';
	return 0;
}

/* "#! /bin/sh -e": blanks, then the path up to a blank or the line's end. */
static int of_script(const char *head, size_t n, char *out, size_t out_bytes)
{
	size_t from = 2, to;

	while (from < n && (head[from] == ' ' || head[from] == '\t'))
		from++;
	for (to = from; to < n && !memchr(" \t\n\r", head[to], 4) && head[to]; to++)
		;
	return copy_out(head + from, to - from, out, out_bytes);
}

static int of_elf(int fd, const Elf64_Ehdr *elf, char *out, size_t out_bytes)
{
	for (unsigned i = 0; i < MIN(elf->e_phnum, HEADERS_MAX); i++) {
		off_t at = (off_t)(elf->e_phoff + (uint64_t)i * sizeof(Elf64_Phdr));
		char name[HEAD_BYTES];
		Elf64_Phdr ph;
		int r = fd_pread_full(fd, &ph, sizeof(ph), at);

		if (r < 0)
			return r;
		if (ph.p_type != PT_INTERP)
			continue;
		if (!ph.p_filesz || ph.p_filesz > sizeof(name))
			return -ENOENT;
		r = fd_pread_full(fd, name, ph.p_filesz, (off_t)ph.p_offset);
		return r < 0 ? r : copy_out(name, strnlen(name, ph.p_filesz), out, out_bytes);
	}
	return -ENOENT;
}

int interp_of(const char *path, char *out, size_t out_bytes)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char head[HEAD_BYTES];
	Elf64_Ehdr elf;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, head, sizeof(head), 0);
	if (n < 0)
		return -errno;
	if (n > 2 && !memcmp(head, "#!", 2))
		return of_script(head, (size_t)n, out, out_bytes);
	if ((size_t)n < sizeof(elf) || memcmp(head, ELFMAG, SELFMAG) ||
		head[EI_CLASS] != ELFCLASS64)
		return -ENOENT;
	memcpy(&elf, head, sizeof(elf));
	return of_elf(fd, &elf, out, out_bytes);
}
