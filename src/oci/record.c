// SPDX-License-Identifier: Apache-2.0
#include "oci/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/json.h"
#include "oci/object.h"

enum { RECORD_FORMAT = 1, RECORD_BYTES_MAX = 1 << 20 };

static int load_json(struct store *s, const char *name, json_t **ret)
{
	autobuf struct buf b;
	uint64_t format;
	int r;

	buf_init(&b, RECORD_BYTES_MAX);
	r = object_get(s, name, &b, NULL);
	if (!r)
		r = json_document(b.data, b.bytes, ret, NULL);
	if (r < 0)
		return -ENOENT;
	if (json_get_u64(*ret, "format", &format, NULL) < 0 || format != RECORD_FORMAT)
		return -ENOENT;
	return 0;
}

/* Takes j. */
static int save_json(struct store *s, const char *name, json_t *j, struct err *e)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int r;

	json_decref(j);
	if (!text)
		return err_set(e, -ENOMEM, "out of memory");
	r = object_put(s, name, text, strlen(text), e);
	free(text);
	return r;
}

static int load_digest(const json_t *j, const char *key, struct digest *ret)
{
	const char *text;

	if (json_get_text(j, key, &text, NULL) < 0 || !text)
		return -ENOENT;
	return digest_parse(text, ret, NULL) < 0 ? -ENOENT : 0;
}

static int load_platform(const json_t *j, struct platform *ret)
{
	const char *text;

	if (json_get_text(j, "platform", &text, NULL) < 0 || !text)
		return -ENOENT;
	return platform_parse(text, ret, NULL) < 0 ? -ENOENT : 0;
}

static json_t *digest_json(const struct digest *d)
{
	char text[DIGEST_TEXT_BYTES];

	digest_format(d, text);
	return json_string(text);
}

static json_t *platform_json(const struct platform *p)
{
	char text[PLATFORM_TEXT_BYTES];

	platform_format(p, text);
	return json_string(text);
}

static int load_diff_ids(const json_t *j, struct image_record *r)
{
	json_t *list;
	uint64_t base;

	if (json_get_array(j, "diff_ids", &list, NULL) < 0 ||
		json_get_u64(j, "base", &base, NULL) < 0)
		return -ENOENT;
	if (!json_array_size(list) || json_array_size(list) > MANIFEST_LAYERS_MAX ||
		base >= json_array_size(list))
		return -ENOENT;
	r->base = (unsigned)base;
	r->n_diff_ids = (unsigned)json_array_size(list);
	r->diff_ids = calloc(r->n_diff_ids, sizeof(*r->diff_ids));
	if (!r->diff_ids)
		return -ENOMEM;
	for (unsigned i = 0; i < r->n_diff_ids; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text || digest_parse(text, &r->diff_ids[i], NULL) < 0)
			return -ENOENT;
	}
	return 0;
}

static int load_image(const json_t *j, const struct digest *manifest, struct image_record *r)
{
	const char *created;

	if (load_digest(j, "manifest", &r->manifest) < 0 ||
		load_digest(j, "config", &r->config) < 0 || load_platform(j, &r->platform) < 0 ||
		json_get_text(j, "created", &created, NULL) < 0)
		return -ENOENT;
	if (!digest_equal(&r->manifest, manifest))
		return -ENOENT;
	r->created = created ? strdup(created) : NULL;
	if (created && !r->created)
		return -ENOMEM;
	return load_diff_ids(j, r);
}

int image_record_load(struct store *s, const struct digest *manifest, struct image_record *ret)
{
	autojson json_t *j = NULL;
	char name[OBJECT_NAME_BYTES];
	struct image_record record = {0};
	int r;

	object_image_name(manifest, name);
	r = load_json(s, name, &j);
	if (!r)
		r = load_image(j, manifest, &record);
	if (r < 0) {
		image_record_fini(&record);
		return r;
	}
	*ret = record;
	return 0;
}

int image_record_save(struct store *s, const struct image_record *r, struct err *e)
{
	char name[OBJECT_NAME_BYTES];
	json_t *list = json_array();
	json_t *j;

	for (unsigned i = 0; i < r->n_diff_ids; i++)
		if (json_array_append_new(list, digest_json(&r->diff_ids[i])) < 0) {
			json_decref(list);
			return err_set(e, -ENOMEM, "out of memory");
		}
	j = json_pack("{s:i, s:o, s:o, s:o, s:s*, s:o, s:i}", "format", RECORD_FORMAT, "manifest",
		digest_json(&r->manifest), "config", digest_json(&r->config), "platform",
		platform_json(&r->platform), "created", r->created, "diff_ids", list, "base",
		(int)r->base);
	object_image_name(&r->manifest, name);
	return save_json(s, name, j, e);
}

void image_record_fini(struct image_record *r)
{
	free(r->created);
	free(r->diff_ids);
	*r = (struct image_record){0};
}

static int load_identity(const json_t *j, struct file_identity *ret)
{
	struct {
		const char *key;
		uint64_t *value;
	} fields[] = {{"device", &ret->device}, {"inode", &ret->inode}, {"bytes", &ret->bytes},
		{"mtime_ns", &ret->mtime_ns}, {"ctime_ns", &ret->ctime_ns}};
	json_t *file;

	if (json_get_object(j, "file", &file, NULL) < 0)
		return -ENOENT;
	for (size_t i = 0; file && i < ARRAY_LEN(fields); i++)
		if (json_get_u64(file, fields[i].key, fields[i].value, NULL) < 0)
			return -ENOENT;
	return 0;
}

static int load_name(const json_t *j, struct name_record *n)
{
	const char *reference;

	if (json_get_text(j, "reference", &reference, NULL) < 0 || !reference ||
		load_digest(j, "manifest", &n->manifest) < 0 ||
		load_platform(j, &n->platform) < 0 ||
		json_get_u64(j, "added_at", &n->added_at, NULL) < 0 ||
		load_identity(j, &n->file) < 0)
		return -ENOENT;
	n->reference = strdup(reference);
	return n->reference ? 0 : -ENOMEM;
}

int name_record_load_file(struct store *s, const char *name, struct name_record *ret)
{
	autojson json_t *j = NULL;
	struct name_record n = {0};
	int r = load_json(s, name, &j);

	if (!r)
		r = load_name(j, &n);
	if (r < 0)
		return r;
	*ret = n;
	return 0;
}

/* One file for each reference and platform. */
static void name_of(
	const char *reference, const struct platform *platform, char out[OBJECT_NAME_BYTES])
{
	char text[REF_TEXT_BYTES + PLATFORM_TEXT_BYTES], p[PLATFORM_TEXT_BYTES];
	struct digest d;
	size_t n;

	platform_format(platform, p);
	n = (size_t)snprintf(text, sizeof(text), "%s\n%s", p, reference);
	digest_of(text, MIN(n, sizeof(text) - 1), &d);
	object_reference_name(&d, out);
}

int name_record_load(struct store *s, const char *reference, const struct platform *platform,
	struct name_record *ret)
{
	char name[OBJECT_NAME_BYTES];
	int r;

	name_of(reference, platform, name);
	r = name_record_load_file(s, name, ret);
	if (r < 0)
		return r;
	if (!strcmp(ret->reference, reference))
		return 0;
	name_record_fini(ret);
	return -ENOENT;
}

int name_record_save(struct store *s, const struct name_record *n, struct err *e)
{
	char name[OBJECT_NAME_BYTES];
	json_t *j = json_pack("{s:i, s:s, s:o, s:o, s:I, s:{s:I, s:I, s:I, s:I, s:I}}", "format",
		RECORD_FORMAT, "reference", n->reference, "platform", platform_json(&n->platform),
		"manifest", digest_json(&n->manifest), "added_at", (json_int_t)n->added_at, "file",
		"device", (json_int_t)n->file.device, "inode", (json_int_t)n->file.inode, "bytes",
		(json_int_t)n->file.bytes, "mtime_ns", (json_int_t)n->file.mtime_ns, "ctime_ns",
		(json_int_t)n->file.ctime_ns);

	name_of(n->reference, &n->platform, name);
	return save_json(s, name, j, e);
}

void name_record_fini(struct name_record *n)
{
	free(n->reference);
	*n = (struct name_record){0};
}

/* Kept below 2^63, as JSON integers are signed. */
static uint64_t nanoseconds(const struct timespec *t)
{
	return ((uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec) & INT64_MAX;
}

bool file_identity_of(const char *path, struct file_identity *ret)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	*ret = (struct file_identity){
		.device = st.st_dev & INT64_MAX,
		.inode = st.st_ino & INT64_MAX,
		.bytes = (uint64_t)st.st_size,
		.mtime_ns = nanoseconds(&st.st_mtim),
		.ctime_ns = nanoseconds(&st.st_ctim),
	};
	return true;
}
