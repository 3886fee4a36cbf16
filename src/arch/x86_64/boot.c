// SPDX-License-Identifier: Apache-2.0
/*
 * A cold boot on x86_64: kernel and initramfs into guest memory by the 64-bit Linux boot protocol,
 * ACPI tables beside them. The bytes go from the file straight into guest memory; what a file does
 * not fill stays the zeroes that fresh memory is, so nothing is touched needlessly.
 */
#include "arch/arch.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/cmdline.h"
#include "arch/layout.h"
#include "arch/state.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/boot_tables.h"
#include "base/err.h"
#include "base/fd.h"

/*
 * What this machine is, where Linux would find out slowly or wrongly: without EFI, kernels built
 * with it forget the ACPI reset register of hardware-reduced machines and jump into a BIOS that is
 * not there; without PCI, early quirks search a bus for it. The caller's words come after and win.
 */
static const char machine_words[] = "reboot=a pci=off";

enum {
	PAGE_BYTES = 4096,
	PART_ALIGN = 4,		      /* newc archives in a row each begin on a word */
	KERNEL_WORK_BYTES = 16 << 20, /* what Linux needs beyond its image to get anywhere */
	MIB = 1 << 20,
};

unsigned arch_ram_ranges(uint64_t bytes, struct gmem_range ret[ARCH_RAM_RANGES_MAX])
{
	uint64_t low = MIN(bytes, LAYOUT_LOW_RAM_END);

	ret[0] = (struct gmem_range){LAYOUT_RAM_BASE, low};
	if (bytes == low)
		return 1;
	ret[1] = (struct gmem_range){LAYOUT_HIGH_RAM_BASE, bytes - low};
	return 2;
}

gpa_t arch_initramfs_gpa(gpa_t ram_base, uint64_t ram_bytes, gpa_t kernel_end, uint64_t bytes)
{
	gpa_t top, gpa;

	if (add_overflows(ram_base, ram_bytes, &top))
		return 0;
	top = MIN(top, LAYOUT_INITRAMFS_MAX);
	if (bytes > top)
		return 0;
	gpa = ALIGN_DOWN(top - bytes, (gpa_t)PAGE_BYTES);
	return gpa >= kernel_end && gpa >= ram_base ? gpa : 0;
}

/* ---- files */

static int file_bytes(int fd, const char *what, uint64_t *ret, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		err_sys(e, "fstat");
		return err_object(e, "%s", what);
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, -EINVAL, "not a regular file");
		err_object(e, "%s", what);
		return err_remedy(e, "name the file itself, not a directory, pipe or device");
	}
	*ret = (uint64_t)st.st_size;
	return 0;
}

/* Reads a piece of a file to gpa. */
static int load_piece(const struct gmem *g, int fd, const char *what,
	const struct kernel_segment *s, struct err *e)
{
	void *to = gmem_ptr(g, s->gpa, s->mem_bytes);
	int r;

	if (!to) {
		err_set(e, -EFAULT, "0x%llx bytes at 0x%llx are outside guest memory",
			(unsigned long long)s->mem_bytes, (unsigned long long)s->gpa);
		return err_object(e, "%s", what);
	}
	r = fd_pread_full(fd, to, s->file_bytes, (off_t)s->file_at);
	if (r < 0) {
		err_set(e, r, "cannot be read: %s",
			r == -ENODATA ? "it became shorter meanwhile" : strerror(-r));
		return err_object(e, "%s", what);
	}
	return 0;
}

/* ---- kernel */

static int parse_kernel(int fd, struct kernel_image *ret, struct err *e)
{
	uint8_t prefix[KERNEL_PREFIX_BYTES];
	uint64_t bytes;
	size_t n;
	int r;

	r = file_bytes(fd, "kernel", &bytes, e);
	if (r < 0)
		return r;
	n = MIN(bytes, sizeof(prefix));
	r = fd_pread_full(fd, prefix, n, 0);
	if (r < 0) {
		err_set(e, r, "cannot be read: %s", strerror(-r));
		return err_object(e, "kernel");
	}
	r = kernel_image_parse(prefix, n, bytes, ret, e);
	if (r < 0)
		err_object(e, "kernel");
	return r;
}

static int load_kernel(const struct gmem *g, int fd, const struct kernel_image *k, struct err *e)
{
	int r;

	for (unsigned i = 0; i < k->n_segments; i++) {
		r = load_piece(g, fd, "kernel", &k->segments[i], e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- initramfs */

static int initramfs_bytes(const struct arch_boot *in, uint64_t *ret, struct err *e)
{
	uint64_t total = 0, part;
	int r;

	for (unsigned i = 0; i < in->n_initramfs; i++) {
		r = file_bytes(in->initramfs_fds[i], "initramfs", &part, e);
		if (r < 0)
			return r;
		total = ALIGN_UP(total, (uint64_t)PART_ALIGN) + part;
	}
	*ret = ALIGN_UP(total, (uint64_t)PART_ALIGN) + in->archive_bytes;
	return 0;
}

/* `end` is what was measured: files may have changed since, guest memory may not be overrun. */
static int load_initramfs(
	const struct gmem *g, const struct arch_boot *in, gpa_t gpa, gpa_t end, struct err *e)
{
	struct kernel_segment piece;
	uint64_t bytes;
	int r;

	for (unsigned i = 0; i < in->n_initramfs; i++) {
		r = file_bytes(in->initramfs_fds[i], "initramfs", &bytes, e);
		if (r < 0)
			return r;
		if (bytes > end - gpa) {
			err_set(e, -ETXTBSY, "it grew while it was read");
			return err_object(e, "initramfs");
		}
		piece = (struct kernel_segment){0, bytes, gpa, bytes};
		r = load_piece(g, in->initramfs_fds[i], "initramfs", &piece, e);
		if (r < 0)
			return r;
		gpa = MIN(ALIGN_UP(gpa + bytes, (gpa_t)PART_ALIGN), end);
	}
	if (in->archive_bytes > end - gpa ||
		gmem_copy_out(g, gpa, in->archive, in->archive_bytes) < 0) {
		err_set(e, -EFAULT, "it does not fit where it was to go");
		return err_object(e, "boot archive");
	}
	return 0;
}

/* ---- all together */

static int refuse_memory(
	const struct gmem *g, const struct kernel_image *k, uint64_t initramfs, struct err *e)
{
	uint64_t need = k->end + initramfs + KERNEL_WORK_BYTES;

	err_set(e, -ENOSPC,
		"%llu MiB are too small for this kernel, which ends at %llu MiB and needs %llu MiB "
		"for its initramfs",
		(unsigned long long)(g->total / MIB),
		(unsigned long long)((k->end + MIB - 1) / MIB),
		(unsigned long long)((initramfs + MIB - 1) / MIB));
	err_object(e, "memory");
	return err_remedy(e, "give the VM %llu MiB or more",
		(unsigned long long)ALIGN_UP((need + MIB - 1) / MIB, 32ull));
}

static int place_initramfs(const struct gmem *g, const struct kernel_image *k, uint64_t bytes,
	gpa_t *ret, struct err *e)
{
	const struct gmem_region *low = &g->regions[0];
	gpa_t gpa;

	if (bytes > LAYOUT_INITRAMFS_MAX)
		return refuse_memory(g, k, bytes, e);
	gpa = arch_initramfs_gpa(low->gpa, low->bytes, k->end + KERNEL_WORK_BYTES, bytes);
	if (gpa == 0)
		return refuse_memory(g, k, bytes, e);
	*ret = bytes ? gpa : 0;
	return 0;
}

static int write_acpi(const struct gmem *g, const struct arch_boot *in, struct err *e)
{
	const struct acpi_machine machine = {in->n_vcpus, in->slots, in->n_slots};
	size_t room = LAYOUT_ACPI_END - LAYOUT_ACPI_BASE;
	void *at = gmem_ptr(g, LAYOUT_ACPI_BASE, room);

	if (!at || acpi_write(at, room, LAYOUT_ACPI_BASE, &machine) < 0 ||
		gmem_copy_out(
			g, LAYOUT_GENERATION_ID, in->generation_id, sizeof(in->generation_id)) < 0)
		return err_set(e, -ENOSPC, "the ACPI tables of %u vCPUs and %u devices do not fit",
			in->n_vcpus, in->n_slots);
	return 0;
}

static int write_cmdline(
	const struct gmem *g, const struct arch_boot *in, size_t *ret_bytes, struct err *e)
{
	struct cmdline line;
	int r;

	cmdline_init(&line);
	r = cmdline_add(&line, machine_words, sizeof(machine_words) - 1, e);
	if (r < 0)
		return r;
	r = cmdline_add(&line, in->cmdline, in->cmdline_bytes, e);
	if (r < 0)
		return r;
	if (gmem_copy_out(g, LAYOUT_CMDLINE, line.text, line.bytes + 1) < 0)
		return err_set(e, -EFAULT, "the kernel command line does not fit");
	*ret_bytes = line.bytes;
	return 0;
}

int arch_load_boot(const struct gmem *g, const struct arch_boot *in,
	struct arch_boot_state *ret_state, struct err *e)
{
	struct kernel_image kernel;
	struct boot_params_in params = {.kernel = &kernel, .rsdp = LAYOUT_ACPI_BASE};
	int r;

	r = parse_kernel(in->kernel_fd, &kernel, e);
	if (r < 0)
		return r;
	r = initramfs_bytes(in, &params.initramfs_bytes, e);
	if (r < 0)
		return r;
	r = place_initramfs(g, &kernel, params.initramfs_bytes, &params.initramfs, e);
	if (r < 0)
		return r;
	r = write_cmdline(g, in, &params.cmdline_bytes, e);
	if (r < 0)
		return r;
	r = write_acpi(g, in, e);
	if (r < 0)
		return r;
	r = load_kernel(g, in->kernel_fd, &kernel, e);
	if (r < 0)
		return r;
	r = load_initramfs(g, in, params.initramfs, params.initramfs + params.initramfs_bytes, e);
	if (r < 0)
		return r;
	if (boot_params_write(g, &params) < 0 || boot_seed_write(g, in->rng_seed) < 0 ||
		boot_state_write(g, kernel.entry, ret_state) < 0)
		return err_set(e, -EFAULT, "the boot tables do not fit into guest memory");
	return 0;
}
