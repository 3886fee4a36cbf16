// SPDX-License-Identifier: Apache-2.0
#include "arch/kernel_image.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "arch/layout.h"
#include "base/err.h"
#include "base/le.h"

/* Linux, Documentation/x86/boot.rst: offsets of the setup header in a bzImage */
enum {
	SETUP_SECTS = 0x1f1,
	SETUP_BOOT_FLAG = 0x1fe,
	SETUP_JUMP_LENGTH = 0x201,
	SETUP_MAGIC = 0x202,
	SETUP_VERSION = 0x206,
	SETUP_LOADFLAGS = 0x211,
	SETUP_XLOADFLAGS = 0x236,
	SETUP_PREF_ADDRESS = 0x258,
	SETUP_INIT_SIZE = 0x260,
	SETUP_END = 0x264, /* what we read reaches to here */

	BOOT_FLAG = 0xaa55,
	VERSION_XLOADFLAGS = 0x20c,
	LOADED_HIGH = 1 << 0,
	XLF_KERNEL_64 = 1 << 0,
	SECTOR_BYTES = 512,
	DEFAULT_SETUP_SECTS = 4,
	ENTRY_64 = 0x200, /* of the protected-mode part */
};

/* What people hand over instead of a kernel. */
static const struct {
	uint16_t at;
	uint8_t bytes;
	char magic[8];
	const char *name;
} strangers[] = {
	{0, 2, "\x1f\x8b", "a gzip file"}, {0, 4, "\x28\xb5\x2f\xfd", "a zstd file"},
	{0, 6,
		"\xfd"
		"7zXZ",
		"an xz file"},
	{0, 2, "BZ", "a bzip2 file"}, {0, 2, "PK", "a zip file"},
	{0, 6, "070701", "a cpio archive (an initramfs?)"},
	{0, 7, "!<arch>", "an archive or a Debian package"}, {0, 2, "#!", "a script"},
	{0, 4, "hsqs", "a squashfs image"},
	{56, 4, "ARMd", "an arm64 kernel"}, /* arm64 booting.rst: magic at 56 */
};

static int with_remedy(struct err *e)
{
	return err_remedy(e, "give a Linux kernel for x86_64: an uncompressed vmlinux (ELF) or a "
			     "bzImage with 64-bit entry");
}

static int refuse(struct err *e, const char *why)
{
	err_set(e, -ENOEXEC, "%s", why);
	return e ? with_remedy(e) : -ENOEXEC;
}

static int refuse_stranger(const uint8_t *p, size_t n, struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(strangers); i++)
		if (n >= (size_t)strangers[i].at + strangers[i].bytes &&
			memcmp(p + strangers[i].at, strangers[i].magic, strangers[i].bytes) == 0) {
			err_set(e, -ENOEXEC, "this is %s, not a Linux kernel for x86_64",
				strangers[i].name);
			return e ? with_remedy(e) : -ENOEXEC;
		}
	return refuse(e, "this is not a Linux kernel: neither ELF nor bzImage");
}

/* ---- ELF (System V ABI, and how Linux links vmlinux) */

static bool is_elf(const uint8_t *p, size_t n)
{
	return n >= sizeof(Elf64_Ehdr) && memcmp(p, ELFMAG, SELFMAG) == 0;
}

static int check_elf_header(const Elf64_Ehdr *h, struct err *e)
{
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
		h->e_machine != EM_X86_64)
		return refuse(e, "this ELF file is not for x86_64");
	if (h->e_type != ET_EXEC)
		return refuse(e, "this ELF file is a program, a library or a module, not a kernel");
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0)
		return refuse(e, "this ELF file has no usable program headers");
	return 0;
}

/* A kernel runs in the upper half of the address space and its physical addresses differ from its
 * virtual ones; in an ordinary program they do not. */
static bool is_kernel_segment(const Elf64_Phdr *ph)
{
	return ph->p_vaddr >> 63 || ph->p_vaddr != ph->p_paddr;
}

static int add_segment(
	struct kernel_image *k, const Elf64_Phdr *ph, uint64_t file_bytes, struct err *e)
{
	uint64_t end;

	if (k->n_segments == KERNEL_SEGMENTS_MAX)
		return refuse(e, "this kernel has more segments than a kernel can have");
	if (add_overflows(ph->p_offset, ph->p_filesz, &end) || end > file_bytes)
		return refuse(e, "this kernel is cut off: a segment reaches beyond the file's end");
	if (ph->p_filesz > ph->p_memsz)
		return refuse(e, "this kernel is damaged: a segment is longer in the file than in "
				 "memory");
	if (ph->p_paddr < LAYOUT_KERNEL_MIN || add_overflows(ph->p_paddr, ph->p_memsz, &end) ||
		end > LAYOUT_KERNEL_MAX)
		return refuse(e, "this kernel wants to be loaded below 1 MiB or above 1 GiB");
	k->segments[k->n_segments++] = (struct kernel_segment){
		.file_at = ph->p_offset,
		.file_bytes = ph->p_filesz,
		.gpa = ph->p_paddr,
		.mem_bytes = ph->p_memsz,
	};
	k->end = MAX(k->end, end);
	return 0;
}

static bool has_entry(const struct kernel_image *k)
{
	for (unsigned i = 0; i < k->n_segments; i++) {
		const struct kernel_segment *s = &k->segments[i];

		if (k->entry >= s->gpa && k->entry - s->gpa < s->file_bytes)
			return true;
	}
	return false;
}

static int parse_elf(
	const uint8_t *p, size_t n, uint64_t file_bytes, struct kernel_image *k, struct err *e)
{
	Elf64_Ehdr h;
	Elf64_Phdr ph;
	int r;

	memcpy(&h, p, sizeof(h));
	r = check_elf_header(&h, e);
	if (r < 0)
		return r;
	if (h.e_phoff > n || (n - h.e_phoff) / sizeof(ph) < h.e_phnum)
		return refuse(e, "this ELF file's program headers are not at its beginning, or it "
				 "is cut off");
	k->kind = KERNEL_ELF;
	k->entry = h.e_entry;
	for (unsigned i = 0; i < h.e_phnum; i++) {
		memcpy(&ph, p + h.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_INTERP)
			return refuse(e, "this ELF file is a program, not a kernel");
		if (ph.p_type != PT_LOAD || ph.p_memsz == 0)
			continue;
		if (!is_kernel_segment(&ph))
			return refuse(e, "this ELF file is a program, not a Linux kernel");
		r = add_segment(k, &ph, file_bytes, e);
		if (r < 0)
			return r;
	}
	if (!has_entry(k))
		return refuse(e, "this ELF file's entry point is in none of its segments");
	return 0;
}

/* ---- bzImage */

static bool is_bzimage(const uint8_t *p, size_t n)
{
	return n >= SETUP_END && le16_load(p + SETUP_BOOT_FLAG) == BOOT_FLAG &&
	       memcmp(p + SETUP_MAGIC, "HdrS", 4) == 0;
}

static int parse_bzimage(
	const uint8_t *p, size_t n, uint64_t file_bytes, struct kernel_image *k, struct err *e)
{
	uint64_t sects = p[SETUP_SECTS] ? p[SETUP_SECTS] : DEFAULT_SETUP_SECTS;
	uint64_t at = (sects + 1) * SECTOR_BYTES;
	uint64_t pref = le64_load(p + SETUP_PREF_ADDRESS);
	uint64_t bytes, room, end;

	if (le16_load(p + SETUP_VERSION) < VERSION_XLOADFLAGS ||
		!(p[SETUP_LOADFLAGS] & LOADED_HIGH) ||
		!(le16_load(p + SETUP_XLOADFLAGS) & XLF_KERNEL_64))
		return refuse(e, "this bzImage has no 64-bit entry (a 32-bit or very old kernel)");
	if (file_bytes <= at + ENTRY_64)
		return refuse(e, "this bzImage is cut off after its setup code");
	bytes = file_bytes - at;
	room = MAX(bytes, (uint64_t)le32_load(p + SETUP_INIT_SIZE));
	if (pref < LAYOUT_KERNEL_MIN || add_overflows(pref, room, &end) || end > LAYOUT_KERNEL_MAX)
		return refuse(e, "this bzImage wants to be loaded below 1 MiB or above 1 GiB");
	k->kind = KERNEL_BZIMAGE;
	k->entry = pref + ENTRY_64;
	k->end = end;
	k->segments[0] = (struct kernel_segment){at, bytes, pref, room};
	k->n_segments = 1;
	/* the header's length is told by the jump over it (boot.rst, "64-bit boot protocol") */
	k->setup_bytes = (uint32_t)(SETUP_MAGIC + p[SETUP_JUMP_LENGTH] - KERNEL_SETUP_AT);
	k->setup_bytes =
		(uint32_t)MIN(MIN(k->setup_bytes, (uint32_t)KERNEL_SETUP_MAX), n - KERNEL_SETUP_AT);
	memcpy(k->setup, p + KERNEL_SETUP_AT, k->setup_bytes);
	return 0;
}

int kernel_image_parse(const void *prefix, size_t prefix_bytes, uint64_t file_bytes,
	struct kernel_image *ret, struct err *e)
{
	struct kernel_image k = {0};
	int r;

	if (file_bytes == 0)
		r = refuse(e, "the file is empty");
	else if (is_elf(prefix, prefix_bytes))
		r = parse_elf(prefix, prefix_bytes, file_bytes, &k, e);
	else if (is_bzimage(prefix, prefix_bytes))
		r = parse_bzimage(prefix, prefix_bytes, file_bytes, &k, e);
	else
		r = refuse_stranger(prefix, prefix_bytes, e);
	if (r < 0)
		return r;
	*ret = k;
	return 0;
}
