// SPDX-License-Identifier: Apache-2.0
#include "arch/x86_64/acpi.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "arch/layout.h"
#include "arch/x86_64/aml.h"
#include "base/le.h"

/* ACPI 6.4 chapter 5: sizes and offsets of what we write */
enum {
	RSDP_BYTES = 36,
	RSDP_OLD_BYTES = 20, /* what the first checksum covers */
	HEADER_BYTES = 36,
	TABLE_ALIGN = 16,
	FADT_BYTES = 276,
	MADT_BYTES = HEADER_BYTES + 8,
	LAPIC_BYTES = 8,
	IOAPIC_BYTES = 12,
};

/* Where tables go: a cursor over the guest's bytes. */
struct table_area {
	uint8_t *at;
	size_t room;
	size_t used;
	gpa_t gpa;
};

/* A zeroed table of `bytes` bytes, or NULL when there is no room. */
static uint8_t *area_take(struct table_area *area, size_t bytes, gpa_t *ret_gpa)
{
	size_t from = ALIGN_UP(area->used, (size_t)TABLE_ALIGN);

	if (from > area->room || bytes > area->room - from)
		return NULL;
	area->used = from + bytes;
	*ret_gpa = area->gpa + from;
	return memset(area->at + from, 0, bytes);
}

static uint8_t checksum(const uint8_t *p, size_t bytes)
{
	uint8_t sum = 0;

	while (bytes--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

/* §5.2.6 System description table header; the body must be complete. */
static void seal(uint8_t *t, const char *signature, uint8_t revision, size_t bytes)
{
	memcpy(t, signature, 4);
	le32_store(t + 4, (uint32_t)bytes);
	t[8] = revision;
	memcpy(t + 10, "SMACHN", 6);
	memcpy(t + 16, "SMACHINE", 8);
	le32_store(t + 24, 1);
	memcpy(t + 28, "SMVM", 4);
	le32_store(t + 32, 1);
	t[9] = 0;
	t[9] = checksum(t, bytes);
}

/* ---- DSDT */

static void write_serial(struct aml *a)
{
	size_t dev = aml_device(a, "COM1");
	struct aml_crs crs;

	aml_name_decl(a, "_HID");
	aml_eisa_id(a, "PNP0501");
	aml_name_decl(a, "_UID");
	aml_integer(a, 0);
	crs = aml_crs(a);
	aml_crs_io(a, LAYOUT_SERIAL_PORT, LAYOUT_SERIAL_PORTS);
	aml_crs_edge_interrupt(a, LAYOUT_SERIAL_IRQ);
	aml_crs_end(a, crs);
	aml_end(a, dev);
}

static void write_virtio(struct aml *a, unsigned index, const struct virtio_mmio_slot *slot)
{
	char name[8];
	struct aml_crs crs;
	size_t dev;

	snprintf(name, sizeof(name), "V%03u", index % 1000);
	dev = aml_device(a, name);
	aml_name_decl(a, "_HID");
	aml_string(a, "LNRO0005");
	aml_name_decl(a, "_UID");
	aml_integer(a, index);
	aml_name_decl(a, "_CCA");
	aml_integer(a, 1);
	crs = aml_crs(a);
	aml_crs_memory(a, (uint32_t)slot->base, (uint32_t)LAYOUT_VIRTIO_MMIO_STRIDE);
	aml_crs_edge_interrupt(a, slot->irq);
	aml_crs_end(a, crs);
	aml_end(a, dev);
}

/* "Virtual Machine Generation ID" (Microsoft): _CID VM_Gen_Counter, ADDR with the halves of the
 * address. Linux reads it in either case, and knows VMGENCTR too. */
static void write_generation_id(struct aml *a)
{
	size_t dev = aml_device(a, "VGEN"), package;

	aml_name_decl(a, "_HID");
	aml_string(a, "SMVM0001");
	aml_name_decl(a, "_CID");
	package = aml_package(a, 2);
	aml_string(a, "VM_Gen_Counter");
	aml_string(a, "VMGENCTR");
	aml_end(a, package);
	aml_name_decl(a, "_DDN");
	aml_string(a, "VM_Gen_Counter");
	aml_name_decl(a, "ADDR");
	package = aml_package(a, 2);
	aml_integer(a, (uint32_t)LAYOUT_GENERATION_ID);
	aml_integer(a, LAYOUT_GENERATION_ID >> 32);
	aml_end(a, package);
	aml_end(a, dev);
}

/* §5.6.9 Generic event device: an interrupt that becomes a notification */
static void write_event_device(struct aml *a)
{
	enum { NOTIFY_GENERATION_CHANGED = 0x80 };
	size_t dev = aml_device(a, "GED_"), method, branch;
	struct aml_crs crs;

	aml_name_decl(a, "_HID");
	aml_string(a, "ACPI0013");
	aml_name_decl(a, "_UID");
	aml_integer(a, 0);
	crs = aml_crs(a);
	aml_crs_edge_interrupt(a, LAYOUT_GENERATION_IRQ);
	aml_crs_end(a, crs);
	method = aml_method(a, "_EVT", 1);
	branch = aml_if_arg0_is(a, LAYOUT_GENERATION_IRQ);
	aml_notify(a, "VGEN", NOTIFY_GENERATION_CHANGED);
	aml_end(a, branch);
	aml_end(a, method);
	aml_end(a, dev);
}

static void write_sleep_states(struct aml *a)
{
	size_t package;

	aml_name_decl(a, "\\_S5_");
	package = aml_package(a, 4);
	aml_integer(a, LAYOUT_SLEEP_TYPE_OFF);
	aml_integer(a, LAYOUT_SLEEP_TYPE_OFF);
	aml_integer(a, 0);
	aml_integer(a, 0);
	aml_end(a, package);
}

static int write_dsdt(struct table_area *area, const struct acpi_machine *m, gpa_t *ret_gpa)
{
	uint8_t *t = area_take(area, HEADER_BYTES, ret_gpa);
	struct aml a;
	size_t scope;

	if (!t)
		return -ENOSPC;
	aml_init(&a, t + HEADER_BYTES, area->room - area->used);
	write_sleep_states(&a);
	scope = aml_scope(&a, "\\_SB_");
	write_serial(&a);
	for (unsigned i = 0; i < m->n_slots; i++)
		write_virtio(&a, i, &m->slots[i]);
	write_generation_id(&a);
	write_event_device(&a);
	aml_end(&a, scope);
	if (!aml_fits(&a))
		return -ENOSPC;
	area->used += a.bytes;
	seal(t, "DSDT", 2, HEADER_BYTES + a.bytes);
	return 0;
}

/* ---- fixed tables */

/* §5.2.3.2 Generic address structure: one byte-wide I/O port */
static void write_port(uint8_t *at, uint16_t port)
{
	at[0] = 1; /* system I/O */
	at[1] = 8;
	at[3] = 1; /* byte access */
	le64_store(at + 4, port);
}

/* §5.2.9 Fixed ACPI description table */
static int write_fadt(struct table_area *area, gpa_t dsdt, gpa_t *ret_gpa)
{
	enum {
		WBINVD = 1 << 0,
		NO_FIXED_POWER_BUTTON = 1 << 4,
		NO_FIXED_SLEEP_BUTTON = 1 << 5,
		RESET_REG_SUP = 1 << 10,
		HW_REDUCED_ACPI = 1 << 20,
		BOOT_NO_VGA = 1 << 2,
		BOOT_NO_ASPM = 1 << 4,
		BOOT_NO_CMOS_RTC = 1 << 5,
	};
	uint8_t *t = area_take(area, FADT_BYTES, ret_gpa);

	if (!t)
		return -ENOSPC;
	le32_store(t + 40, (uint32_t)dsdt);
	/* no legacy devices, no 8042: their bits are clear */
	le16_store(t + 109, BOOT_NO_VGA | BOOT_NO_ASPM | BOOT_NO_CMOS_RTC);
	le32_store(t + 112, WBINVD | NO_FIXED_POWER_BUTTON | NO_FIXED_SLEEP_BUTTON | RESET_REG_SUP |
				    HW_REDUCED_ACPI);
	write_port(t + 116, LAYOUT_RESET_PORT);
	t[128] = LAYOUT_RESET_VALUE;
	t[131] = 4; /* minor version: 6.4 */
	le64_store(t + 140, dsdt);
	write_port(t + 244, LAYOUT_SLEEP_CONTROL_PORT);
	write_port(t + 256, LAYOUT_SLEEP_STATUS_PORT);
	memcpy(t + 268, "SMACHINE", 8);
	seal(t, "FACP", 6, FADT_BYTES);
	return 0;
}

/* §5.2.12 Multiple APIC description table; flags 0: there is no 8259 */
static int write_madt(struct table_area *area, unsigned n_vcpus, gpa_t *ret_gpa)
{
	size_t bytes = MADT_BYTES + n_vcpus * (size_t)LAPIC_BYTES + IOAPIC_BYTES;
	uint8_t *t = area_take(area, bytes, ret_gpa), *at;

	if (!t)
		return -ENOSPC;
	le32_store(t + HEADER_BYTES, (uint32_t)LAYOUT_LAPIC_BASE);
	at = t + MADT_BYTES;
	for (unsigned i = 0; i < n_vcpus; i++, at += LAPIC_BYTES) {
		at[0] = 0; /* processor local APIC */
		at[1] = LAPIC_BYTES;
		at[2] = (uint8_t)i;
		at[3] = (uint8_t)i;
		le32_store(at + 4, 1); /* enabled */
	}
	at[0] = 1; /* I/O APIC */
	at[1] = IOAPIC_BYTES;
	le32_store(at + 4, (uint32_t)LAYOUT_IOAPIC_BASE);
	seal(t, "APIC", 5, bytes);
	return 0;
}

static int write_xsdt(struct table_area *area, gpa_t fadt, gpa_t madt, gpa_t *ret_gpa)
{
	size_t bytes = HEADER_BYTES + 2 * sizeof(uint64_t);
	uint8_t *t = area_take(area, bytes, ret_gpa);

	if (!t)
		return -ENOSPC;
	le64_store(t + HEADER_BYTES, fadt);
	le64_store(t + HEADER_BYTES + sizeof(uint64_t), madt);
	seal(t, "XSDT", 1, bytes);
	return 0;
}

/* §5.2.5.3 */
static void write_rsdp(uint8_t *t, gpa_t xsdt)
{
	memcpy(t, "RSD PTR ", 8);
	memcpy(t + 9, "SMACHN", 6);
	t[15] = 2;
	le32_store(t + 20, RSDP_BYTES);
	le64_store(t + 24, xsdt);
	t[8] = checksum(t, RSDP_OLD_BYTES);
	t[32] = checksum(t, RSDP_BYTES);
}

int64_t acpi_write(void *at, size_t room, gpa_t gpa, const struct acpi_machine *m)
{
	struct table_area area = {.at = at, .room = room, .gpa = gpa};
	gpa_t dsdt, fadt, madt, xsdt, rsdp_gpa;
	uint8_t *rsdp = area_take(&area, RSDP_BYTES, &rsdp_gpa);

	if (!rsdp || m->n_vcpus > UINT8_MAX || write_dsdt(&area, m, &dsdt) < 0 ||
		write_fadt(&area, dsdt, &fadt) < 0 || write_madt(&area, m->n_vcpus, &madt) < 0 ||
		write_xsdt(&area, fadt, madt, &xsdt) < 0)
		return -ENOSPC;
	write_rsdp(rsdp, xsdt);
	return (int64_t)area.used;
}
