// SPDX-License-Identifier: Apache-2.0
#include "arch/x86_64/boot_tables.h"

#include <errno.h>
#include <string.h>

#include "arch/layout.h"
#include "arch/x86_64/state.h"
#include "base/le.h"

enum { PAGE_BYTES = 4096 };

/* Linux, Documentation/x86/zero-page.rst and boot.rst: offsets in boot_params */
enum {
	BP_ACPI_RSDP = 0x070,
	BP_EXT_RAMDISK_IMAGE = 0x0c0,
	BP_EXT_RAMDISK_SIZE = 0x0c4,
	BP_E820_ENTRIES = 0x1e8,
	BP_BOOT_FLAG = 0x1fe,
	BP_HEADER = 0x202,
	BP_VERSION = 0x206,
	BP_LOADER = 0x210,
	BP_RAMDISK_IMAGE = 0x218,
	BP_RAMDISK_SIZE = 0x21c,
	BP_CMDLINE_PTR = 0x228,
	BP_CMDLINE_SIZE = 0x238,
	BP_SETUP_DATA = 0x250,
	BP_E820_TABLE = 0x2d0,

	BOOT_FLAG = 0xaa55,
	PROTOCOL_VERSION = 0x20f,
	LOADER_UNDEFINED = 0xff,
	E820_BYTES = 20,
	E820_RAM = 1,
	E820_RESERVED = 2,
	SETUP_RNG_SEED = 9, /* Linux 6.0 */
	SETUP_DATA_BYTES = 16,
};

struct e820 {
	uint8_t *params;
	unsigned n;
};

static void e820_add(struct e820 *map, gpa_t from, gpa_t end, uint32_t type)
{
	uint8_t *at = map->params + BP_E820_TABLE + map->n * E820_BYTES;

	if (from >= end)
		return;
	le64_store(at, from);
	le64_store(at + 8, end - from);
	le32_store(at + 16, type);
	map->params[BP_E820_ENTRIES] = (uint8_t)++map->n;
}

/* RAM as it is, less the firmware's area below 1 MiB. */
static void write_memory_map(uint8_t *params, const struct gmem *g)
{
	struct e820 map = {.params = params};

	e820_add(&map, 0, LAYOUT_LOW_USABLE, E820_RAM);
	e820_add(&map, LAYOUT_ACPI_BASE, LAYOUT_FIRMWARE_END, E820_RESERVED);
	for (unsigned i = 0; i < g->n; i++)
		e820_add(&map, MAX(g->regions[i].gpa, LAYOUT_FIRMWARE_END),
			g->regions[i].gpa + g->regions[i].bytes, E820_RAM);
}

int boot_params_write(const struct gmem *g, const struct boot_params_in *in)
{
	uint8_t *p = gmem_ptr(g, LAYOUT_BOOT_PARAMS, PAGE_BYTES);

	if (!p)
		return -EFAULT;
	memset(p, 0, PAGE_BYTES);
	memcpy(p + KERNEL_SETUP_AT, in->kernel->setup, in->kernel->setup_bytes);
	if (in->kernel->kind == KERNEL_ELF) {
		le16_store(p + BP_BOOT_FLAG, BOOT_FLAG);
		memcpy(p + BP_HEADER, "HdrS", 4);
		le16_store(p + BP_VERSION, PROTOCOL_VERSION);
	}
	p[BP_LOADER] = LOADER_UNDEFINED;
	le32_store(p + BP_RAMDISK_IMAGE, (uint32_t)in->initramfs);
	le32_store(p + BP_EXT_RAMDISK_IMAGE, (uint32_t)(in->initramfs >> 32));
	le32_store(p + BP_RAMDISK_SIZE, (uint32_t)in->initramfs_bytes);
	le32_store(p + BP_EXT_RAMDISK_SIZE, (uint32_t)(in->initramfs_bytes >> 32));
	le32_store(p + BP_CMDLINE_PTR, (uint32_t)LAYOUT_CMDLINE);
	le32_store(p + BP_CMDLINE_SIZE, (uint32_t)in->cmdline_bytes);
	le64_store(p + BP_SETUP_DATA, LAYOUT_SETUP_DATA);
	le64_store(p + BP_ACPI_RSDP, in->rsdp);
	write_memory_map(p, g);
	return 0;
}

int boot_seed_write(const struct gmem *g, const uint8_t seed[ARCH_RNG_SEED_BYTES])
{
	uint8_t *p = gmem_ptr(g, LAYOUT_SETUP_DATA, SETUP_DATA_BYTES + ARCH_RNG_SEED_BYTES);

	if (!p)
		return -EFAULT;
	le64_store(p, 0); /* no further setup_data */
	le32_store(p + 8, SETUP_RNG_SEED);
	le32_store(p + 12, ARCH_RNG_SEED_BYTES);
	memcpy(p + SETUP_DATA_BYTES, seed, ARCH_RNG_SEED_BYTES);
	return 0;
}

/* ---- registers (boot.rst, "64-bit boot protocol"; Intel SDM vol. 3 chapters 2 to 4) */

enum {
	SELECTOR_CODE = 0x10,
	SELECTOR_DATA = 0x18,
	SELECTOR_TSS = 0x20,
	GDT_ENTRIES = 6,    /* the TSS takes two */
	SEGMENT_CODE = 0xb, /* execute, read, accessed */
	SEGMENT_DATA = 0x3, /* read, write, accessed */
	SEGMENT_TSS = 0xb,  /* 64-bit, busy */
	RFLAGS_FIXED = 1 << 1,
	STACK_TOP = 0x8ff0,

	CR0_PE = 1 << 0,
	CR0_MP = 1 << 1,
	CR0_ET = 1 << 4,
	CR0_NE = 1 << 5,
	CR0_WP = 1 << 16,
	CR4_PAE = 1 << 5,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,

	PTE_PRESENT = 1 << 0,
	PTE_WRITE = 1 << 1,
	PTE_LARGE = 1 << 7,
	PD_ENTRIES = 512,
	LARGE_SHIFT = 21,

	MSR_MISC_ENABLE = 0x1a0,
	MISC_ENABLE_FAST_STRING = 1 << 0,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MTRR_ENABLED_WRITE_BACK = 1 << 11 | 6,
};
#define CR0_PG (1u << 31)

static const struct x86_segment code_segment = {
	.limit = 0xffffffff,
	.selector = SELECTOR_CODE,
	.type = SEGMENT_CODE,
	.is_present = true,
	.is_code_or_data = true,
	.is_64bit = true,
	.has_page_limit = true,
};

static const struct x86_segment data_segment = {
	.limit = 0xffffffff,
	.selector = SELECTOR_DATA,
	.type = SEGMENT_DATA,
	.is_present = true,
	.is_code_or_data = true,
	.is_32bit = true,
	.has_page_limit = true,
};

static const struct x86_segment task_segment = {
	.limit = 0x67,
	.selector = SELECTOR_TSS,
	.type = SEGMENT_TSS,
	.is_present = true,
};

/* The eight bytes that describe the segment in a table (SDM vol. 3 §3.4.5). */
static uint64_t descriptor(const struct x86_segment *s)
{
	uint64_t limit = s->has_page_limit ? s->limit >> 12 : s->limit;
	uint64_t access = s->type | (uint64_t)s->is_code_or_data << 4 | (uint64_t)s->dpl << 5 |
			  (uint64_t)s->is_present << 7;
	uint64_t flags = (uint64_t)s->is_64bit << 1 | (uint64_t)s->is_32bit << 2 |
			 (uint64_t)s->has_page_limit << 3;

	return (limit & 0xffff) | (s->base & 0xffffff) << 16 | access << 40 |
	       (limit >> 16 & 0xf) << 48 | flags << 52 | (s->base >> 24 & 0xff) << 56;
}

static int write_gdt(const struct gmem *g)
{
	uint64_t gdt[GDT_ENTRIES] = {
		[SELECTOR_CODE / 8] = descriptor(&code_segment),
		[SELECTOR_DATA / 8] = descriptor(&data_segment),
		[SELECTOR_TSS / 8] = descriptor(&task_segment),
	};

	return gmem_copy_out(g, LAYOUT_GDT, gdt, sizeof(gdt));
}

/* The first GiB, mapped one to one by 2 MiB pages. */
static int write_page_tables(const struct gmem *g)
{
	uint8_t *pml4 = gmem_ptr(g, LAYOUT_PML4, PAGE_BYTES);
	uint8_t *pdpt = gmem_ptr(g, LAYOUT_PDPT, PAGE_BYTES);
	uint8_t *pd = gmem_ptr(g, LAYOUT_PD, PAGE_BYTES);

	if (!pml4 || !pdpt || !pd)
		return -EFAULT;
	le64_store(pml4, LAYOUT_PDPT | PTE_PRESENT | PTE_WRITE);
	le64_store(pdpt, LAYOUT_PD | PTE_PRESENT | PTE_WRITE);
	for (uint64_t i = 0; i < PD_ENTRIES; i++)
		le64_store(pd + i * sizeof(uint64_t),
			i << LARGE_SHIFT | PTE_PRESENT | PTE_WRITE | PTE_LARGE);
	return 0;
}

int boot_state_write(const struct gmem *g, gpa_t entry, struct arch_boot_state *ret)
{
	if (write_gdt(g) < 0 || write_page_tables(g) < 0)
		return -EFAULT;
	*ret = (struct arch_boot_state){
		.rip = entry,
		.rsi = LAYOUT_BOOT_PARAMS,
		.rsp = STACK_TOP,
		.rflags = RFLAGS_FIXED,
		.cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE,
		.cr3 = LAYOUT_PML4,
		.cr4 = CR4_PAE,
		.efer = EFER_LME | EFER_LMA,
		.cs = code_segment,
		.data = data_segment,
		.tr = task_segment,
		.gdt = {LAYOUT_GDT, GDT_ENTRIES * sizeof(uint64_t) - 1},
		/* What firmware leaves behind: without the first Linux gives up fast string
		 * moves, without the second all memory would be uncached. */
		.msrs = {{MSR_MISC_ENABLE, MISC_ENABLE_FAST_STRING},
			{MSR_MTRR_DEF_TYPE, MTRR_ENABLED_WRITE_BACK}},
		.n_msrs = 2,
	};
	return 0;
}
