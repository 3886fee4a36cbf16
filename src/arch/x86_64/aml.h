// SPDX-License-Identifier: Apache-2.0
/*
 * Writes ACPI Machine Language (ACPI 6.4 chapter 20) into a fixed piece of memory: the few terms
 * that describe this machine. Lengths of nested terms are patched when the term ends, always in
 * the three-byte form. Running out of room is remembered and told by aml_fits.
 */
#pragma once

#include "base/cc.h"

struct aml {
	uint8_t *data;
	size_t bytes;
	size_t room;
	bool is_over;
};

void aml_init(struct aml *a, void *data, size_t room);
bool aml_fits(const struct aml *a);

void aml_bytes(struct aml *a, const void *data, size_t bytes);
void aml_u8(struct aml *a, uint8_t v);
void aml_u16(struct aml *a, uint16_t v);
void aml_u32(struct aml *a, uint32_t v);

/* Terms. Names are four characters; "\\_SB_" style roots are given with their backslash. */
void aml_name(struct aml *a, const char *name);
void aml_integer(struct aml *a, uint64_t v);
void aml_string(struct aml *a, const char *s);
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0501" */

/* Name (name, …): the value is written next. */
void aml_name_decl(struct aml *a, const char *name);

/* Terms that hold others: begin returns a mark for aml_end. */
size_t aml_scope(struct aml *a, const char *name);
size_t aml_device(struct aml *a, const char *name);
size_t aml_method(struct aml *a, const char *name, unsigned n_args);
size_t aml_package(struct aml *a, unsigned n_elements);
size_t aml_if_arg0_is(struct aml *a, uint64_t v);
void aml_end(struct aml *a, size_t mark);
void aml_notify(struct aml *a, const char *path, uint64_t v);

/* Name (_CRS, ResourceTemplate () { … }): begin, resources, end. */
struct aml_crs {
	size_t mark;
	size_t length_at;
};
struct aml_crs aml_crs(struct aml *a);
void aml_crs_memory(struct aml *a, uint32_t base, uint32_t bytes);
void aml_crs_io(struct aml *a, uint16_t port, uint8_t ports);
void aml_crs_edge_interrupt(struct aml *a, uint32_t gsi);
void aml_crs_end(struct aml *a, struct aml_crs crs);
