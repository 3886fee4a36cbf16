// SPDX-License-Identifier: Apache-2.0
#include "api/bakekey.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "api/parts.h"
#include "api/request.h"
#include "base/alloc.h"
#include "proto/frame.h"

enum { SHOWN = 56 /* characters of a value in words */ };

/* One line; what would end it or could be taken for an escape is escaped. */
static int line_n(struct buf *b, const char *name, const void *value, size_t bytes)
{
	const char *at = value;
	int r = buf_printf(b, "%s ", name);

	for (size_t i = 0; i < bytes && r == 0; i++) {
		if (at[i] == '\n')
			r = buf_append(b, "\\n", 2);
		else if (at[i] == '\\')
			r = buf_append(b, "\\\\", 2);
		else
			r = buf_append(b, at + i, 1);
	}
	return r == 0 ? buf_append(b, "\n", 1) : r;
}

static int line(struct buf *b, const char *name, const char *value)
{
	return line_n(b, name, value, strlen(value));
}

static int line_bytes(struct buf *b, const char *name, uint64_t bytes)
{
	if (bytes % (1 << 20))
		return buf_printf(b, "%s %" PRIu64 " bytes\n", name, bytes);
	return buf_printf(b, "%s %" PRIu64 " MiB\n", name, bytes >> 20);
}

static int line_file(struct buf *b, const char *name, const char *path)
{
	struct file_identity id = {0};
	int r = line(b, name, path);

	if (!file_identity_of(path, &id))
		id = (struct file_identity){0};
	return r < 0 ? r
		     : buf_printf(b,
			       "%s-file %" PRIu64 " bytes, changed %" PRIu64 ", inode %" PRIu64
			       "\n",
			       name, id.bytes, id.mtime_ns, id.inode);
}

/* ---- parts ---------------------------------------------------------------------------------- */

static int put_image(struct buf *b, const struct image *m)
{
	int r = line(b, "image", m->manifest_digest);

	for (unsigned i = 0; i < m->n_layers && r == 0; i++)
		r = line(b, "layer", m->layers[i].digest);
	return r;
}

static int put_parts(struct buf *b, const struct machine *m, struct err *e)
{
	autofree char *initramfs = NULL, *modules = NULL, *vmm = NULL;
	int r = parts_find("initramfs.cpio", &initramfs, e);

	if (r == 0)
		r = parts_find("supermachine-vmm", &vmm, e);
	if (r < 0)
		return r;
	if (parts_find_modules(m->kernel, &modules) < 0)
		return err_set(e, -ENOMEM, "no memory for a path");
	r = line_file(b, "kernel", m->kernel);
	if (r == 0 && modules)
		r = line_file(b, "modules", modules);
	if (r == 0)
		r = line_file(b, "initramfs", initramfs);
	if (r == 0)
		r = line_file(b, "vmm", vmm);
	return r < 0 ? err_set(e, r, "no memory for a bake's key") : 0;
}

static int put_machine(struct buf *b, const struct machine *m)
{
	int r = line_bytes(b, "memory", m->memory_bytes);

	if (r == 0)
		r = buf_printf(b, "vcpus %u\n", m->vcpus);
	if (r == 0)
		r = line(b, "cmdline", m->cmdline ? m->cmdline : "");
	if (r == 0 && m->disk_bytes)
		r = line_bytes(b, "disk", m->disk_bytes);
	else if (r == 0)
		r = line_bytes(b, "tmpfs", m->tmpfs_bytes);
	return r;
}

/* The command as the agent gets it, by the rules of request.h. */
static int put_workload(struct buf *b, const struct bakekey_request *q, struct err *e)
{
	static const char *const names[] = {[AGENT_ARG] = "argument",
		[AGENT_ENV] = "environment",
		[AGENT_CWD] = "directory",
		[AGENT_USER] = "user",
		[AGENT_FLAGS] = "streams"};
	autobuf struct buf request;
	const uint8_t *at, *end, *data;
	struct agent_field f;
	int r;

	buf_init(&request, AGENT_REQUEST_MAX);
	r = request_encode(&request, &q->image->config, q->options->workload, q->workload, 0, e);
	if (r < 0)
		return r;
	at = request.data;
	end = at + request.bytes;
	while (r == 0 && frame_next_field(&at, end, &f, &data) > 0)
		if (f.tag < ARRAY_LEN(names) && f.tag != AGENT_FLAGS)
			r = line_n(b, names[f.tag], data, f.bytes);
	return r < 0 ? err_set(e, r, "no memory for a bake's key") : 0;
}

static int put_ready(struct buf *b, const struct sm_vm_options *o)
{
	static const char *const names[] = {
		[SM_READY_INIT] = "init",
		[SM_READY_LISTEN] = "listen",
		[SM_READY_EXEC] = "exec",
		[SM_READY_FILE] = "file",
	};
	int r = line(b, "ready", names[o->ready]);

	if (r == 0 && o->ready == SM_READY_LISTEN)
		r = buf_printf(b, "ready-port %u\n", o->ready_port);
	if (r == 0 && o->ready_text)
		r = line(b, "ready-what", o->ready_text);
	if (r == 0)
		r = line(b, "warmup", o->warmup ? o->warmup : "");
	if (r == 0)
		r = line(b, "warmup-key", o->warmup_key ? o->warmup_key : "");
	return r;
}

static int put_all(struct buf *b, const struct bakekey_request *q, struct err *e)
{
	struct utsname host;
	int r;

	if (uname(&host) < 0)
		return err_sys(e, "ask for the host's architecture");
	r = line(b, "product", SM_VERSION);
	if (r == 0)
		r = line(b, "architecture", host.machine);
	if (r == 0)
		r = put_image(b, q->image);
	if (r == 0)
		r = put_machine(b, q->machine);
	if (r == 0)
		r = put_ready(b, q->options);
	if (r < 0)
		return err_set(e, r, "no memory for a bake's key");
	if (q->workload)
		r = put_workload(b, q, e);
	return r < 0 ? r : put_parts(b, q->machine, e);
}

int bakekey_make(struct bakekey *k, const struct bakekey_request *q, struct err *e)
{
	struct digest d;
	size_t head;
	int r;

	*k = (struct bakekey){.hex = ""};
	buf_init(&k->text, BAKEKEY_TEXT_MAX);
	r = line(&k->text, "reference", q->image->reference);
	head = k->text.bytes;
	r = r < 0 ? err_set(e, r, "no memory for a bake's key") : put_all(&k->text, q, e);
	if (r < 0) {
		bakekey_fini(k);
		return r;
	}
	digest_of(k->text.data + head, k->text.bytes - head, &d);
	digest_format_hex(&d, k->hex);
	return 0;
}

void bakekey_fini(struct bakekey *k)
{
	buf_fini(&k->text);
}

/* ---- what has changed ----------------------------------------------------------------------- */

struct slice {
	const char *at;
	size_t bytes;
};

/* Takes the next line off *rest. False at the end. */
static bool next_line(struct slice *rest, struct slice *ret)
{
	const char *end = memchr(rest->at, '\n', rest->bytes);

	if (!end)
		return false;
	*ret = (struct slice){rest->at, (size_t)(end - rest->at)};
	rest->bytes -= ret->bytes + 1;
	rest->at = end + 1;
	return true;
}

static bool is_same(const struct slice *a, const struct slice *b)
{
	return a->bytes == b->bytes && !memcmp(a->at, b->at, a->bytes);
}

bool bakekey_is_of(const char *text, size_t bytes, const char *reference)
{
	struct slice rest = {text, bytes}, first, wanted;
	autobuf struct buf b;

	buf_init(&b, BAKEKEY_TEXT_MAX);
	if (line(&b, "reference", reference) < 0 || !next_line(&rest, &first))
		return false;
	wanted = (struct slice){(const char *)b.data, b.bytes - 1};
	return is_same(&first, &wanted);
}

static struct slice name_of(const struct slice *s)
{
	const char *space = memchr(s->at, ' ', s->bytes);

	return (struct slice){s->at, space ? (size_t)(space - s->at) : s->bytes};
}

/* What follows the name, as much of it as is shown; "nothing" when there is nothing. */
static const char *value(const struct slice *s, size_t skip)
{
	return s->bytes > skip ? s->at + skip : "nothing";
}

static int shown(const struct slice *s, size_t skip)
{
	return s->bytes > skip ? (int)MIN(s->bytes - skip, (size_t)SHOWN) : (int)strlen("nothing");
}

static void say(const struct slice *new, const struct slice *old, char *out, size_t room)
{
	struct slice name = name_of(new), other = name_of(old);
	size_t skip = MIN(name.bytes + 1, new->bytes);
	size_t dash = name.bytes > 5 ? name.bytes - 5 : 0;

	if (dash && !memcmp(name.at + dash, "-file", 5))
		snprintf(out, room, "%.*s: another file than it was", (int)dash, name.at);
	else if (!is_same(&name, &other))
		snprintf(out, room, "%.*s: not the same as before", (int)name.bytes, name.at);
	else
		snprintf(out, room, "%.*s: %.*s, was %.*s", (int)name.bytes, name.at,
			shown(new, skip), value(new, skip), shown(old, skip), value(old, skip));
}

void bakekey_difference(
	const struct bakekey *k, const char *old, size_t old_bytes, char *out, size_t room)
{
	struct slice a = {(const char *)k->text.data, k->text.bytes}, b = {old, old_bytes};
	struct slice new_line, old_line;

	out[0] = '\0';
	for (;;) {
		bool has_new = next_line(&a, &new_line), has_old = next_line(&b, &old_line);

		if (!has_new && !has_old)
			return;
		if (!has_new || !has_old)
			break;
		if (!is_same(&new_line, &old_line)) {
			say(&new_line, &old_line, out, room);
			return;
		}
	}
	snprintf(out, room, "not the same as before");
}
