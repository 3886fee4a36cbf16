// SPDX-License-Identifier: Apache-2.0
#include "tiny.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"

enum {
	CODE_AT = 0x1000,
	FIRMWARE_BYTES = 64 * 1024,
	RESET_VECTOR_FROM_END = 16,   /* Intel SDM vol. 3 §9.1.4: the first instruction */
	XEN_ELFNOTE_PHYS32_ENTRY = 18 /* Xen, xen/include/public/elfnote.h; the PVH entry */
};

unsigned tiny_out_code(uint8_t ret_code[TINY_CODE_MAX], uint16_t port, uint8_t value)
{
	const uint8_t code[] = {
		0x66, 0xba, port & 0xff, port >> 8, /* mov dx, port */
		0xb0, value,			    /* mov al, value */
		0xee,				    /* 1: out dx, al */
		0xeb, 0xfd,			    /* jmp 1b */
	};

	memcpy(ret_code, code, sizeof(code));
	return sizeof(code);
}

unsigned tiny_halt_code(uint8_t ret_code[TINY_CODE_MAX], uint16_t port, uint8_t value)
{
	const uint8_t code[] = {
		0x66, 0xba, port & 0xff, port >> 8, /* mov dx, port */
		0xb0, value,			    /* mov al, value */
		0xee,				    /* out dx, al */
		0xfa,				    /* cli */
		0xf4,				    /* 1: hlt */
		0xeb, 0xfd,			    /* jmp 1b */
	};

	memcpy(ret_code, code, sizeof(code));
	return sizeof(code);
}

unsigned tiny_spin_code(uint8_t ret_code[TINY_CODE_MAX], uint16_t port, uint8_t value)
{
	const uint8_t code[] = {
		0x66, 0xba, port & 0xff, port >> 8, /* mov dx, port */
		0xb0, value,			    /* mov al, value */
		0xeb, 0xfe,			    /* 1: jmp 1b */
	};

	memcpy(ret_code, code, sizeof(code));
	return sizeof(code);
}

unsigned tiny_patch(uint8_t ret_code[TINY_PATCH_MAX], unsigned pages, bool is_halting)
{
	const uint8_t touch[] = {
		0xb9, pages & 0xff, pages >> 8 & 0xff, 0, 0, /* mov ecx, pages */
		0xbf, 0, 0, 0, 1,			     /* mov edi, 16 MiB */
		0x88, 0x0f,				     /* 1: mov [rdi], cl */
		0x81, 0xc7, 0, 0x10, 0, 0,		     /* add edi, 4096 */
		0xff, 0xc9,				     /* dec ecx */
		0x75, 0xf4,				     /* jnz 1b */
	};
	const uint8_t end[] = {
		is_halting ? 0x90 : 0xee, /* nop, or out dx, al */
		0xfa,			  /* cli */
		0xf4,			  /* 1: hlt */
		0xeb, 0xfd,		  /* jmp 1b */
	};
	unsigned n = pages ? sizeof(touch) : 0;

	_Static_assert(sizeof(touch) + sizeof(end) <= TINY_PATCH_MAX, "room for both");
	memcpy(ret_code, touch, n);
	memcpy(ret_code + n, end, sizeof(end));
	return n + sizeof(end);
}

/* A file without a name that holds these bytes. */
static int memory_file(const char *name, const void *data, size_t bytes)
{
	autoclose int fd = memfd_create(name, MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_pwrite_full(fd, data, bytes, 0);
	return r < 0 ? r : take_fd(&fd);
}

int tiny_kernel(const uint8_t *code, unsigned bytes)
{
	struct {
		Elf64_Ehdr head;
		Elf64_Phdr parts[2];
		struct {
			Elf64_Nhdr head;
			char name[4];
			uint32_t entry;
		} note;
		uint8_t gap[CODE_AT - sizeof(Elf64_Ehdr) - 2 * sizeof(Elf64_Phdr) - 20];
		uint8_t code[TINY_CODE_MAX];
	} PACKED k = {
		.head =
			{
				.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
					ELFDATA2LSB, EV_CURRENT},
				.e_type = ET_EXEC,
				.e_machine = EM_X86_64,
				.e_version = EV_CURRENT,
				.e_entry = TINY_KERNEL_GPA,
				.e_phoff = sizeof(Elf64_Ehdr),
				.e_ehsize = sizeof(Elf64_Ehdr),
				.e_phentsize = sizeof(Elf64_Phdr),
				.e_phnum = 2,
			},
		.parts =
			{
				{
					.p_type = PT_LOAD,
					.p_flags = PF_R | PF_X,
					.p_offset = CODE_AT,
					.p_vaddr = 0xffffffff80000000ull + TINY_KERNEL_GPA,
					.p_paddr = TINY_KERNEL_GPA,
					.p_filesz = TINY_CODE_MAX,
					.p_memsz = TINY_CODE_MAX,
					.p_align = 0x1000,
				},
				{
					.p_type = PT_NOTE,
					.p_offset = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr),
					.p_filesz = 20,
					.p_memsz = 20,
					.p_align = 4,
				},
			},
		.note = {{4, 4, XEN_ELFNOTE_PHYS32_ENTRY}, "Xen", TINY_KERNEL_GPA},
	};

	_Static_assert(offsetof(typeof(k), code) == CODE_AT, "the code lies where the ELF says");
	if (bytes > sizeof(k.code))
		return -E2BIG;
	memcpy(k.code, code, bytes);
	return memory_file("tiny-kernel", &k, sizeof(k));
}

int tiny_firmware(uint16_t port, uint8_t value)
{
	static uint8_t image[FIRMWARE_BYTES];
	const uint8_t code[] = {
		0xba, port & 0xff, port >> 8, /* mov dx, port (16-bit mode) */
		0xb0, value,		      /* mov al, value */
		0xee,			      /* 1: out dx, al */
		0xeb, 0xfd,		      /* jmp 1b */
	};

	memcpy(image + sizeof(image) - RESET_VECTOR_FROM_END, code, sizeof(code));
	return memory_file("tiny-firmware", image, sizeof(image));
}
