// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "make_kernel.h"

static int parse(const uint8_t *file, size_t bytes, struct kernel_image *k, struct err *e)
{
	size_t prefix = MIN(bytes, (size_t)KERNEL_PREFIX_BYTES);

	*e = (struct err){0};
	*k = (struct kernel_image){0};
	return kernel_image_parse(file, prefix, bytes, k, e);
}

static void refuses(const uint8_t *file, size_t bytes, const char *words)
{
	struct kernel_image k;
	struct err e;

	assert_int_equal(parse(file, bytes, &k, &e), -ENOEXEC);
	assert_int_equal(k.n_segments, 0);
	assert_non_null(strstr(e.remedy, "vmlinux"));
	if (!strstr(e.cause, words))
		fail_msg("\"%s\" does not say \"%s\"", e.cause, words);
}

static void test_elf(void **state)
{
	uint8_t file[MADE_ELF_BYTES];
	struct kernel_image k;
	struct err e;

	(void)state;
	make_elf(file);
	assert_int_equal(parse(file, sizeof(file), &k, &e), 0);
	assert_int_equal(k.kind, KERNEL_ELF);
	assert_int_equal(k.entry, MADE_ELF_ENTRY);
	assert_int_equal(k.end, MADE_ELF_END);
	assert_int_equal(k.n_segments, 2);
	assert_int_equal(k.segments[1].gpa, MADE_ELF_DATA);
	assert_int_equal(k.segments[1].file_at, MADE_ELF_DATA_AT);
	assert_int_equal(k.segments[1].file_bytes, 0x1000);
	assert_int_equal(k.segments[1].mem_bytes, 0x100000);
}

static void test_bzimage(void **state)
{
	uint8_t file[MADE_BZIMAGE_BYTES];
	struct kernel_image k;
	struct err e;

	(void)state;
	make_bzimage(file);
	assert_int_equal(parse(file, sizeof(file), &k, &e), 0);
	assert_int_equal(k.kind, KERNEL_BZIMAGE);
	assert_int_equal(k.entry, MADE_BZIMAGE_GPA + 0x200);
	assert_int_equal(k.end, MADE_BZIMAGE_GPA + 0x300000);
	assert_int_equal(k.n_segments, 1);
	assert_int_equal(k.segments[0].file_at, MADE_BZIMAGE_PAYLOAD_AT);
	assert_int_equal(k.setup_bytes, 0x202 + 0x6a - 0x1f1);
	assert_memory_equal(k.setup, file + 0x1f1, k.setup_bytes);
}

static void test_strangers(void **state)
{
	static const struct {
		const char *bytes;
		const char *name;
	} files[] = {
		{"\x1f\x8b\x08", "gzip"},
		{"\x28\xb5\x2f\xfd", "zstd"},
		{"\xfd"
		 "7zXZ",
			"xz"},
		{"#!/bin/sh\n", "script"},
		{"070701", "cpio"},
		{"!<arch>\n", "Debian package"},
		{"hello", "neither ELF nor bzImage"},
	};
	uint8_t file[1024];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(files); i++) {
		memset(file, 0, sizeof(file));
		memcpy(file, files[i].bytes, strlen(files[i].bytes));
		refuses(file, sizeof(file), files[i].name);
	}
	memset(file, 0, sizeof(file));
	memcpy(file + 56, "ARMd", 4);
	refuses(file, sizeof(file), "arm64");
	refuses(file, 0, "empty");
	refuses((const uint8_t *)"x", 1, "neither");
}

/* One field of a good file is changed at a time. */
#define BREAK_ELF(field, value, words)                                                             \
	do {                                                                                       \
		make_elf(file);                                                                    \
		h->field = (value);                                                                \
		refuses(file, sizeof(file), words);                                                \
	} while (0)
#define BREAK_SEGMENT(field, value, words)                                                         \
	do {                                                                                       \
		make_elf(file);                                                                    \
		ph[1].field = (value);                                                             \
		refuses(file, sizeof(file), words);                                                \
	} while (0)

static void test_bad_elf(void **state)
{
	_Alignas(8) uint8_t file[MADE_ELF_BYTES];
	Elf64_Ehdr *h = (Elf64_Ehdr *)file;
	Elf64_Phdr *ph = (Elf64_Phdr *)(file + sizeof(*h));

	(void)state;
	BREAK_ELF(e_machine, EM_AARCH64, "not for x86_64");
	BREAK_ELF(e_ident[EI_CLASS], ELFCLASS32, "not for x86_64");
	BREAK_ELF(e_type, ET_DYN, "a program");
	BREAK_ELF(e_phnum, 0, "no usable program headers");
	BREAK_ELF(e_phentsize, 1, "no usable program headers");
	BREAK_ELF(e_phnum, 0xffff, "not at its beginning");
	BREAK_ELF(e_phoff, UINT64_MAX - 8, "not at its beginning");
	BREAK_ELF(e_phoff, KERNEL_PREFIX_BYTES - 8, "not at its beginning");
	BREAK_ELF(e_entry, 0, "entry point");
	BREAK_ELF(e_entry, MADE_ELF_DATA + 0x1000, "entry point"); /* beyond the file's bytes */
	BREAK_SEGMENT(p_filesz, 0x1001, "cut off");
	BREAK_SEGMENT(p_offset, UINT64_MAX, "cut off");
	BREAK_SEGMENT(p_memsz, 0xfff, "longer in the file");
	BREAK_SEGMENT(p_memsz, UINT64_MAX, "below 1 MiB or above 1 GiB");
	BREAK_SEGMENT(p_paddr, 0x7000, "below 1 MiB or above 1 GiB");
	BREAK_SEGMENT(p_paddr, 0x3fffffff, "below 1 MiB or above 1 GiB");
	BREAK_SEGMENT(p_vaddr, MADE_ELF_DATA, "a program");
	BREAK_SEGMENT(p_type, PT_INTERP, "a program");
	make_elf(file);
	refuses(file, MADE_ELF_DATA_AT, "cut off");
}

static void test_too_many_segments(void **state)
{
	uint8_t file[MADE_ELF_BYTES];
	Elf64_Ehdr h;
	Elf64_Phdr ph;

	(void)state;
	make_elf(file);
	memcpy(&h, file, sizeof(h));
	memcpy(&ph, file + sizeof(h), sizeof(ph));
	h.e_phnum = KERNEL_SEGMENTS_MAX + 1;
	memcpy(file, &h, sizeof(h));
	for (unsigned i = 0; i < h.e_phnum; i++)
		memcpy(file + sizeof(h) + i * sizeof(ph), &ph, sizeof(ph));
	refuses(file, sizeof(file), "more segments");
}

static void test_bad_bzimage(void **state)
{
	uint8_t file[MADE_BZIMAGE_BYTES];

	(void)state;
	make_bzimage(file);
	le16_store(file + 0x236, 0);
	refuses(file, sizeof(file), "no 64-bit entry");
	make_bzimage(file);
	le16_store(file + 0x206, 0x20b);
	refuses(file, sizeof(file), "no 64-bit entry");
	make_bzimage(file);
	refuses(file, MADE_BZIMAGE_PAYLOAD_AT + 0x200, "cut off");
	file[0x1f1] = 0xff;
	refuses(file, sizeof(file), "cut off");
	make_bzimage(file);
	le64_store(file + 0x258, 0xfff);
	refuses(file, sizeof(file), "below 1 MiB or above 1 GiB");
	le64_store(file + 0x258, UINT64_MAX);
	refuses(file, sizeof(file), "below 1 MiB or above 1 GiB");
	make_bzimage(file);
	le32_store(file + 0x260, UINT32_MAX);
	refuses(file, sizeof(file), "below 1 MiB or above 1 GiB");
}

/* Every cut of a good file is refused or fits into what is left of it; the prefix is on the heap,
 * so that a read past its end is seen by the sanitizers. */
static void test_every_cut(void **state)
{
	uint8_t file[MADE_ELF_BYTES], *prefix;
	struct kernel_image k;
	struct err e;

	(void)state;
	for (int is_elf = 0; is_elf < 2; is_elf++) {
		if (is_elf)
			make_elf(file);
		else
			make_bzimage(file);
		for (size_t n = 0; n < 0x800; n++) {
			prefix = malloc(n ? n : 1);
			assert_non_null(prefix);
			memcpy(prefix, file, n);
			if (kernel_image_parse(prefix, n, n, &k, &e) == 0)
				for (unsigned i = 0; i < k.n_segments; i++)
					assert_true(
						k.segments[i].file_at + k.segments[i].file_bytes <=
						n);
			free(prefix);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_elf),
		cmocka_unit_test(test_bzimage),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_bad_elf),
		cmocka_unit_test(test_too_many_segments),
		cmocka_unit_test(test_bad_bzimage),
		cmocka_unit_test(test_every_cut),
	};

	return cmocka_run_group_tests_name("kernel_image", tests, NULL, NULL);
}
