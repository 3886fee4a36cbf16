// SPDX-License-Identifier: Apache-2.0
/* What arch_load_boot leaves in guest memory and in the registers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/layout.h"
#include "arch/state.h"
#include "base/err.h"
#include "base/fd.h"
#include "make_kernel.h"

#define MIB 0x100000ull
#define GIB 0x40000000ull

static int file_of(const void *data, size_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, data, bytes), 0);
	return fd;
}

static int elf_file(void)
{
	uint8_t file[MADE_ELF_BYTES];

	make_elf(file);
	return file_of(file, sizeof(file));
}

static void make_memory(struct gmem *g, uint64_t bytes)
{
	struct gmem_range ranges[ARCH_RAM_RANGES_MAX];
	unsigned n = arch_ram_ranges(bytes, ranges);

	assert_int_equal(gmem_init(g, ranges, n, NULL), 0);
}

static uint64_t load64(const struct gmem *g, gpa_t gpa)
{
	uint64_t v;

	assert_int_equal(gmem_copy_in(g, &v, gpa, sizeof(v)), 0);
	return v;
}

static uint32_t load32(const struct gmem *g, gpa_t gpa)
{
	return (uint32_t)load64(g, gpa);
}

static void test_ram_ranges(void **state)
{
	struct gmem_range r[ARCH_RAM_RANGES_MAX];

	(void)state;
	assert_int_equal(arch_ram_ranges(256 * MIB, r), 1);
	assert_int_equal(r[0].gpa, 0);
	assert_int_equal(r[0].bytes, 256 * MIB);
	assert_int_equal(arch_ram_ranges(3 * GIB, r), 1);
	assert_int_equal(arch_ram_ranges(5 * GIB, r), 2);
	assert_int_equal(r[0].bytes, 3 * GIB);
	assert_int_equal(r[1].gpa, 4 * GIB);
	assert_int_equal(r[1].bytes, 2 * GIB);
}

static void test_initramfs_address(void **state)
{
	(void)state;
	assert_int_equal(arch_initramfs_gpa(0, 256 * MIB, 32 * MIB, MIB), 255 * MIB);
	assert_int_equal(arch_initramfs_gpa(0, 256 * MIB, 32 * MIB, MIB - 1), 255 * MIB);
	assert_int_equal(arch_initramfs_gpa(0, 256 * MIB, 32 * MIB, MIB + 1), 255 * MIB - 4096);
	assert_int_equal(arch_initramfs_gpa(0, 3 * GIB, 32 * MIB, MIB), 2 * GIB - MIB);
	assert_int_equal(arch_initramfs_gpa(0, 64 * MIB, 32 * MIB, 32 * MIB), 32 * MIB);
	assert_int_equal(arch_initramfs_gpa(0, 64 * MIB, 32 * MIB, 32 * MIB + 1), 0);
	assert_int_equal(arch_initramfs_gpa(0, 64 * MIB, 32 * MIB, UINT64_MAX), 0);
	assert_int_equal(arch_initramfs_gpa(UINT64_MAX, 64 * MIB, 0, 1), 0);
}

static void test_elf_boot(void **state)
{
	static const char part0[] = "seven..", part1[] = "second", archive[] = "archive";
	autogmem struct gmem g = {0};
	autoclose int kernel = elf_file();
	autoclose int first = file_of(part0, 7);
	autoclose int second = file_of(part1, 6);
	const int parts[] = {first, second};
	struct arch_boot in = {
		.kernel_fd = kernel,
		.initramfs_fds = parts,
		.n_initramfs = 2,
		.archive = archive,
		.archive_bytes = 7,
		.cmdline = "quietXXX",
		.cmdline_bytes = 5,
		.n_vcpus = 2,
		.rng_seed = "a seed",
		.generation_id = "an id",
	};
	struct arch_boot_state s;
	struct err e = {0};
	const uint8_t *p;
	gpa_t initramfs;

	(void)state;
	make_memory(&g, 64 * MIB);
	assert_int_equal(arch_load_boot(&g, &in, &s, &e), 0);

	p = gmem_ptr(&g, MADE_ELF_TEXT, 0x1000);
	assert_int_equal(p[0], 't');
	assert_int_equal(p[0xfff], 't');
	p = gmem_ptr(&g, MADE_ELF_DATA, 0x2000);
	assert_int_equal(p[0xfff], 'd');
	assert_int_equal(p[0x1000], 0);

	/* parts on words: 7 -> 8, 6 -> 16 */
	initramfs = load32(&g, LAYOUT_BOOT_PARAMS + 0x218);
	assert_int_equal(load32(&g, LAYOUT_BOOT_PARAMS + 0x21c), 16 + 7);
	assert_int_equal(initramfs, 64 * MIB - 4096);
	assert_memory_equal(gmem_ptr(&g, initramfs, 24), "seven..\0second\0\0archive", 23);

	assert_string_equal(gmem_ptr(&g, LAYOUT_CMDLINE, 64), "reboot=a pci=off quiet");
	assert_int_equal(load32(&g, LAYOUT_BOOT_PARAMS + 0x228), LAYOUT_CMDLINE);
	assert_int_equal(load32(&g, LAYOUT_BOOT_PARAMS + 0x202), 0x53726448);
	assert_int_equal(load64(&g, LAYOUT_BOOT_PARAMS + 0x070), LAYOUT_ACPI_BASE);
	assert_memory_equal(gmem_ptr(&g, LAYOUT_ACPI_BASE, 8), "RSD PTR ", 8);
	assert_int_equal(load64(&g, LAYOUT_BOOT_PARAMS + 0x250), LAYOUT_SETUP_DATA);
	assert_int_equal(load32(&g, LAYOUT_SETUP_DATA + 8), 9);
	assert_int_equal(load32(&g, LAYOUT_SETUP_DATA + 12), ARCH_RNG_SEED_BYTES);
	assert_string_equal(gmem_ptr(&g, LAYOUT_SETUP_DATA + 16, 64), "a seed");
	assert_string_equal(gmem_ptr(&g, LAYOUT_GENERATION_ID, 16), "an id");

	assert_int_equal(s.rip, MADE_ELF_ENTRY);
	assert_int_equal(s.rsi, LAYOUT_BOOT_PARAMS);
	assert_int_equal(s.cr3, LAYOUT_PML4);
}

/* The tables translate every address of the first GiB to itself. */
static void test_page_tables(void **state)
{
	static const gpa_t probes[] = {0, 0x7000, 0x1000100, 0x3fffffff};
	autogmem struct gmem g = {0};
	autoclose int kernel = elf_file();
	struct arch_boot in = {.kernel_fd = kernel, .cmdline = "", .n_vcpus = 1};
	struct arch_boot_state s;
	uint64_t entry;

	(void)state;
	make_memory(&g, 64 * MIB);
	assert_int_equal(arch_load_boot(&g, &in, &s, NULL), 0);
	for (unsigned i = 0; i < ARRAY_LEN(probes); i++) {
		entry = load64(&g, s.cr3);
		assert_int_equal(entry & 1, 1);
		entry = load64(&g, (entry & ~0xfffull) + (probes[i] >> 30) * 8);
		assert_int_equal(entry & 0x81, 1);
		entry = load64(&g, (entry & ~0xfffull) + (probes[i] >> 21 & 0x1ff) * 8);
		assert_int_equal(entry & 0x83, 0x83);
		assert_int_equal((entry & ~0x1fffffull) + (probes[i] & 0x1fffff), probes[i]);
	}
	/* the descriptor of CS says what the register says: 64-bit code */
	assert_int_equal(load64(&g, s.gdt.base + s.cs.selector), 0x00af9b000000ffff);
	assert_int_equal(load64(&g, s.gdt.base + s.data.selector), 0x00cf93000000ffff);
}

static void test_memory_map(void **state)
{
	autogmem struct gmem g = {0};
	autoclose int kernel = elf_file();
	struct arch_boot in = {.kernel_fd = kernel, .cmdline = "", .n_vcpus = 1};
	struct arch_boot_state s;
	uint64_t ram = 0, floor = 0;
	unsigned n;

	(void)state;
	make_memory(&g, 5 * GIB);
	assert_int_equal(arch_load_boot(&g, &in, &s, NULL), 0);
	n = *(uint8_t *)gmem_ptr(&g, LAYOUT_BOOT_PARAMS + 0x1e8, 1);
	assert_int_equal(n, 4);
	for (unsigned i = 0; i < n; i++) {
		gpa_t at = LAYOUT_BOOT_PARAMS + 0x2d0 + i * 20;

		assert_true(load64(&g, at) >= floor);
		floor = load64(&g, at) + load64(&g, at + 8);
		if (load32(&g, at + 16) == 1)
			ram += load64(&g, at + 8);
	}
	assert_int_equal(floor, 6 * GIB);
	assert_int_equal(ram, 5 * GIB - (MIB - LAYOUT_LOW_USABLE));
}

static void test_bzimage_boot(void **state)
{
	uint8_t file[MADE_BZIMAGE_BYTES];
	autogmem struct gmem g = {0};
	struct arch_boot in = {.cmdline = "", .n_vcpus = 1};
	struct arch_boot_state s;

	(void)state;
	make_bzimage(file);
	autoclose int kernel = file_of(file, sizeof(file));
	in.kernel_fd = kernel;
	make_memory(&g, 64 * MIB);
	assert_int_equal(arch_load_boot(&g, &in, &s, NULL), 0);
	assert_int_equal(s.rip, MADE_BZIMAGE_GPA + 0x200);
	assert_int_equal(*(uint8_t *)gmem_ptr(&g, MADE_BZIMAGE_GPA, 1), 'p');
	/* the file's own setup header is in the zero page */
	assert_int_equal(load32(&g, LAYOUT_BOOT_PARAMS + 0x230), 0x200000);
	assert_int_equal(load32(&g, LAYOUT_BOOT_PARAMS + 0x260), 0x300000);
}

static void test_memory_too_small(void **state)
{
	static const uint64_t sizes[] = {4096, MIB, 16 * MIB, 20 * MIB, 32 * MIB};
	autoclose int kernel = elf_file();
	struct arch_boot in = {.kernel_fd = kernel, .cmdline = "", .n_vcpus = 1};
	struct arch_boot_state s;
	struct err e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		autogmem struct gmem g = {0};

		e = (struct err){0};
		make_memory(&g, sizes[i]);
		assert_int_equal(arch_load_boot(&g, &in, &s, &e), -ENOSPC);
		assert_string_equal(e.object, "memory");
		assert_non_null(strstr(e.cause, "too small for this kernel, which ends at 19 MiB"));
		assert_string_equal(e.remedy, "give the VM 64 MiB or more");
	}
}

static void test_initramfs_too_big(void **state)
{
	autogmem struct gmem g = {0};
	autoclose int kernel = elf_file();
	autoclose int big = file_of("", 0);
	struct arch_boot in = {.kernel_fd = kernel,
		.initramfs_fds = &big,
		.n_initramfs = 1,
		.cmdline = "",
		.n_vcpus = 1};
	struct arch_boot_state s;
	struct err e = {0};

	(void)state;
	make_memory(&g, 64 * MIB);
	assert_int_equal(ftruncate(big, 40 * MIB), 0);
	assert_int_equal(arch_load_boot(&g, &in, &s, &e), -ENOSPC);
	assert_non_null(strstr(e.remedy, "96 MiB or more"));
	assert_int_equal(ftruncate(big, 1ll << 40), 0);
	e = (struct err){0};
	assert_int_equal(arch_load_boot(&g, &in, &s, &e), -ENOSPC);
	assert_string_equal(e.object, "memory");
}

static void test_no_kernel(void **state)
{
	autogmem struct gmem g = {0};
	autoclose int text = file_of("this is a text", 14);
	int pipe_fds[2];
	struct arch_boot in = {.kernel_fd = text, .cmdline = "", .n_vcpus = 1};
	struct arch_boot_state s;
	struct err e = {0};

	(void)state;
	make_memory(&g, 64 * MIB);
	assert_int_equal(arch_load_boot(&g, &in, &s, &e), -ENOEXEC);
	assert_string_equal(e.object, "kernel");
	assert_int_equal(pipe(pipe_fds), 0);
	in.kernel_fd = pipe_fds[0];
	assert_int_equal(arch_load_boot(&g, &in, &s, &e), -EINVAL);
	assert_string_equal(e.cause, "not a regular file");
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	in.kernel_fd = -1;
	assert_int_equal(arch_load_boot(&g, &in, &s, &e), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ram_ranges),
		cmocka_unit_test(test_initramfs_address),
		cmocka_unit_test(test_elf_boot),
		cmocka_unit_test(test_page_tables),
		cmocka_unit_test(test_memory_map),
		cmocka_unit_test(test_bzimage_boot),
		cmocka_unit_test(test_memory_too_small),
		cmocka_unit_test(test_initramfs_too_big),
		cmocka_unit_test(test_no_kernel),
	};

	return cmocka_run_group_tests_name("boot", tests, NULL, NULL);
}
