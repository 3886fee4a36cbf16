// SPDX-License-Identifier: Apache-2.0
/* Reading. Everything is bounded before it is believed; unknown members are left alone, since a
 * member that changes the meaning of others comes with a new format number. */
#include "api/snapshot_json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "oci/json.h"
#include "proto/bootcfg.h"
#include "proto/control.h"

enum { STRINGS_MAX = 4096, STATE_BYTES_MAX = 16 << 20, PAGE_BYTES = 4096 };

void machine_fini(struct machine *m)
{
	free(m->cmdline);
	free(m->kernel);
	*m = (struct machine){0};
}

int machine_copy(const struct machine *from, struct machine *to)
{
	struct machine m = *from;

	m.cmdline = from->cmdline ? strdup(from->cmdline) : NULL;
	m.kernel = from->kernel ? strdup(from->kernel) : NULL;
	if ((from->cmdline && !m.cmdline) || (from->kernel && !m.kernel)) {
		machine_fini(&m);
		return -ENOMEM;
	}
	*to = m;
	return 0;
}

char *snapshot_boot_id(void)
{
	autoclose int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char id[65];
	ssize_t n = fd < 0 ? 0 : read(fd, id, sizeof(id) - 1);

	if (n <= 1)
		return NULL;
	id[n - 1] = '\0'; /* the line's end */
	return strdup(id);
}

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	machine_fini(&s->machine);
	image_free(s->image);
	free(s->base_path);
	free(s->boot_id);
	free(s);
}

bool snapshot_device(const struct snapshot *s, unsigned index, char out[16])
{
	static const char *const fixed[] = {"vsock", "rng", "balloon"};
	unsigned n_fixed = (unsigned)ARRAY_LEN(fixed);

	if (index < n_fixed) {
		snprintf(out, 16, "%s", fixed[index]);
		return true;
	}
	index -= n_fixed;
	if (index < s->image->n_layers) {
		snprintf(out, 16, BOOTCFG_LAYER_SERIAL, index);
		return true;
	}
	snprintf(out, 16, "%s", BOOTCFG_DISK_SERIAL);
	return index == s->image->n_layers && s->machine.disk_bytes;
}

/* ---- members -------------------------------------------------------------------------------- */

/* The first failure sticks, so that reading is a flat list. */
struct reader {
	struct err *e;
	int r;
};

static void wrong(struct reader *rd, int code, const char *key, const char *what)
{
	if (rd->r == 0)
		rd->r = err_set(rd->e, code, "\"%s\" %s", key, what);
}

static const char *text(struct reader *rd, const json_t *o, const char *key, size_t max)
{
	const char *value = NULL;

	if (rd->r < 0)
		return "";
	rd->r = json_get_text(o, key, &value, rd->e);
	if (rd->r == 0 && !value)
		wrong(rd, -EBADMSG, key, "is missing");
	else if (rd->r == 0 && strlen(value) > max)
		wrong(rd, -EBADMSG, key, "is longer than any that is written");
	return rd->r < 0 ? "" : value;
}

/* May be absent: NULL. The copy is the caller's. */
static char *text_copy(struct reader *rd, const json_t *o, const char *key, size_t max)
{
	const char *value;
	char *copy;

	if (rd->r < 0 || json_is_null(json_object_get(o, key)) || !json_object_get(o, key))
		return NULL;
	value = text(rd, o, key, max);
	copy = rd->r == 0 ? strdup(value) : NULL;
	if (rd->r == 0 && !copy)
		wrong(rd, -ENOMEM, key, "does not fit in memory");
	return copy;
}

static void text_into(struct reader *rd, const json_t *o, const char *key, char *out, size_t room)
{
	const char *value = text(rd, o, key, room - 1);

	snprintf(out, room, "%s", value);
}

static uint64_t number(struct reader *rd, const json_t *o, const char *key, uint64_t max)
{
	uint64_t value = 0;

	if (rd->r < 0)
		return 0;
	if (!json_object_get(o, key)) {
		wrong(rd, -EBADMSG, key, "is missing");
		return 0;
	}
	rd->r = json_get_u64(o, key, &value, rd->e);
	if (rd->r == 0 && value > max)
		rd->r = err_set(rd->e, -EBADMSG,
			"\"%s\" is %" PRIu64 ", which is more than %" PRIu64, key, value, max);
	return rd->r < 0 ? 0 : value;
}

/* NULL after a failure, and when it is absent and not required. */
static json_t *object(struct reader *rd, const json_t *o, const char *key, bool is_required)
{
	json_t *value = NULL;

	if (rd->r < 0)
		return NULL;
	rd->r = json_get_object(o, key, &value, rd->e);
	if (rd->r == 0 && !value && is_required)
		wrong(rd, -EBADMSG, key, "is missing");
	return rd->r < 0 ? NULL : value;
}

static json_t *array(struct reader *rd, const json_t *o, const char *key, size_t max)
{
	json_t *value = NULL;

	if (rd->r < 0)
		return NULL;
	rd->r = json_get_array(o, key, &value, rd->e);
	if (rd->r == 0 && !value)
		wrong(rd, -EBADMSG, key, "is missing");
	else if (rd->r == 0 && json_array_size(value) > max)
		rd->r = err_set(rd->e, -EBADMSG, "\"%s\" has %zu entries, which is more than %zu",
			key, json_array_size(value), max);
	return rd->r < 0 ? NULL : value;
}

/* Exactly `digits` lower-case hexadecimal digits. */
static bool is_hex(const char *s, size_t digits)
{
	return strlen(s) == digits && strspn(s, "0123456789abcdef") == digits;
}

static void id_into(struct reader *rd, const json_t *o, char out[SNAPSHOT_ID_BYTES])
{
	text_into(rd, o, "id", out, SNAPSHOT_ID_BYTES);
	if (rd->r == 0 && !is_hex(out, SNAPSHOT_ID_BYTES - 1))
		wrong(rd, -EBADMSG, "id", "is not 32 hexadecimal digits");
}

static uint64_t hex64(struct reader *rd, const json_t *o, const char *key)
{
	const char *s = text(rd, o, key, 16);

	if (rd->r == 0 && !is_hex(s, 16))
		wrong(rd, -EBADMSG, key, "is not 16 hexadecimal digits");
	return rd->r == 0 ? strtoull(s, NULL, 16) : 0;
}

/* ---- parts ---------------------------------------------------------------------------------- */

static void read_machine(struct reader *rd, const json_t *j, struct machine *m)
{
	const json_t *kernel;

	m->memory_bytes = number(rd, j, "memory_bytes", SNAPSHOT_MEMORY_MAX);
	m->vcpus = (unsigned)number(rd, j, "vcpus", CTL_VCPUS_MAX);
	m->disk_bytes = number(rd, j, "disk_bytes", SNAPSHOT_DISK_MAX);
	m->tmpfs_bytes = number(rd, j, "tmpfs_bytes", SNAPSHOT_MEMORY_MAX);
	m->cmdline = text_copy(rd, j, "cmdline", 4096);
	if (rd->r == 0 && (m->memory_bytes < SNAPSHOT_MEMORY_MIN || m->memory_bytes % PAGE_BYTES))
		wrong(rd, -EBADMSG, "memory_bytes", "is a size of memory that no VM has");
	if (rd->r == 0 && !m->vcpus)
		wrong(rd, -EBADMSG, "vcpus", "is 0");
	if (rd->r == 0 && m->disk_bytes &&
		(m->disk_bytes < SNAPSHOT_DISK_MIN || m->disk_bytes % PAGE_BYTES))
		wrong(rd, -EBADMSG, "disk_bytes", "is a size that no VM's disk has");
	kernel = object(rd, j, "kernel", false);
	if (!kernel)
		return;
	m->kernel = text_copy(rd, kernel, "path", SNAPSHOT_PATH_MAX);
	m->kernel_file.bytes = number(rd, kernel, "bytes", INT64_MAX);
	m->kernel_file.mtime_ns = number(rd, kernel, "mtime_ns", INT64_MAX);
	m->kernel_file.inode = number(rd, kernel, "inode", INT64_MAX);
}

static void read_strings(
	struct reader *rd, const json_t *o, const char *key, struct image_strings *ret)
{
	json_t *list = array(rd, o, key, STRINGS_MAX);
	size_t n = json_array_size(list);

	if (!n)
		return;
	ret->items = calloc(n + 1, sizeof(*ret->items));
	if (!ret->items)
		return wrong(rd, -ENOMEM, key, "does not fit in memory");
	for (size_t i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (!s)
			return wrong(rd, -EBADMSG, key, "has an entry that is not a string");
		ret->items[i] = strdup(s);
		if (!ret->items[i])
			return wrong(rd, -ENOMEM, key, "does not fit in memory");
		ret->n++;
	}
}

static void read_layers(struct reader *rd, const json_t *j, struct image *m)
{
	json_t *list = array(rd, j, "layers", CTL_BLOCKS_MAX - 1);
	size_t n = json_array_size(list);
	struct digest d;

	m->layers = calloc(n + 1, sizeof(*m->layers));
	if (!m->layers)
		return wrong(rd, -ENOMEM, "layers", "do not fit in memory");
	for (size_t i = 0; i < n && rd->r == 0; i++) {
		const json_t *layer = json_array_get(list, i);

		if (!json_is_object(layer))
			return wrong(rd, -EBADMSG, "layers", "has an entry that is not an object");
		text_into(rd, layer, "digest", m->layers[i].digest, sizeof(m->layers[i].digest));
		m->layers[i].bytes = number(rd, layer, "bytes", INT64_MAX);
		if (rd->r == 0 && digest_parse(m->layers[i].digest, &d, NULL) < 0)
			wrong(rd, -EBADMSG, "digest", "of a layer is not one");
		m->n_layers++;
		m->bytes += m->layers[i].bytes;
	}
}

static void read_image(struct reader *rd, const json_t *j, struct image *m)
{
	const json_t *config;

	m->reference = text_copy(rd, j, "reference", SNAPSHOT_PATH_MAX);
	if (rd->r == 0 && !m->reference)
		return wrong(rd, -EBADMSG, "reference", "is missing");
	text_into(rd, j, "manifest", m->manifest_digest, sizeof(m->manifest_digest));
	text_into(rd, j, "os", m->os, sizeof(m->os));
	text_into(rd, j, "architecture", m->architecture, sizeof(m->architecture));
	text_into(rd, j, "variant", m->variant, sizeof(m->variant));
	if (rd->r == 0)
		read_layers(rd, j, m);
	config = object(rd, j, "config", true);
	if (!config)
		return;
	read_strings(rd, config, "env", &m->config.env);
	read_strings(rd, config, "entrypoint", &m->config.entrypoint);
	read_strings(rd, config, "cmd", &m->config.cmd);
	read_strings(rd, config, "exposed_ports", &m->config.exposed_ports);
	m->config.working_dir = text_copy(rd, config, "working_dir", SNAPSHOT_PATH_MAX);
	m->config.user = text_copy(rd, config, "user", SNAPSHOT_PATH_MAX);
	m->config.stop_signal = text_copy(rd, config, "stop_signal", 64);
}

static void read_devices(struct reader *rd, const json_t *j, const struct snapshot *s)
{
	json_t *list = array(rd, j, "devices", 2 * CTL_BLOCKS_MAX);
	char name[16];
	size_t i;

	for (i = 0; rd->r == 0 && snapshot_device(s, (unsigned)i, name); i++) {
		const char *found = json_string_value(json_array_get(list, i));

		if (!found || strcmp(found, name))
			rd->r = err_set(rd->e, -EBADMSG,
				"device %zu is \"%.32s\" where this machine has its \"%s\"", i,
				found ? found : "", name);
	}
	if (rd->r == 0 && json_array_size(list) != i)
		rd->r = err_set(rd->e, -EBADMSG,
			"it names %zu devices and the machine that it describes has %zu",
			json_array_size(list), i);
}

static void read_file(struct reader *rd, const json_t *files, const char *key, uint64_t max,
	struct snapshot_file *ret)
{
	const json_t *j = object(rd, files, key, true);

	if (!j)
		return;
	ret->bytes = number(rd, j, "bytes", max);
	ret->data_bytes = number(rd, j, "data_bytes", max);
	ret->checksum = hex64(rd, j, "checksum");
	if (rd->r == 0 && ret->data_bytes > ret->bytes)
		wrong(rd, -EBADMSG, key, "has more data than bytes");
}

/* What must be so between the files and the machine. */
static void check_files(struct reader *rd, const struct snapshot *s)
{
	bool is_full = !s->base_id[0];

	if (rd->r < 0)
		return;
	if (!s->state.bytes)
		wrong(rd, -EBADMSG, "state", "has no bytes");
	if (is_full && s->memory.bytes != s->machine.memory_bytes)
		wrong(rd, -EBADMSG, "memory", "is not of the size of the machine's memory");
	if (is_full && s->disk.bytes != s->machine.disk_bytes)
		wrong(rd, -EBADMSG, "disk", "is not of the size of the machine's disk");
	if (s->memory.bytes % PAGE_BYTES || s->disk.bytes % PAGE_BYTES)
		wrong(rd, -EBADMSG, "files", "has a size that is not whole pages");
}

static void read_files(struct reader *rd, const json_t *j, struct snapshot *s)
{
	const json_t *files = object(rd, j, "files", true), *base;

	base = object(rd, j, "base", false);
	if (base) {
		id_into(rd, base, s->base_id);
		s->base_path = text_copy(rd, base, "path", SNAPSHOT_PATH_MAX);
		if (rd->r == 0 && (!s->base_path || !s->base_path[0]))
			wrong(rd, -EBADMSG, "base", "does not say where it is");
	}
	if (!files)
		return;
	read_file(rd, files, "state", STATE_BYTES_MAX, &s->state);
	read_file(rd, files, "memory", s->machine.memory_bytes, &s->memory);
	if (s->machine.disk_bytes)
		read_file(rd, files, "disk", s->machine.disk_bytes, &s->disk);
	check_files(rd, s);
}

static void read_commands(struct reader *rd, const json_t *j, struct snapshot *s)
{
	json_t *list = array(rd, j, "commands", COMMANDS_MAX);

	for (size_t i = 0; i < json_array_size(list) && rd->r == 0; i++) {
		const json_t *one = json_array_get(list, i);
		struct command *c = &s->commands[s->n_commands++];

		if (!json_is_object(one))
			return wrong(
				rd, -EBADMSG, "commands", "has an entry that is not an object");
		c->pid = (int)number(rd, one, "pid", INT32_MAX);
		text_into(rd, one, "command", c->name, sizeof(c->name));
	}
}

static void read_listeners(struct reader *rd, const json_t *j, struct snapshot *s)
{
	json_t *list = array(rd, j, "listeners", LINK_LISTENERS_MAX);

	for (size_t i = 0; i < json_array_size(list) && rd->r == 0; i++) {
		const json_t *one = json_array_get(list, i);
		struct agent_listener *l = &s->listeners[s->n_listeners++];
		const char *address;

		if (!json_is_object(one))
			return wrong(
				rd, -EBADMSG, "listeners", "has an entry that is not an object");
		l->port = (uint16_t)number(rd, one, "port", UINT16_MAX);
		l->family = (uint8_t)number(rd, one, "family", 6);
		l->is_loopback = (uint8_t)number(rd, one, "is_loopback", 1);
		address = text(rd, one, "address", 32);
		if (rd->r == 0 && ((l->family != 4 && l->family != 6) || !is_hex(address, 32)))
			return wrong(rd, -EBADMSG, "listeners", "has an address that is none");
		for (size_t k = 0; rd->r == 0 && k < sizeof(l->address); k++) {
			const char byte[3] = {address[2 * k], address[2 * k + 1], '\0'};

			l->address[k] = (uint8_t)strtoul(byte, NULL, 16);
		}
	}
}

static int newer_format(struct reader *rd, uint64_t format)
{
	rd->r = err_set(rd->e, -ENOTSUP,
		"it is of format %" PRIu64 ", and this version knows format %d", format,
		SNAPSHOT_FORMAT);
	return err_remedy(rd->e, "use the version of supermachine that wrote it, or take it again");
}

static int read_all(struct reader *rd, const json_t *j, struct snapshot *s)
{
	uint64_t format = number(rd, j, "format", INT64_MAX);

	/* Of another format nothing else is known. */
	if (rd->r == 0 && format != SNAPSHOT_FORMAT)
		return newer_format(rd, format);
	text_into(rd, j, "product", s->product, sizeof(s->product));
	text_into(rd, j, "architecture", s->architecture, sizeof(s->architecture));
	s->boot_id = text_copy(rd, j, "boot_id", 64);
	id_into(rd, j, s->id);
	s->created = number(rd, j, "created", INT64_MAX);
	s->wall_ns = number(rd, j, "wall_ns", INT64_MAX);
	s->pause_us = number(rd, j, "pause_us", INT64_MAX);
	read_machine(rd, j, &s->machine);
	j = rd->r == 0 ? j : NULL;
	if (j) {
		const json_t *image = object(rd, j, "image", true);

		if (image)
			read_image(rd, image, s->image);
		if (rd->r == 0)
			read_devices(rd, j, s);
		if (rd->r == 0)
			read_files(rd, j, s);
		read_commands(rd, j, s);
		read_listeners(rd, j, s);
	}
	return rd->r;
}

int snapshot_decode(const void *data, size_t bytes, struct snapshot **ret, struct err *e)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	struct reader rd = {.e = e};
	autojson json_t *j = NULL;

	if (s)
		s->image = calloc(1, sizeof(*s->image));
	if (!s || !s->image) {
		snapshot_free(s);
		return err_set(e, -ENOMEM, "no memory to read a snapshot");
	}
	rd.r = json_document(data, bytes, &j, e);
	if (rd.r == 0)
		rd.r = read_all(&rd, j, s);
	if (rd.r == 0) {
		*ret = s;
		return 0;
	}
	snapshot_free(s);
	/* Whatever is wrong with its text, it is not as it was written. */
	if (rd.r == -EINVAL) {
		rd.r = -EBADMSG;
		if (e)
			e->code = -EBADMSG;
	}
	err_object(e, "snapshot.json");
	return rd.r == -ENOMEM ? rd.r : err_remedy(e, "take the snapshot again");
}
