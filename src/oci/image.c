// SPDX-License-Identifier: Apache-2.0
/*
 * Opening an image. The short way needs the reference, the store, and (for a layout directory,
 * which may have changed) a fresh look at its index; the long way adds the helper program.
 */
#include "oci/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/alloc.h"
#include "oci/object.h"
#include "oci/pullclient.h"
#include "oci/record.h"
#include "oci/source.h"

/* What lookups answer besides 0 (found) and -errno. */
enum { NOT_STORED = 1 };

struct opening {
	struct store *store;
	const struct image_open_options *options;
	struct ref ref;
	struct platform platform;
	struct file_identity file; /* of an archive */
	char reference[REF_TEXT_BYTES];
};

void image_free(struct image *img)
{
	if (!img)
		return;
	for (unsigned i = 0; i < img->n_layers; i++)
		free(img->layers[i].path);
	free(img->layers);
	free(img->reference);
	image_config_fini(&img->config);
	free(img);
}

static int not_there(const char *path, struct err *e)
{
	err_set(e, -ENOENT, "no such file or directory");
	err_object(e, "%.150s", path);
	return err_remedy(e, "check the path, or make the image: skopeo copy SOURCE oci:DIR:TAG");
}

/* Makes the path absolute, and says which of the two a bare path is. */
static int settle_path(struct ref *ref, struct err *e)
{
	autofree char *absolute = realpath(ref->path, NULL);
	struct stat st;

	if (!absolute && (errno == ENOENT || errno == ENOTDIR))
		return not_there(ref->path, e);
	if (!absolute || stat(absolute, &st) < 0) {
		err_sys(e, "cannot be looked at");
		return err_object(e, "%.150s", ref->path);
	}
	if (strlen(absolute) >= sizeof(ref->path) || strchr(absolute, ':')) {
		err_set(e, -EINVAL, "a path with \":\" (or a very long one) cannot be a reference");
		err_object(e, "%.150s", absolute);
		return err_remedy(e, "rename or move the image");
	}
	strcpy(ref->path, absolute);
	if (ref->transport == REF_PATH)
		ref->transport = S_ISDIR(st.st_mode) ? REF_LAYOUT : REF_ARCHIVE;
	return 0;
}

static int settle(struct opening *o, const char *reference, struct err *e)
{
	int r = ref_parse(reference, &o->ref, e);

	if (!r)
		r = platform_parse(o->options->platform, &o->platform, e);
	if (!r && o->ref.transport != REF_REGISTRY)
		r = settle_path(&o->ref, e);
	if (r < 0)
		return r;
	if (o->ref.transport == REF_ARCHIVE && !file_identity_of(o->ref.path, &o->file))
		return not_there(o->ref.path, e);
	ref_format(&o->ref, o->reference);
	return 0;
}

static int find_in_layout(const struct opening *o, struct digest *ret, struct err *e)
{
	struct source *source;
	struct descriptor d;
	int r = layout_open(o->ref.path, &source, e);

	if (r < 0)
		return r;
	r = source_find_manifest(source, &o->ref, &o->platform, &d, e);
	source_close(source);
	if (r < 0)
		return r;
	if (d.kind != MEDIA_MANIFEST)
		return NOT_STORED; /* the helper will say what is wrong with it */
	*ret = d.digest;
	return 0;
}

static int find_by_name(const struct opening *o, struct digest *ret)
{
	struct name_record n;
	int r;

	if (o->ref.transport == REF_REGISTRY && o->ref.has_digest) {
		*ret = o->ref.digest;
		return 0;
	}
	if (name_record_load(o->store, o->reference, &o->platform, &n) < 0)
		return NOT_STORED;
	r = memcmp(&n.file, &o->file, sizeof(n.file)) ? NOT_STORED : 0;
	*ret = n.manifest;
	name_record_fini(&n);
	return r;
}

static int find_manifest(const struct opening *o, struct digest *ret, struct err *e)
{
	if (o->ref.transport != REF_LAYOUT)
		return find_by_name(o, ret);
	return find_in_layout(o, ret, e);
}

static int load_config(struct store *s, const struct digest *d, struct image *img, struct err *e)
{
	char name[OBJECT_NAME_BYTES];
	struct image_document doc;
	struct digest got;
	autobuf struct buf b;
	int r;

	buf_init(&b, DOCUMENT_BYTES_MAX);
	object_blob_name(d, name);
	if (object_get(s, name, &b, NULL) < 0)
		return NOT_STORED;
	digest_of(b.data, b.bytes, &got);
	if (!digest_equal(&got, d))
		return NOT_STORED;
	r = image_document_parse(b.data, b.bytes, &doc, e);
	if (r < 0)
		return r;
	img->config = doc.config;
	doc.config = (struct image_config){0};
	image_document_fini(&doc);
	digest_format(d, img->config_digest);
	return 0;
}

static int fill_layer(struct store *s, const struct digest *key, struct image_layer *layer)
{
	char name[OBJECT_NAME_BYTES];
	int64_t bytes;

	object_layer_name(key, name);
	bytes = object_bytes(s, name);
	if (bytes <= 0)
		return NOT_STORED;
	digest_format(key, layer->digest);
	layer->bytes = (uint64_t)bytes;
	return asprintf(&layer->path, "%s/%s", store_path(s), name) < 0 ? -ENOMEM : 0;
}

static int fill_layers(const struct opening *o, const struct image_record *record,
	struct image *img, struct err *e)
{
	struct layer_plan plan;
	int r = layer_plan_make(record, o->options->max_layers, &plan, e);

	if (r < 0)
		return r;
	img->layers = calloc(plan.n, sizeof(*img->layers));
	if (!img->layers)
		r = -ENOMEM;
	for (unsigned i = 0; !r && i < plan.n; i++) {
		r = fill_layer(o->store, &plan.keys[i], &img->layers[i]);
		img->n_layers += r == 0;
		img->bytes += img->layers[i].bytes;
	}
	layer_plan_fini(&plan);
	return r == -ENOMEM ? err_set(e, r, "out of memory") : r;
}

static int fill_image(const struct opening *o, const struct image_record *record, struct image *img,
	struct err *e)
{
	char wanted[PLATFORM_TEXT_BYTES], is_for[PLATFORM_TEXT_BYTES];

	if (!platform_match(&o->platform, &record->platform)) {
		platform_format(&o->platform, wanted);
		platform_format(&record->platform, is_for);
		err_set(e, -ENOENT, "has no image for %s", wanted);
		return err_remedy(e, "it has: %s", is_for);
	}
	img->reference = strdup(o->reference);
	if (!img->reference)
		return err_set(e, -ENOMEM, "out of memory");
	digest_format(&record->manifest, img->manifest_digest);
	memcpy(img->os, record->platform.os, sizeof(img->os));
	memcpy(img->architecture, record->platform.architecture, sizeof(img->architecture));
	memcpy(img->variant, record->platform.variant, sizeof(img->variant));
	int r = load_config(o->store, &record->config, img, e);

	return r ? r : fill_layers(o, record, img, e);
}

/* The image, when everything it needs is in the store. */
static int open_stored(
	const struct opening *o, const struct digest *manifest, struct image **ret, struct err *e)
{
	struct image_record record;
	struct image *img;
	int r;

	if (image_record_load(o->store, manifest, &record) < 0)
		return NOT_STORED;
	img = calloc(1, sizeof(*img));
	r = img ? fill_image(o, &record, img, e) : err_set(e, -ENOMEM, "out of memory");
	image_record_fini(&record);
	if (r) {
		image_free(img);
		return r;
	}
	*ret = img;
	return 0;
}

/* Keeps the name current for `supermachine images`. A store that cannot be written to still runs
 * images, so failing is no error. */
static void remember_name(const struct opening *o, const struct digest *manifest)
{
	struct name_record n;
	char reference[REF_TEXT_BYTES];
	bool is_known = name_record_load(o->store, o->reference, &o->platform, &n) == 0;
	bool is_same = is_known && digest_equal(&n.manifest, manifest);
	int r;

	if (is_known)
		name_record_fini(&n);
	if (is_same)
		return;
	memcpy(reference, o->reference, sizeof(reference));
	n = (struct name_record){.reference = reference,
		.platform = o->platform,
		.manifest = *manifest,
		.added_at = (uint64_t)time(NULL),
		.file = o->file};
	r = name_record_save(o->store, &n, NULL);
	(void)r;
}

static int refuse_registry(const struct opening *o, struct err *e)
{
	err_set(e, -ENOTSUP,
		"is not in the store, and registries are not supported by this version");
	return err_remedy(e,
		"fetch it with: skopeo copy docker://%.80s oci:DIR:latest, then run "
		"oci:DIR:latest",
		o->reference);
}

static int pull(const struct opening *o, struct digest *ret, struct err *e)
{
	char platform[PLATFORM_TEXT_BYTES];
	struct pull_request q = {.store = store_path(o->store),
		.reference = o->reference,
		.platform = platform,
		.options = o->options};

	if (o->options->policy == IMAGE_PULL_NEVER) {
		err_set(e, -ENOENT, "is not in the store");
		return err_remedy(e, "leave out the option that forbids to fetch it");
	}
	if (o->ref.transport == REF_REGISTRY)
		return refuse_registry(o, e);
	platform_format(&o->platform, platform);
	return pull_client_run(&q, ret, e);
}

static int open_settled(const struct opening *o, struct image **ret, struct err *e)
{
	struct digest manifest;
	int r = find_manifest(o, &manifest, e);

	if (!r)
		r = open_stored(o, &manifest, ret, e);
	if (!r)
		remember_name(o, &manifest);
	if (r != NOT_STORED)
		return r;
	r = pull(o, &manifest, e);
	if (!r)
		r = open_stored(o, &manifest, ret, e);
	if (r != NOT_STORED)
		return r;
	err_set(e, -EIO, "was removed from the store while it was being opened");
	return err_remedy(e, "try again");
}

int image_open(struct store *s, const char *reference, const struct image_open_options *options,
	struct image **ret, struct err *e)
{
	static const struct image_open_options defaults;
	autofree struct opening *o = calloc(1, sizeof(*o));
	int r;

	if (!o)
		return err_set(e, -ENOMEM, "out of memory");
	o->store = s;
	o->options = options ? options : &defaults;
	r = settle(o, reference, e);
	if (!r)
		r = open_settled(o, ret, e);
	return r < 0 ? err_object(e, "%.150s", reference) : 0;
}
