// SPDX-License-Identifier: Apache-2.0
/* Small files that are, to a boot loader, well-formed kernels. */
#pragma once

#include <elf.h>
#include <string.h>

#include "arch/kernel_image.h"
#include "base/le.h"

enum {
	MADE_ELF_BYTES = 0x3000,
	MADE_ELF_TEXT_AT = 0x1000,
	MADE_ELF_DATA_AT = 0x2000,
	MADE_BZIMAGE_BYTES = 0x2000,
	MADE_BZIMAGE_PAYLOAD_AT = 3 * 512,
};
#define MADE_ELF_ENTRY	 0x1000100ull
#define MADE_ELF_TEXT	 0x1000000ull
#define MADE_ELF_DATA	 0x1200000ull
#define MADE_ELF_END	 0x1300000ull
#define MADE_BZIMAGE_GPA 0x1000000ull

/* An ELF vmlinux of two segments; the second has bytes that are not in the file. */
static inline void make_elf(uint8_t file[MADE_ELF_BYTES])
{
	Elf64_Ehdr h = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = MADE_ELF_ENTRY,
		.e_phoff = sizeof(h),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	Elf64_Phdr ph[3] = {
		{.p_type = PT_LOAD,
			.p_offset = MADE_ELF_TEXT_AT,
			.p_vaddr = 0xffffffff81000000,
			.p_paddr = MADE_ELF_TEXT,
			.p_filesz = 0x1000,
			.p_memsz = 0x1000},
		{.p_type = PT_LOAD,
			.p_offset = MADE_ELF_DATA_AT,
			.p_vaddr = 0xffffffff81200000,
			.p_paddr = MADE_ELF_DATA,
			.p_filesz = 0x1000,
			.p_memsz = 0x100000},
		{.p_type = PT_NOTE, .p_offset = 0xffffffff, .p_filesz = 0xffffffff},
	};

	memset(file, 0, MADE_ELF_BYTES);
	memcpy(file, &h, sizeof(h));
	memcpy(file + sizeof(h), ph, sizeof(ph));
	memset(file + MADE_ELF_TEXT_AT, 't', 0x1000);
	memset(file + MADE_ELF_DATA_AT, 'd', 0x1000);
}

/* A bzImage with two sectors of setup code and the 64-bit entry (boot.rst). */
static inline void make_bzimage(uint8_t file[MADE_BZIMAGE_BYTES])
{
	memset(file, 0, MADE_BZIMAGE_BYTES);
	file[0x1f1] = 2;
	le16_store(file + 0x1fe, 0xaa55);
	file[0x200] = 0xeb;
	file[0x201] = 0x6a;
	memcpy(file + 0x202, "HdrS", 4);
	le16_store(file + 0x206, 0x20f);
	file[0x211] = 1;
	le32_store(file + 0x230, 0x200000);
	le16_store(file + 0x236, 1);
	le64_store(file + 0x258, MADE_BZIMAGE_GPA);
	le32_store(file + 0x260, 0x300000);
	memset(file + MADE_BZIMAGE_PAYLOAD_AT, 'p', MADE_BZIMAGE_BYTES - MADE_BZIMAGE_PAYLOAD_AT);
}
