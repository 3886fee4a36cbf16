// SPDX-License-Identifier: Apache-2.0
#include "arch/x86_64/aml.h"

#include <string.h>

#include "base/le.h"

/* ACPI 6.4 §20.3, AML byte stream byte values */
enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_EXT = 0x5b,
	OP_EXT_DEVICE = 0x82,
	OP_ARG0 = 0x68,
	OP_NOTIFY = 0x86,
	OP_EQUAL = 0x93,
	OP_IF = 0xa0,

	LENGTH_BYTES = 3, /* PkgLength in its three-byte form: 20 bits */
	LENGTH_FORM = 2 << 6,
};

void aml_init(struct aml *a, void *data, size_t room)
{
	*a = (struct aml){.data = data, .room = room};
}

bool aml_fits(const struct aml *a)
{
	return !a->is_over;
}

void aml_bytes(struct aml *a, const void *data, size_t bytes)
{
	if (a->is_over || bytes > a->room - a->bytes) {
		a->is_over = true;
		return;
	}
	memcpy(a->data + a->bytes, data, bytes);
	a->bytes += bytes;
}

void aml_u8(struct aml *a, uint8_t v)
{
	aml_bytes(a, &v, sizeof(v));
}

void aml_u16(struct aml *a, uint16_t v)
{
	aml_bytes(a, &v, sizeof(v));
}

void aml_u32(struct aml *a, uint32_t v)
{
	aml_bytes(a, &v, sizeof(v));
}

void aml_name(struct aml *a, const char *name)
{
	aml_bytes(a, name, strlen(name));
}

void aml_integer(struct aml *a, uint64_t v)
{
	if (v <= 1) {
		aml_u8(a, v ? OP_ONE : OP_ZERO);
	} else if (v <= UINT8_MAX) {
		aml_u8(a, OP_BYTE);
		aml_u8(a, (uint8_t)v);
	} else if (v <= UINT16_MAX) {
		aml_u8(a, OP_WORD);
		aml_u16(a, (uint16_t)v);
	} else if (v <= UINT32_MAX) {
		aml_u8(a, OP_DWORD);
		aml_u32(a, (uint32_t)v);
	} else {
		aml_u8(a, OP_QWORD);
		aml_bytes(a, &v, sizeof(v));
	}
}

void aml_string(struct aml *a, const char *s)
{
	aml_u8(a, OP_STRING);
	aml_bytes(a, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10) & 0xf;
}

/* ACPI 6.4 §19.3.4: three letters of five bits, four hex digits, most significant byte first */
void aml_eisa_id(struct aml *a, const char *id)
{
	unsigned letters = (unsigned)(id[0] & 0x1f) << 10 | (unsigned)(id[1] & 0x1f) << 5 |
			   (unsigned)(id[2] & 0x1f);

	aml_u8(a, OP_DWORD);
	aml_u8(a, (uint8_t)(letters >> 8));
	aml_u8(a, (uint8_t)letters);
	aml_u8(a, (uint8_t)(hex_digit(id[3]) << 4 | hex_digit(id[4])));
	aml_u8(a, (uint8_t)(hex_digit(id[5]) << 4 | hex_digit(id[6])));
}

void aml_name_decl(struct aml *a, const char *name)
{
	aml_u8(a, OP_NAME);
	aml_name(a, name);
}

/* Leaves room for the length and says where it is. */
static size_t begin(struct aml *a)
{
	static const uint8_t later[LENGTH_BYTES];
	size_t mark = a->bytes;

	aml_bytes(a, later, sizeof(later));
	return mark;
}

size_t aml_scope(struct aml *a, const char *name)
{
	size_t mark;

	aml_u8(a, OP_SCOPE);
	mark = begin(a);
	aml_name(a, name);
	return mark;
}

size_t aml_device(struct aml *a, const char *name)
{
	size_t mark;

	aml_u8(a, OP_EXT);
	aml_u8(a, OP_EXT_DEVICE);
	mark = begin(a);
	aml_name(a, name);
	return mark;
}

size_t aml_method(struct aml *a, const char *name, unsigned n_args)
{
	enum { SERIALIZED = 1 << 3 };
	size_t mark;

	aml_u8(a, OP_METHOD);
	mark = begin(a);
	aml_name(a, name);
	aml_u8(a, (uint8_t)(n_args | SERIALIZED));
	return mark;
}

size_t aml_package(struct aml *a, unsigned n_elements)
{
	size_t mark;

	aml_u8(a, OP_PACKAGE);
	mark = begin(a);
	aml_u8(a, (uint8_t)n_elements);
	return mark;
}

size_t aml_if_arg0_is(struct aml *a, uint64_t v)
{
	size_t mark;

	aml_u8(a, OP_IF);
	mark = begin(a);
	aml_u8(a, OP_EQUAL);
	aml_u8(a, OP_ARG0);
	aml_integer(a, v);
	return mark;
}

/* ACPI 6.4 §20.2.4: low nibble first, then whole bytes; the length counts itself */
void aml_end(struct aml *a, size_t mark)
{
	size_t n = a->bytes - mark;

	if (a->is_over)
		return;
	a->data[mark] = (uint8_t)(LENGTH_FORM | (n & 0xf));
	a->data[mark + 1] = (uint8_t)(n >> 4);
	a->data[mark + 2] = (uint8_t)(n >> 12);
}

void aml_notify(struct aml *a, const char *path, uint64_t v)
{
	aml_u8(a, OP_NOTIFY);
	aml_name(a, path);
	aml_integer(a, v);
}

struct aml_crs aml_crs(struct aml *a)
{
	struct aml_crs crs;

	aml_name_decl(a, "_CRS");
	aml_u8(a, OP_BUFFER);
	crs.mark = begin(a);
	aml_u8(a, OP_WORD);
	crs.length_at = a->bytes;
	aml_u16(a, 0);
	return crs;
}

/* ACPI 6.4 §6.4.3.4: 32-bit fixed memory range, read-write */
void aml_crs_memory(struct aml *a, uint32_t base, uint32_t bytes)
{
	aml_u8(a, 0x86);
	aml_u16(a, 9);
	aml_u8(a, 1);
	aml_u32(a, base);
	aml_u32(a, bytes);
}

/* ACPI 6.4 §6.4.2.5: I/O ports, 16-bit decode */
void aml_crs_io(struct aml *a, uint16_t port, uint8_t ports)
{
	aml_u8(a, 0x47);
	aml_u8(a, 1);
	aml_u16(a, port);
	aml_u16(a, port);
	aml_u8(a, 1);
	aml_u8(a, ports);
}

/* ACPI 6.4 §6.4.3.6: extended interrupt; consumer, edge, active high, exclusive */
void aml_crs_edge_interrupt(struct aml *a, uint32_t gsi)
{
	aml_u8(a, 0x89);
	aml_u16(a, 6);
	aml_u8(a, 1 << 0 | 1 << 1);
	aml_u8(a, 1);
	aml_u32(a, gsi);
}

void aml_crs_end(struct aml *a, struct aml_crs crs)
{
	aml_u8(a, 0x79); /* end tag; a checksum of 0 means "not used" (§6.4.2.9) */
	aml_u8(a, 0);
	if (!a->is_over)
		le16_store(a->data + crs.length_at,
			(uint16_t)(a->bytes - crs.length_at - sizeof(uint16_t)));
	aml_end(a, crs.mark);
}
