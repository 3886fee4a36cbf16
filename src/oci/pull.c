// SPDX-License-Identifier: Apache-2.0
#include "oci/pull.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "oci/archive.h"
#include "oci/convert.h"
#include "oci/source.h"
#include "oci/store_int.h"

struct pull {
	struct store *store;
	const struct pull_options *options;
	struct ref ref;
	struct platform platform;
	struct file_identity file;
	struct source *source;
	struct descriptor chosen;
	struct buf manifest_text, config_text;
	struct manifest manifest;
	struct image_document document;
};

static int open_source(struct pull *p, struct err *e)
{
	struct archive_options archive;
	autoclose int tmp = -1;

	if (p->ref.transport == REF_LAYOUT)
		return layout_open(p->ref.path, &p->source, e);
	if (p->ref.transport != REF_ARCHIVE)
		return err_set(e, -ENOTSUP, "registries are not supported by this version");
	if (!file_identity_of(p->ref.path, &p->file))
		return err_sys(e, "%s", p->ref.path);
	tmp = openat(p->store->dir_fd, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tmp < 0)
		return object_write_failed(p->store, -errno, e);
	archive = (struct archive_options){.tmp_dir = tmp};
	return archive_source_open(p->ref.path, &archive, &p->source, e);
}

static int check_chosen(const struct descriptor *d, struct err *e)
{
	if (d->kind == MEDIA_MANIFEST)
		return 0;
	err_set(e, -ENOTSUP, "is not a container image (it is %.100s)", d->media_type);
	return err_remedy(e, "name an image that holds a Linux file system");
}

static int read_manifest(struct pull *p, struct err *e)
{
	char digest[DIGEST_TEXT_BYTES];
	int r = source_find_manifest(p->source, &p->ref, &p->platform, &p->chosen, e);

	if (!r)
		r = check_chosen(&p->chosen, e);
	if (!r)
		r = source_read_document(p->source, &p->chosen, &p->manifest_text, e);
	if (r < 0)
		return r;
	r = manifest_parse(p->manifest_text.data, p->manifest_text.bytes, &p->manifest, e);
	digest_format(&p->chosen.digest, digest);
	return r < 0 ? err_object(e, "manifest %s", digest) : 0;
}

static int check_platform(const struct pull *p, struct err *e)
{
	char wanted[PLATFORM_TEXT_BYTES], is_for[PLATFORM_TEXT_BYTES];

	if (platform_match(&p->platform, &p->document.platform))
		return 0;
	platform_format(&p->platform, wanted);
	platform_format(&p->document.platform, is_for);
	err_set(e, -ENOENT, "has no image for %s", wanted);
	return err_remedy(e, "it has: %s", is_for);
}

static int read_config(struct pull *p, struct err *e)
{
	char digest[DIGEST_TEXT_BYTES];
	int r = source_read_document(p->source, &p->manifest.config, &p->config_text, e);

	if (r < 0)
		return r;
	digest_format(&p->manifest.config.digest, digest);
	r = image_document_parse(p->config_text.data, p->config_text.bytes, &p->document, e);
	if (r < 0)
		return err_object(e, "configuration %s", digest);
	if (p->document.n_diff_ids != p->manifest.n_layers) {
		err_set(e, -EINVAL, "has %u diff IDs, but the manifest has %u layers",
			p->document.n_diff_ids, p->manifest.n_layers);
		return err_object(e, "configuration %s", digest);
	}
	return check_platform(p, e);
}

static int fill_record(const struct pull *p, struct image_record *r, struct err *e)
{
	unsigned n = p->document.n_diff_ids;

	*r = (struct image_record){.manifest = p->chosen.digest,
		.config = p->manifest.config.digest,
		.platform = p->document.platform,
		.n_diff_ids = n};
	r->created = p->document.created ? strdup(p->document.created) : NULL;
	r->diff_ids = calloc(n, sizeof(*r->diff_ids));
	if (!r->diff_ids || (p->document.created && !r->created)) {
		image_record_fini(r);
		return err_set(e, -ENOMEM, "out of memory");
	}
	memcpy(r->diff_ids, p->document.diff_ids, n * sizeof(*r->diff_ids));
	return 0;
}

static int make_layers(struct pull *p, struct image_record *record, struct err *e)
{
	long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct convert c = {
		.store = p->store,
		.source = p->source,
		.options = p->options,
		.manifest = &p->manifest,
		.document = &p->document,
		.n_cpus = n_cpus > 0 ? (unsigned)n_cpus : 1,
	};
	int r;

	pthread_mutex_init(&c.lock, NULL);
	r = convert_layers(&c, e);
	if (!r)
		r = convert_merge(&c, record, e);
	pthread_mutex_destroy(&c.lock);
	return r;
}

static int put_blob(struct pull *p, const struct digest *d, const struct buf *text, struct err *e)
{
	char name[OBJECT_NAME_BYTES];

	object_blob_name(d, name);
	return object_put(p->store, name, text->data, text->bytes, e);
}

/* The record comes last but one: with it the image counts as complete. */
static int remember(struct pull *p, const struct image_record *record, struct err *e)
{
	autofree char *reference = malloc(REF_TEXT_BYTES);
	struct name_record name = {.platform = p->platform,
		.manifest = p->chosen.digest,
		.added_at = (uint64_t)time(NULL),
		.file = p->file};
	int r;

	if (!reference)
		return err_set(e, -ENOMEM, "out of memory");
	ref_format(&p->ref, reference);
	name.reference = reference;
	r = put_blob(p, &p->chosen.digest, &p->manifest_text, e);
	if (!r)
		r = put_blob(p, &p->manifest.config.digest, &p->config_text, e);
	if (!r)
		r = image_record_save(p->store, record, e);
	return r < 0 ? r : name_record_save(p->store, &name, e);
}

static int make_image(struct pull *p, struct err *e)
{
	struct image_record record;
	int r = fill_record(p, &record, e);

	if (r < 0)
		return r;
	r = make_layers(p, &record, e);
	if (!r)
		r = remember(p, &record, e);
	image_record_fini(&record);
	return r;
}

static int run(struct pull *p, struct err *e)
{
	const struct pull_options *o = p->options;
	int r = ref_parse(o->reference, &p->ref, e);

	if (!r)
		r = platform_parse(o->platform, &p->platform, e);
	if (!r && o->confine)
		r = o->confine(o->context, p->store->path, p->ref.path, e);
	if (!r)
		r = open_source(p, e);
	if (!r)
		r = read_manifest(p, e);
	if (!r)
		r = read_config(p, e);
	return r < 0 ? r : make_image(p, e);
}

int pull_image(
	struct store *s, const struct pull_options *o, struct digest *ret_manifest, struct err *e)
{
	autoclose int lock = object_lock_images(s, false, e);
	autofree struct pull *p = calloc(1, sizeof(*p));
	int r;

	if (lock < 0)
		return lock;
	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	p->store = s;
	p->options = o;
	object_sweep(s);
	r = run(p, e);
	if (!r)
		*ret_manifest = p->chosen.digest;
	source_close(p->source);
	image_document_fini(&p->document);
	manifest_fini(&p->manifest);
	buf_fini(&p->config_text);
	buf_fini(&p->manifest_text);
	return r;
}
