// SPDX-License-Identifier: Apache-2.0
/* The tables as the guest sees them: found by following addresses, sums right, accepted by iasl. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/layout.h"
#include "arch/x86_64/acpi.h"
#include "base/fd.h"
#include "base/le.h"

enum { ROOM = LAYOUT_ACPI_END - LAYOUT_ACPI_BASE, TEXT_ROOM = 256 * 1024 };

static uint8_t tables[ROOM];

static int64_t write_tables(unsigned n_blocks, unsigned n_vcpus)
{
	struct virtio_mmio_slot slots[VIRTIO_MMIO_SLOTS_MAX];
	int n = virtio_mmio_plan(n_blocks, slots, VIRTIO_MMIO_SLOTS_MAX);
	const struct acpi_machine machine = {n_vcpus, slots, (unsigned)n};

	assert_true(n > 0);
	memset(tables, 0xcc, sizeof(tables));
	return acpi_write(tables, sizeof(tables), LAYOUT_ACPI_BASE, &machine);
}

static const uint8_t *table_at(uint64_t gpa)
{
	assert_in_range(gpa, LAYOUT_ACPI_BASE, LAYOUT_ACPI_END - 36);
	return tables + (gpa - LAYOUT_ACPI_BASE);
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

static void is_table(const uint8_t *t, const char *signature)
{
	assert_memory_equal(t, signature, 4);
	assert_int_equal(sum(t, le32_load(t + 4)), 0);
}

/* RSDP -> XSDT -> table number i; FADT -> DSDT. */
static const uint8_t *xsdt(void)
{
	return table_at(le64_load(tables + 24));
}

static const uint8_t *table(unsigned i)
{
	return table_at(le64_load(xsdt() + 36 + i * 8));
}

static const uint8_t *dsdt(void)
{
	return table_at(le64_load(table(0) + 140));
}

static void test_chain(void **state)
{
	(void)state;
	assert_true(write_tables(2, 2) > 0);
	assert_memory_equal(tables, "RSD PTR ", 8);
	assert_int_equal(sum(tables, 20), 0);
	assert_int_equal(sum(tables, 36), 0);
	is_table(xsdt(), "XSDT");
	is_table(table(0), "FACP");
	is_table(table(1), "APIC");
	is_table(dsdt(), "DSDT");
	assert_int_equal(le32_load(table(0) + 112) >> 20 & 1, 1); /* hardware-reduced */
}

static void test_processors(void **state)
{
	const uint8_t *madt;

	(void)state;
	for (unsigned n = 1; n <= 16; n++) {
		assert_true(write_tables(0, n) > 0);
		madt = table(1);
		assert_int_equal(le32_load(madt + 4), 44 + 8 * n + 12);
		for (unsigned i = 0; i < n; i++) {
			const uint8_t *lapic = madt + 44 + i * 8;

			assert_int_equal(lapic[0], 0);
			assert_int_equal(lapic[3], i);
			assert_int_equal(lapic[4], 1);
		}
		assert_int_equal(le32_load(madt + 44 + n * 8 + 4), LAYOUT_IOAPIC_BASE);
	}
}

static void test_room(void **state)
{
	struct virtio_mmio_slot slots[VIRTIO_MMIO_SLOTS_MAX];
	int n = virtio_mmio_plan(VIRTIO_MMIO_BLOCKS_MAX, slots, VIRTIO_MMIO_SLOTS_MAX);
	const struct acpi_machine machine = {16, slots, (unsigned)n};
	int64_t needed = write_tables(VIRTIO_MMIO_BLOCKS_MAX, 16);

	(void)state;
	assert_in_range(needed, 1, ROOM);
	for (size_t room = 0; room < (size_t)needed; room++) {
		memset(tables, 0xcc, sizeof(tables));
		assert_int_equal(acpi_write(tables, room, LAYOUT_ACPI_BASE, &machine), -ENOSPC);
		assert_int_equal(tables[room], 0xcc); /* nothing beyond */
	}
	assert_int_equal(acpi_write(tables, (size_t)needed, LAYOUT_ACPI_BASE, &machine), needed);
}

/* ---- the tables through ACPICA's disassembler, and its output through the compiler */

static void write_file(const char *path, const uint8_t *t)
{
	autoclose int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, t, le32_load(t + 4)), 0);
}

/* Runs a command and returns what it said on both streams; fails when it fails. */
static char *output_of(const char *command)
{
	char *text = calloc(1, TEXT_ROOM);
	FILE *p = popen(command, "r");
	size_t n;

	assert_non_null(text);
	assert_non_null(p);
	n = fread(text, 1, TEXT_ROOM - 1, p);
	if (pclose(p) != 0)
		fail_msg("%s: %.*s", command, (int)n, text);
	return text;
}

static void says(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("no \"%s\" in: %s", words, text);
}

static void says_not(const char *text, const char *words)
{
	if (strstr(text, words))
		fail_msg("\"%s\" in: %s", words, text);
}

static char *disassemble(const char *name, const uint8_t *t)
{
	char command[128], path[32], *text;

	snprintf(path, sizeof(path), "%s.aml", name);
	write_file(path, t);
	snprintf(command, sizeof(command), "iasl -d %s.aml 2>&1 && cat %s.dsl", name, name);
	text = output_of(command);
	says_not(text, "Error");
	says_not(text, "Warning");
	says_not(text, "Invalid");
	says_not(text, "Unknown");
	return text;
}

static void check_dsdt(void)
{
	char *text = disassemble("dsdt", dsdt()), *compiled;

	says(text, "Device (V000)");
	says(text, "Device (V004)");
	says_not(text, "Device (V005)");
	says(text, "\"LNRO0005\"");
	says(text, "0xD0004000,");
	says(text, "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive");
	says(text, "EisaId (\"PNP0501\")");
	says(text, "Name (\\_S5, Package (0x04)");
	says(text, "\"VM_Gen_Counter\"");
	says(text, "Notify (VGEN, 0x80)");
	free(text);
	compiled = output_of("iasl -p again dsdt.dsl 2>&1");
	says(compiled, "0 Errors, 0 Warnings");
	free(compiled);
}

static void check_fixed(void)
{
	char *text = disassemble("facp", table(0));

	says(text, "Hardware Reduced (V5) : 1");
	says(text, "Reset Register Supported (V2) : 1");
	says(text, "VGA Not Present (V4) : 1");
	says(text, "8042 Present on ports 60/64 (V2) : 0");
	says(text, "Legacy Devices Supported (V2) : 0");
	free(text);
	text = disassemble("apic", table(1));
	says(text, "Subtable Type : 01 [I/O APIC]");
	free(text);
	free(disassemble("xsdt", xsdt()));
}

static void test_iasl(void **state)
{
	char directory[] = "/tmp/acpi-test-XXXXXX", command[64];

	(void)state;
	if (system("iasl -v >/dev/null 2>&1") != 0) {
		print_message("skipped: iasl (Debian package acpica-tools) is not installed\n");
		skip();
	}
	assert_non_null(mkdtemp(directory));
	assert_int_equal(chdir(directory), 0);
	assert_true(write_tables(2, 2) > 0);
	check_dsdt();
	check_fixed();
	snprintf(command, sizeof(command), "rm -r %s", directory);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_processors),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_iasl),
	};

	return cmocka_run_group_tests_name("acpi", tests, NULL, NULL);
}
