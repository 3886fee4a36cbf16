// SPDX-License-Identifier: Apache-2.0
/* Index and manifest. A document that could be read as both is refused (CVE-2021-41190). */
#include "oci/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "oci/json.h"

/* image-spec media-types.md; Docker: distribution/spec manifest-v2-2. */
static const struct {
	const char *type;
	enum media_kind kind;
} media_types[] = {
	{"application/vnd.oci.image.index.v1+json", MEDIA_INDEX},
	{"application/vnd.docker.distribution.manifest.list.v2+json", MEDIA_INDEX},
	{"application/vnd.oci.image.manifest.v1+json", MEDIA_MANIFEST},
	{"application/vnd.docker.distribution.manifest.v2+json", MEDIA_MANIFEST},
	{"application/vnd.oci.image.config.v1+json", MEDIA_CONFIG},
	{"application/vnd.docker.container.image.v1+json", MEDIA_CONFIG},
	{"application/vnd.oci.image.layer.v1.tar", MEDIA_LAYER},
	{"application/vnd.oci.image.layer.v1.tar+gzip", MEDIA_LAYER},
	{"application/vnd.oci.image.layer.v1.tar+zstd", MEDIA_LAYER},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar", MEDIA_LAYER},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", MEDIA_LAYER},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", MEDIA_LAYER},
	{"application/vnd.docker.image.rootfs.diff.tar", MEDIA_LAYER},
	{"application/vnd.docker.image.rootfs.diff.tar.gzip", MEDIA_LAYER},
	{"application/vnd.docker.image.rootfs.diff.tar.zstd", MEDIA_LAYER},
	{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", MEDIA_LAYER},
};

static enum media_kind kind_of(const char *media_type)
{
	for (size_t i = 0; i < ARRAY_LEN(media_types); i++)
		if (!strcmp(media_type, media_types[i].type))
			return media_types[i].kind;
	return MEDIA_OTHER;
}

static int parse_digest(const json_t *j, struct digest *ret, struct err *e)
{
	const char *text;
	int r = json_get_text(j, "digest", &text, e);

	if (r < 0)
		return r;
	if (!text)
		return err_set(e, -EINVAL, "a descriptor has no \"digest\"");
	return digest_parse(text, ret, e);
}

static int parse_media_type(const json_t *j, struct descriptor *d, struct err *e)
{
	const char *type;
	int r = json_get_text(j, "mediaType", &type, e);

	if (r < 0)
		return r;
	if (!type)
		return err_set(e, -EINVAL, "a descriptor has no \"mediaType\"");
	if (strlen(type) >= sizeof(d->media_type))
		return err_set(e, -EINVAL, "a media type is too long");
	strcpy(d->media_type, type);
	d->kind = kind_of(type);
	return 0;
}

static int parse_platform_part(
	const json_t *j, const char *key, char out[PLATFORM_PART_BYTES], struct err *e)
{
	const char *text;
	int r = json_get_text(j, key, &text, e);

	if (r < 0)
		return r;
	/* Nobody we could run is longer; what is cut off matches nothing. */
	snprintf(out, PLATFORM_PART_BYTES, "%s", text ? text : "");
	return 0;
}

static int parse_platform(const json_t *j, struct platform *ret, struct err *e)
{
	int r = parse_platform_part(j, "os", ret->os, e);

	if (!r)
		r = parse_platform_part(j, "architecture", ret->architecture, e);
	if (!r)
		r = parse_platform_part(j, "variant", ret->variant, e);
	return r;
}

static int parse_ref_name(const json_t *j, struct descriptor *d, struct err *e)
{
	json_t *notes;
	const char *name = NULL;
	int r = json_get_object(j, "annotations", &notes, e);

	if (!r && notes)
		r = json_get_text(notes, "org.opencontainers.image.ref.name", &name, e);
	if (r < 0)
		return r;
	if (name && strlen(name) < sizeof(d->ref_name))
		strcpy(d->ref_name, name);
	return 0;
}

/* image-spec descriptor.md. */
static int parse_descriptor(const json_t *j, struct descriptor *ret, struct err *e)
{
	struct descriptor d = {0};
	json_t *platform = NULL;
	int r;

	if (!json_is_object(j))
		return err_set(e, -EINVAL, "a descriptor is not an object");
	if (!json_object_get(j, "size"))
		return err_set(e, -EINVAL, "a descriptor has no \"size\"");
	r = parse_media_type(j, &d, e);
	if (!r)
		r = parse_digest(j, &d.digest, e);
	if (!r)
		r = json_get_u64(j, "size", &d.bytes, e);
	if (!r)
		r = parse_ref_name(j, &d, e);
	if (!r)
		r = json_get_object(j, "platform", &platform, e);
	if (!r && platform)
		r = parse_platform(platform, &d.platform, e);
	if (r < 0)
		return r;
	d.has_platform = platform != NULL;
	*ret = d;
	return 0;
}

/* schemaVersion is 2, mediaType is what we take it for, and it is nothing else besides. */
static int check_document(
	const json_t *j, enum media_kind kind, const char *not_this, struct err *e)
{
	const char *type;
	uint64_t version;
	int r = json_get_u64(j, "schemaVersion", &version, e);

	if (!r)
		r = json_get_text(j, "mediaType", &type, e);
	if (r < 0)
		return r;
	if (version == 1) {
		err_set(e, -ENOTSUP, "is a Docker schema 1 manifest, which is not supported");
		return err_remedy(e, "convert it: skopeo copy --format oci SOURCE oci:DIR:TAG");
	}
	if (version != 2)
		return err_set(e, -EINVAL, "\"schemaVersion\" is not 2");
	if (type && kind_of(type) != kind)
		return err_set(e, -EINVAL, "its \"mediaType\" is %.100s, which does not fit", type);
	if (json_object_get(j, not_this))
		return err_set(e, -EINVAL, "has \"%s\", which does not belong into it", not_this);
	return 0;
}

static int parse_index_items(const json_t *list, struct index *index, struct err *e)
{
	size_t n = json_array_size(list);

	index->items = calloc(n + 1, sizeof(*index->items));
	if (!index->items)
		return err_set(e, -ENOMEM, "out of memory");
	for (index->n = 0; index->n < n; index->n++) {
		struct err why = {0};
		int r = parse_descriptor(
			json_array_get(list, index->n), &index->items[index->n], &why);

		/* An entry with a digest of another algorithm is passed over (calloc left it
		 * MEDIA_OTHER): the others may still do. */
		if (r == 0 || r == -ENOTSUP)
			continue;
		if (e)
			*e = why;
		return r;
	}
	return 0;
}

int index_parse(const void *json, size_t bytes, struct index *ret, struct err *e)
{
	autojson json_t *j = NULL;
	json_t *list;
	struct index index = {0};
	int r = json_document(json, bytes, &j, e);

	if (!r)
		r = check_document(j, MEDIA_INDEX, "layers", e);
	if (!r)
		r = json_get_array(j, "manifests", &list, e);
	if (r < 0)
		return r;
	if (!list)
		return err_set(e, -EINVAL, "has no \"manifests\"");
	r = parse_index_items(list, &index, e);
	if (r < 0) {
		index_fini(&index);
		return r;
	}
	*ret = index;
	return 0;
}

void index_fini(struct index *index)
{
	free(index->items);
	*index = (struct index){0};
}

static int parse_config_descriptor(const json_t *j, struct manifest *m, struct err *e)
{
	json_t *config;
	int r = json_get_object(j, "config", &config, e);

	if (r < 0)
		return r;
	if (!config)
		return err_set(e, -EINVAL, "has no \"config\"");
	r = parse_descriptor(config, &m->config, e);
	if (r < 0)
		return r;
	if (m->config.kind == MEDIA_CONFIG)
		return 0;
	err_set(e, -ENOTSUP, "is not a container image (its configuration is %.100s)",
		m->config.media_type);
	return err_remedy(e, "choose an image that holds a Linux file system");
}

static int parse_layers(const json_t *j, struct manifest *m, struct err *e)
{
	json_t *list;
	int r = json_get_array(j, "layers", &list, e);

	if (r < 0)
		return r;
	if (!json_array_size(list))
		return err_set(e, -EINVAL, "has no layers");
	if (json_array_size(list) > MANIFEST_LAYERS_MAX)
		return err_set(e, -EINVAL, "has %zu layers, more than %d", json_array_size(list),
			MANIFEST_LAYERS_MAX);
	m->n_layers = (unsigned)json_array_size(list);
	m->layers = calloc(m->n_layers, sizeof(*m->layers));
	if (!m->layers)
		return err_set(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < m->n_layers; i++) {
		r = parse_descriptor(json_array_get(list, i), &m->layers[i], e);
		if (r < 0)
			return err_ctx(e, "layer %u", i + 1);
		if (m->layers[i].kind != MEDIA_LAYER)
			return err_set(e, -ENOTSUP,
				"layer %u is of a kind that is not supported (%.100s)", i + 1,
				m->layers[i].media_type);
	}
	return 0;
}

int manifest_parse(const void *json, size_t bytes, struct manifest *ret, struct err *e)
{
	autojson json_t *j = NULL;
	struct manifest m = {0};
	int r = json_document(json, bytes, &j, e);

	if (!r)
		r = check_document(j, MEDIA_MANIFEST, "manifests", e);
	if (!r)
		r = parse_config_descriptor(j, &m, e);
	if (!r)
		r = parse_layers(j, &m, e);
	if (r < 0) {
		manifest_fini(&m);
		return r;
	}
	*ret = m;
	return 0;
}

void manifest_fini(struct manifest *m)
{
	free(m->layers);
	*m = (struct manifest){0};
}
