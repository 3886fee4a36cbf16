// SPDX-License-Identifier: Apache-2.0
/* Writing snapshot.json: the mirror of snapshot_json.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/snapshot_json.h"
#include "oci/json.h"

static void put(json_t *o, const char *key, json_t *value, bool *is_bad)
{
	*is_bad |= !o || !value || json_object_set_new(o, key, value) < 0;
}

static void put_number(json_t *o, const char *key, uint64_t value, bool *is_bad)
{
	put(o, key, json_integer((json_int_t)(value & INT64_MAX)), is_bad);
}

/* Nothing when s is NULL. */
static void put_text(json_t *o, const char *key, const char *s, bool *is_bad)
{
	if (s)
		put(o, key, json_string(s), is_bad);
}

/* What people named as they liked: bytes that are not UTF-8 are shown as '?'. */
static void put_label(json_t *o, const char *key, const char *s, bool *is_bad)
{
	char plain[256];
	json_t *j;

	if (!s)
		return;
	j = json_string(s);
	if (!j) {
		snprintf(plain, sizeof(plain), "%s", s);
		for (char *p = plain; *p; p++)
			if (*p & 0x80)
				*p = '?';
		j = json_string(plain);
	}
	put(o, key, j, is_bad);
}

static void put_hex(json_t *o, const char *key, uint64_t value, bool *is_bad)
{
	char hex[17];

	snprintf(hex, sizeof(hex), "%016" PRIx64, value);
	put_text(o, key, hex, is_bad);
}

static json_t *strings_json(const struct image_strings *list, bool *is_bad)
{
	json_t *j = json_array();

	for (size_t i = 0; i < list->n; i++)
		*is_bad |= json_array_append_new(j, json_string(list->items[i])) < 0;
	return j;
}

static json_t *config_json(const struct image_config *c, bool *is_bad)
{
	json_t *j = json_object();

	put(j, "env", strings_json(&c->env, is_bad), is_bad);
	put(j, "entrypoint", strings_json(&c->entrypoint, is_bad), is_bad);
	put(j, "cmd", strings_json(&c->cmd, is_bad), is_bad);
	put(j, "exposed_ports", strings_json(&c->exposed_ports, is_bad), is_bad);
	put_text(j, "working_dir", c->working_dir, is_bad);
	put_text(j, "user", c->user, is_bad);
	put_text(j, "stop_signal", c->stop_signal, is_bad);
	return j;
}

static json_t *image_json(const struct image *m, bool *is_bad)
{
	json_t *j = json_object(), *layers = json_array();

	for (unsigned i = 0; i < m->n_layers; i++) {
		json_t *layer = json_object();

		put_text(layer, "digest", m->layers[i].digest, is_bad);
		put_number(layer, "bytes", m->layers[i].bytes, is_bad);
		*is_bad |= json_array_append_new(layers, layer) < 0;
	}
	put(j, "layers", layers, is_bad);
	put_label(j, "reference", m->reference, is_bad);
	put_text(j, "manifest", m->manifest_digest, is_bad);
	put_text(j, "os", m->os, is_bad);
	put_text(j, "architecture", m->architecture, is_bad);
	put_text(j, "variant", m->variant, is_bad);
	put(j, "config", config_json(&m->config, is_bad), is_bad);
	return j;
}

static json_t *devices_json(const struct snapshot *s, bool *is_bad)
{
	json_t *j = json_array();
	char name[16];

	for (unsigned i = 0; snapshot_device(s, i, name); i++)
		*is_bad |= json_array_append_new(j, json_string(name)) < 0;
	return j;
}

static json_t *file_json(const struct snapshot_file *f, bool *is_bad)
{
	json_t *j = json_object();

	put_number(j, "bytes", f->bytes, is_bad);
	put_number(j, "data_bytes", f->data_bytes, is_bad);
	put_hex(j, "checksum", f->checksum, is_bad);
	return j;
}

static json_t *files_json(const struct snapshot *s, bool *is_bad)
{
	json_t *j = json_object();

	put(j, "state", file_json(&s->state, is_bad), is_bad);
	put(j, "memory", file_json(&s->memory, is_bad), is_bad);
	if (s->machine.disk_bytes)
		put(j, "disk", file_json(&s->disk, is_bad), is_bad);
	return j;
}

static json_t *commands_json(const struct snapshot *s, bool *is_bad)
{
	json_t *j = json_array();

	for (unsigned i = 0; i < s->n_commands; i++) {
		json_t *one = json_object();

		put_number(one, "pid", (uint64_t)s->commands[i].pid, is_bad);
		put_label(one, "command", s->commands[i].name, is_bad);
		*is_bad |= json_array_append_new(j, one) < 0;
	}
	return j;
}

static json_t *listeners_json(const struct snapshot *s, bool *is_bad)
{
	json_t *j = json_array();

	for (unsigned i = 0; i < s->n_listeners; i++) {
		const struct agent_listener *l = &s->listeners[i];
		char address[2 * sizeof(l->address) + 1];
		json_t *one = json_object();

		for (size_t k = 0; k < sizeof(l->address); k++)
			snprintf(address + 2 * k, 3, "%02x", l->address[k]);
		put_number(one, "port", l->port, is_bad);
		put_number(one, "family", l->family == 6 ? 6 : 4, is_bad);
		put_number(one, "is_loopback", !!l->is_loopback, is_bad);
		put_text(one, "address", address, is_bad);
		*is_bad |= json_array_append_new(j, one) < 0;
	}
	return j;
}

static json_t *kernel_json(const struct machine *m, bool *is_bad)
{
	json_t *j = json_object();

	put_label(j, "path", m->kernel, is_bad);
	put_number(j, "bytes", m->kernel_file.bytes, is_bad);
	put_number(j, "mtime_ns", m->kernel_file.mtime_ns, is_bad);
	put_number(j, "inode", m->kernel_file.inode, is_bad);
	return j;
}

static json_t *base_json(const struct snapshot *s, bool *is_bad)
{
	json_t *j = json_object();

	put_text(j, "id", s->base_id, is_bad);
	put_text(j, "path", s->base_path, is_bad);
	return j;
}

static json_t *whole_json(const struct snapshot *s, bool *is_bad)
{
	const struct machine *m = &s->machine;
	json_t *j = json_object();

	put_number(j, "format", SNAPSHOT_FORMAT, is_bad);
	put_text(j, "product", s->product, is_bad);
	put_text(j, "architecture", s->architecture, is_bad);
	put_text(j, "boot_id", s->boot_id, is_bad);
	put_text(j, "id", s->id, is_bad);
	put_number(j, "created", s->created, is_bad);
	put_number(j, "wall_ns", s->wall_ns, is_bad);
	put_number(j, "pause_us", s->pause_us, is_bad);
	put_number(j, "memory_bytes", m->memory_bytes, is_bad);
	put_number(j, "vcpus", m->vcpus, is_bad);
	put_number(j, "disk_bytes", m->disk_bytes, is_bad);
	put_number(j, "tmpfs_bytes", m->tmpfs_bytes, is_bad);
	put_text(j, "cmdline", m->cmdline, is_bad);
	put(j, "kernel", kernel_json(m, is_bad), is_bad);
	put(j, "image", image_json(s->image, is_bad), is_bad);
	put(j, "devices", devices_json(s, is_bad), is_bad);
	put(j, "files", files_json(s, is_bad), is_bad);
	put(j, "commands", commands_json(s, is_bad), is_bad);
	put(j, "listeners", listeners_json(s, is_bad), is_bad);
	if (s->base_id[0])
		put(j, "base", base_json(s, is_bad), is_bad);
	return j;
}

int snapshot_encode(const struct snapshot *s, char **ret, struct err *e)
{
	bool is_bad = false;
	autojson json_t *j = NULL;
	char *out;

	/* The one text of somebody else's that must be kept to the letter. */
	if (s->base_path) {
		json_t *probe = json_string(s->base_path);

		json_decref(probe);
		if (!probe) {
			err_set(e, -EINVAL, "the path of the base is not UTF-8");
			return err_remedy(e, "rename its directory");
		}
	}
	j = whole_json(s, &is_bad);
	out = is_bad ? NULL : json_dumps(j, JSON_SORT_KEYS | JSON_INDENT(1));
	if (!out)
		return err_set(e, -ENOMEM, "no memory to describe the snapshot");
	*ret = out;
	return 0;
}
