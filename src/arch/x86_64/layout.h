// SPDX-License-Identifier: Apache-2.0
/*
 * The x86_64 machine's physical map: RAM and its hole, device windows, interrupt lines, ports, and
 * where the boot tables lie. There is no PCI, no PIC, no PIT, no VGA and no keyboard controller.
 *
 *   0000_0000  RAM (boot tables in the first 640 KiB, ACPI tables below 1 MiB)
 *   0010_0000  RAM: kernel from here up, initramfs at the upper end below 2 GiB
 *   c000_0000  end of low RAM; nothing
 *   d000_0000  virtio-mmio windows, one page each
 *   fec0_0000  IOAPIC          fee0_0000  local APICs
 *   fffb_c000  four pages that KVM needs on hosts without unrestricted guests
 *   1_0000_0000  RAM above 3 GiB
 */
#pragma once

#include <stdint.h>

/* RAM */
#define LAYOUT_LOW_RAM_END   0xc0000000ull
#define LAYOUT_HIGH_RAM_BASE 0x100000000ull
#define LAYOUT_RAM_BASE	     0ull

/* Devices */
#define LAYOUT_VIRTIO_MMIO_BASE	  0xd0000000ull
#define LAYOUT_VIRTIO_MMIO_STRIDE 0x1000ull
#define LAYOUT_IOAPIC_BASE	  0xfec00000ull
#define LAYOUT_IOAPIC_BYTES	  0x1000ull
#define LAYOUT_LAPIC_BASE	  0xfee00000ull
#define LAYOUT_KVM_IDENTITY_MAP	  0xfffbc000ull
#define LAYOUT_KVM_TSS		  0xfffbd000ull

/* Interrupt lines: global system interrupts, which are the pins of the one IOAPIC. The plan's are
 * the highest: an IOAPIC needs no pin above its last one. (Linux touches each pin some twenty
 * times while it boots, and each touch is an exit.) */
enum {
	LAYOUT_IOAPIC_PINS = 64,   /* at most */
	LAYOUT_GENERATION_IRQ = 1, /* the generation ID has changed; Linux refuses lines 0 and 2 */
	LAYOUT_IRQ_BASE = 3,
	LAYOUT_SERIAL_IRQ = LAYOUT_IRQ_BASE + 1,
};

/* I/O ports */
enum {
	LAYOUT_SERIAL_PORT = 0x3f8,
	LAYOUT_SERIAL_PORTS = 8,
	LAYOUT_SLEEP_CONTROL_PORT = 0x600, /* ACPI 6.4 §4.8.3.7 */
	LAYOUT_SLEEP_STATUS_PORT = 0x601,
	LAYOUT_RESET_PORT = 0x602, /* ACPI 6.4 §4.8.3.6 */
	LAYOUT_RESET_VALUE = 0x5a, /* what src/dev/power.h takes for a reset */
	LAYOUT_SLEEP_TYPE_OFF = 5, /* SLP_TYP of \_S5 */
};

/* Boot tables, all below 640 KiB in RAM that the kernel may reuse once it has read them */
#define LAYOUT_GDT	   0x500ull
#define LAYOUT_BOOT_PARAMS 0x7000ull
#define LAYOUT_PML4	   0x9000ull
#define LAYOUT_PDPT	   0xa000ull
#define LAYOUT_PD	   0xb000ull
#define LAYOUT_SETUP_DATA  0xc000ull
#define LAYOUT_CMDLINE	   0x20000ull
#define LAYOUT_LOW_USABLE  0x9fc00ull

/* Firmware area: told to the guest as reserved */
#define LAYOUT_ACPI_BASE     0xe0000ull /* RSDP first: here even a scan for it finds it */
#define LAYOUT_ACPI_END	     0xf0000ull
#define LAYOUT_GENERATION_ID 0xf0000ull /* page with the 16-byte VM generation ID at its start */
#define LAYOUT_FIRMWARE_END  0x100000ull

#define LAYOUT_KERNEL_MIN    0x100000ull   /* no part of a kernel is loaded below */
#define LAYOUT_KERNEL_MAX    0x40000000ull /* the first tables map this much */
#define LAYOUT_INITRAMFS_MAX 0x80000000ull /* no part of the initramfs is loaded above */
