// SPDX-License-Identifier: Apache-2.0
/* The bytes are described in docs/snapshot-format.md, "state". While a file is written, a section's
 * offset counts from the start of the body, since the table's size is known only at the end. */
#include "base/snapfile.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/checksum.h"
#include "base/fd.h"
#include "base/le.h"

/* As PNG does it: a byte that is no ASCII, then what a transfer as text would change. */
static const uint8_t magic[8] = {0x89, 'S', 'M', 'V', '\r', '\n', 0x1a, '\n'};

enum {
	AT_FORMAT = 8,
	AT_N_SECTIONS = 12,
	AT_BYTES = 16,
	AT_CHECKSUM = 24, /* of the header before it, then of the table */
	HEADER_BYTES = 32,

	ENTRY_NAME = 0,
	ENTRY_NAME_BYTES = SNAPFILE_NAME_MAX + 1,
	ENTRY_VERSION = 32,
	ENTRY_RESERVED = 36,
	ENTRY_OFFSET = 40,
	ENTRY_BYTES_FIELD = 48,
	ENTRY_CHECKSUM = 56,
	ENTRY_BYTES = 64,

	ALIGNMENT = 8,
	TABLE_MAX = HEADER_BYTES + SNAPFILE_SECTIONS_MAX * ENTRY_BYTES,
};

static size_t table_end(unsigned n)
{
	return HEADER_BYTES + (size_t)n * ENTRY_BYTES;
}

static uint64_t table_checksum(const uint8_t *header, const uint8_t *table, unsigned n)
{
	return checksum_more(checksum_of(header, AT_CHECKSUM), table, (size_t)n * ENTRY_BYTES);
}

/* --- Writing --- */

void snapfile_writer_init(struct snapfile_writer *w)
{
	*w = (struct snapfile_writer){.n = 0};
	buf_init(&w->body, SNAPFILE_BYTES_MAX - TABLE_MAX);
}

void snapfile_writer_fini(struct snapfile_writer *w)
{
	buf_fini(&w->body);
}

static const struct snapfile_section *find(
	const struct snapfile_section *sections, unsigned n, const char *name)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(sections[i].name, name))
			return &sections[i];
	return NULL;
}

/* Printable, without blanks: names are shown in messages. */
static bool is_name(const char *name)
{
	for (const char *c = name; *c; c++)
		if (*c <= ' ' || *c > '~')
			return false;
	return *name && strlen(name) <= SNAPFILE_NAME_MAX;
}

struct snapio *snapfile_begin(struct snapfile_writer *w, const char *name, uint32_t version)
{
	struct snapfile_section *s = &w->sections[w->n];

	snapio_save_to(&w->io, name, version, &w->body);
	if (w->n == SNAPFILE_SECTIONS_MAX) {
		snapio_fail(&w->io, "begin", "there are %u sections already", w->n);
		return &w->io;
	}
	*s = (struct snapfile_section){.version = version, .offset = w->body.bytes};
	if (!is_name(name) || find(w->sections, w->n, name)) {
		snapio_fail(&w->io, "begin", "its name is no good, or taken");
		return &w->io;
	}
	memcpy(s->name, name, strlen(name));
	w->io.section = s->name;
	return &w->io;
}

int snapfile_end(struct snapfile_writer *w, struct err *e)
{
	static const uint8_t zeroes[ALIGNMENT];
	struct snapfile_section *s = &w->sections[w->n];
	int r = snapio_end(&w->io, e);

	if (w->n == SNAPFILE_SECTIONS_MAX)
		return r;
	if (r == 0) {
		s->bytes = w->body.bytes - s->offset;
		r = buf_append(&w->body, zeroes, ALIGN_UP(s->bytes, (size_t)ALIGNMENT) - s->bytes);
		if (r < 0)
			err_set(e, r, "no room for section \"%s\"", s->name);
	}
	if (r < 0) {
		w->body.bytes = s->offset;
		return r;
	}
	s->checksum = checksum_of(w->body.data + s->offset, s->bytes);
	w->n++;
	return 0;
}

static void put_entry(uint8_t *at, const struct snapfile_section *s, size_t body_at)
{
	memcpy(at + ENTRY_NAME, s->name, ENTRY_NAME_BYTES);
	le32_store(at + ENTRY_VERSION, s->version);
	le64_store(at + ENTRY_OFFSET, body_at + s->offset);
	le64_store(at + ENTRY_BYTES_FIELD, s->bytes);
	le64_store(at + ENTRY_CHECKSUM, s->checksum);
}

static int put_all(struct snapfile_writer *w, int fd)
{
	uint8_t head[TABLE_MAX] = {0};
	size_t body_at = table_end(w->n);
	struct stat st;
	int r;

	memcpy(head, magic, sizeof(magic));
	le32_store(head + AT_FORMAT, SNAPFILE_FORMAT);
	le32_store(head + AT_N_SECTIONS, w->n);
	le64_store(head + AT_BYTES, body_at + w->body.bytes);
	for (unsigned i = 0; i < w->n; i++)
		put_entry(head + table_end(i), &w->sections[i], body_at);
	le64_store(head + AT_CHECKSUM, table_checksum(head, head + HEADER_BYTES, w->n));
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size)
		return -EEXIST;
	r = fd_pwrite_full(fd, head, body_at, 0);
	return r < 0 ? r : fd_pwrite_full(fd, w->body.data, w->body.bytes, (off_t)body_at);
}

int snapfile_write(struct snapfile_writer *w, int fd, uint64_t *ret_bytes, struct err *e)
{
	int r = put_all(w, fd);

	if (r == 0) {
		*ret_bytes = table_end(w->n) + w->body.bytes;
		return 0;
	}
	errno = -r;
	r = err_sys(e, "write it");
	err_object(e, "state");
	if (r == -ENOSPC || r == -EDQUOT)
		err_remedy(e, "free space where the snapshot is written, then save it again");
	return r;
}

/* --- Reading --- */

static int damaged(struct err *e)
{
	err_object(e, "state");
	return err_remedy(e, "use another snapshot, or delete this one and make it again");
}

static int check_header(const uint8_t *data, size_t bytes, struct err *e)
{
	uint32_t format, n;
	uint64_t told;

	if (bytes < HEADER_BYTES)
		return err_set(e, -EBADMSG, "it has %zu bytes: it was cut off", bytes);
	if (memcmp(data, magic, sizeof(magic)) != 0)
		return err_set(e, -EBADMSG, "it does not begin as a state file does");
	format = le32_load(data + AT_FORMAT);
	if (format != SNAPFILE_FORMAT) {
		err_set(e, -ENOTSUP, "it has format %u, this program knows format %d", format,
			SNAPFILE_FORMAT);
		err_object(e, "state");
		return err_remedy(e, "use the version of supermachine that wrote it, or make the "
				     "snapshot again with this one");
	}
	told = le64_load(data + AT_BYTES);
	if (told > bytes)
		return err_set(e, -EBADMSG, "%zu of its %llu bytes are there: it was cut off",
			bytes, (unsigned long long)told);
	if (told < bytes || bytes > SNAPFILE_BYTES_MAX)
		return err_set(
			e, -EBADMSG, "it has %zu bytes, more than a state file of its kind", bytes);
	n = le32_load(data + AT_N_SECTIONS);
	if (n > SNAPFILE_SECTIONS_MAX || table_end(n) > bytes)
		return err_set(e, -EBADMSG, "it names %u sections, which cannot be", n);
	if (le64_load(data + AT_CHECKSUM) != table_checksum(data, data + HEADER_BYTES, n))
		return err_set(e, -EBADMSG, "its table of sections has another checksum");
	return 0;
}

static bool is_zeroes(const uint8_t *at, size_t bytes)
{
	while (bytes)
		if (at[--bytes])
			return false;
	return true;
}

/* A name that ends inside its field, with nothing after it. */
static bool take_name(const uint8_t *field, char *ret_name)
{
	size_t n = strnlen((const char *)field, ENTRY_NAME_BYTES);

	if (n > SNAPFILE_NAME_MAX || !is_zeroes(field + n, ENTRY_NAME_BYTES - n))
		return false;
	memcpy(ret_name, field, ENTRY_NAME_BYTES);
	return is_name(ret_name);
}

/* One entry and its bytes, which begin at *at, where those before them end. */
static int take_section(struct snapfile *f, unsigned i, size_t *at, struct err *e)
{
	const uint8_t *entry = f->data + table_end(i);
	struct snapfile_section *s = &f->sections[i];
	uint64_t offset = le64_load(entry + ENTRY_OFFSET);
	uint64_t bytes = le64_load(entry + ENTRY_BYTES_FIELD);
	size_t pad;

	if (!take_name(entry + ENTRY_NAME, s->name))
		return err_set(e, -EBADMSG, "the name of section %u is none", i);
	if (find(f->sections, i, s->name))
		return err_set(e, -EBADMSG, "section \"%s\" is there twice", s->name);
	if (le32_load(entry + ENTRY_RESERVED))
		return err_set(e, -EBADMSG, "section \"%s\" has a reserved field set", s->name);
	if (offset != *at || bytes > f->bytes - *at)
		return err_set(e, -EBADMSG, "section \"%s\" does not lie where it must", s->name);
	pad = (size_t)(ALIGN_UP(bytes, (uint64_t)ALIGNMENT) - bytes);
	if (pad > f->bytes - *at - bytes || !is_zeroes(f->data + *at + bytes, pad))
		return err_set(e, -EBADMSG, "section \"%s\" is not followed by zeroes", s->name);
	s->version = le32_load(entry + ENTRY_VERSION);
	s->offset = *at;
	s->bytes = (size_t)bytes;
	s->checksum = le64_load(entry + ENTRY_CHECKSUM);
	if (checksum_of(f->data + s->offset, s->bytes) != s->checksum)
		return err_set(e, -EBADMSG, "section \"%s\" has another checksum", s->name);
	*at += s->bytes + pad;
	return 0;
}

int snapfile_open(const void *data, size_t bytes, struct snapfile *ret, struct err *e)
{
	struct snapfile f = {.data = data, .bytes = bytes};
	int r = check_header(data, bytes, e);
	unsigned n;
	size_t at;

	if (r < 0) {
		damaged(e);
		return r;
	}
	n = le32_load(f.data + AT_N_SECTIONS);
	at = table_end(n);
	for (f.n = 0; f.n < n && r == 0; f.n++)
		r = take_section(&f, f.n, &at, e);
	if (r == 0 && at != bytes)
		r = err_set(e, -EBADMSG, "%zu bytes follow the last section", bytes - at);
	if (r < 0) {
		damaged(e);
		return r;
	}
	*ret = f;
	return 0;
}

int snapfile_load(const struct snapfile *f, const char *name, uint32_t newest, struct snapio *io,
	struct err *e)
{
	const struct snapfile_section *s = find(f->sections, f->n, name);

	if (!s) {
		err_set(e, -ENOENT, "section \"%s\" is not there", name);
		err_object(e, "state");
		err_remedy(e, "use a snapshot of a machine with the same devices");
		return -ENOENT;
	}
	if (!s->version || s->version > newest) {
		err_set(e, -ENOTSUP, "section \"%s\" has version %u, this program knows 1 to %u",
			name, s->version, newest);
		err_object(e, "state");
		err_remedy(e, "use the version of supermachine that wrote it, or make the snapshot "
			      "again with this one");
		return -ENOTSUP;
	}
	snapio_load_from(io, s->name, s->version, f->data + s->offset, s->bytes);
	return 0;
}
