// SPDX-License-Identifier: Apache-2.0
/* Opening the store, listing its images, and forgetting them with all that only they used. */
#include "oci/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "base/str.h"
#include "oci/object.h"
#include "oci/record.h"
#include "oci/store_int.h"

static int default_path(char out[REF_PATH_BYTES], struct err *e)
{
	const char *store = getenv("SUPERMACHINE_STORE");
	const char *data = getenv("XDG_DATA_HOME");
	const char *home = getenv("HOME");
	int n;

	if (store && *store)
		n = snprintf(out, REF_PATH_BYTES, "%s", store);
	else if (data && *data == '/') /* XDG base directories: relative ones are ignored */
		n = snprintf(out, REF_PATH_BYTES, "%s/supermachine", data);
	else if (home && *home)
		n = snprintf(out, REF_PATH_BYTES, "%s/.local/share/supermachine", home);
	else
		n = -1;
	if (n >= 0 && n < REF_PATH_BYTES)
		return 0;
	err_set(e, -EINVAL,
		n < 0 ? "there is no place for images: HOME is not set"
		      : "the image store's path is too long");
	return err_remedy(e, "set SUPERMACHINE_STORE to a directory");
}

/* mkdir -p; the last part for the owner alone. */
static int make_directories(char *path)
{
	for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
		int r;

		*slash = '\0';
		r = mkdir(path, 0755);
		*slash = '/';
		if (r < 0 && errno != EEXIST && errno != EACCES && errno != EROFS)
			return -errno;
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_tree(const struct store *s)
{
	static const char *const directories[] = {"layers", "layers/" OBJECT_LAYER_FORMAT,
		"layers/" OBJECT_LAYER_FORMAT "/sha256", "blobs", "blobs/sha256", "images", "names",
		"tmp"};

	if (!faccessat(s->dir_fd, "tmp", F_OK, 0) &&
		!faccessat(s->dir_fd, "layers/" OBJECT_LAYER_FORMAT "/sha256", F_OK, 0))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(directories); i++)
		if (mkdirat(s->dir_fd, directories[i], 0700) < 0 && errno != EEXIST)
			return -errno;
	return 0;
}

static int open_at(char *path, struct store *s)
{
	int r;

	s->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0 && errno == ENOENT) {
		r = make_directories(path);
		if (r < 0)
			return r;
		s->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (s->dir_fd < 0)
		return -errno;
	s->path = realpath(path, NULL);
	return s->path ? make_tree(s) : -errno;
}

static int open_failed(const char *path, int code, struct err *e)
{
	err_set(e, code, "cannot be opened or made: %s", strerror(-code));
	err_object(e, "image store %.120s", path);
	return err_remedy(e, "set SUPERMACHINE_STORE to a directory that you can write to");
}

int store_open(const char *path, struct store **ret, struct err *e)
{
	char at[REF_PATH_BYTES];
	struct store *s;
	int r = 0;

	if (path && snprintf(at, sizeof(at), "%s", path) >= (int)sizeof(at))
		return open_failed(path, -ENAMETOOLONG, e);
	if (!path)
		r = default_path(at, e);
	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	r = open_at(at, s);
	if (r < 0) {
		store_close(s);
		return open_failed(at, r, e);
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	autoclose_run(&s->dir_fd);
	free(s->path);
	free(s);
}

const char *store_path(const struct store *s)
{
	return s->path;
}

/* All name records, with the image record of each; names whose image is not there are left out. */
struct listing {
	struct store *store;
	struct listed {
		char file[OBJECT_NAME_BYTES];
		struct name_record name;
		struct image_record image;
	} * items;
	size_t n, room;
};

static int listing_grow(struct listing *l)
{
	size_t room = l->room ? 2 * l->room : 16;
	struct listed *grown;

	if (l->n < l->room)
		return 0;
	grown = realloc(l->items, room * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	l->items = grown;
	l->room = room;
	return 0;
}

static int listing_add(void *context, const char *file)
{
	struct listing *l = context;
	struct listed item = {0};
	int r = name_record_load_file(l->store, file, &item.name);

	if (r == -ENOENT)
		return 0;
	if (!r)
		r = image_record_load(l->store, &item.name.manifest, &item.image);
	if (!r)
		r = listing_grow(l);
	if (r < 0) {
		name_record_fini(&item.name);
		image_record_fini(&item.image);
		return r == -ENOENT ? 0 : r;
	}
	snprintf(item.file, sizeof(item.file), "%s", file);
	l->items[l->n++] = item;
	return 0;
}

static void listing_fini(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++) {
		name_record_fini(&l->items[i].name);
		image_record_fini(&l->items[i].image);
	}
	free(l->items);
}

static int by_reference(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;
	int order = strcmp(x->name.reference, y->name.reference);

	return order ? order : strcmp(x->file, y->file);
}

static int listing_load(struct store *s, struct listing *l, struct err *e)
{
	int r;

	*l = (struct listing){.store = s};
	r = object_each(s, "names", listing_add, l, e);
	if (r < 0) {
		listing_fini(l);
		return r == -ENOMEM ? err_set(e, r, "out of memory") : r;
	}
	if (l->n)
		qsort(l->items, l->n, sizeof(*l->items), by_reference);
	return 0;
}

static void describe(struct store *s, const struct listed *item, struct store_entry *entry)
{
	char name[OBJECT_NAME_BYTES];

	*entry = (struct store_entry){
		.reference = item->name.reference,
		.os = item->image.platform.os,
		.architecture = item->image.platform.architecture,
		.created = item->image.created ? item->image.created : "",
		.added_at = item->name.added_at,
		.n_layers = item->image.n_diff_ids,
	};
	digest_format(&item->image.manifest, entry->manifest_digest);
	for (unsigned i = 0; i < item->image.n_diff_ids; i++) {
		int64_t bytes;

		object_layer_name(&item->image.diff_ids[i], name);
		bytes = object_bytes(s, name);
		entry->bytes += bytes > 0 ? (uint64_t)bytes : 0;
	}
}

int store_list_images(struct store *s, int (*each)(void *context, const struct store_entry *entry),
	void *context, struct err *e)
{
	struct store_entry entry;
	struct listing l;
	int r = listing_load(s, &l, e);

	if (r < 0)
		return r;
	for (size_t i = 0; !r && i < l.n; i++) {
		describe(s, &l.items[i], &entry);
		r = each(context, &entry);
	}
	listing_fini(&l);
	return r;
}

/* The digest, whole or its first 12 hexadecimal characters or more, with or without "sha256:". */
static bool is_meant_by_digest(const struct listed *item, const char *text)
{
	char hex[DIGEST_HEX_BYTES];
	size_t n;

	if (str_starts_with(text, "sha256:"))
		text += strlen("sha256:");
	n = strlen(text);
	digest_format_hex(&item->name.manifest, hex);
	return n >= 12 && n < DIGEST_HEX_BYTES && !strncmp(text, hex, n);
}

/* References are compared in their normal form; those with a path, made absolute as on opening. */
static bool is_meant_by_name(const struct listed *item, const struct ref *ref)
{
	char normal[REF_TEXT_BYTES];
	autofree char *absolute = NULL;
	struct ref r = *ref;

	if (r.transport == REF_REGISTRY) {
		ref_format(&r, normal);
		return !strcmp(item->name.reference, normal);
	}
	absolute = realpath(r.path, NULL);
	if (absolute && strlen(absolute) < sizeof(r.path))
		strcpy(r.path, absolute);
	for (int t = REF_LAYOUT; t <= REF_ARCHIVE; t++) {
		if (r.transport != REF_PATH && (int)r.transport != t)
			continue;
		struct ref as = r;

		as.transport = (enum ref_transport)t;
		ref_format(&as, normal);
		if (!strcmp(item->name.reference, normal))
			return true;
	}
	return false;
}

/* Forgets the names that are meant; returns how many. */
static unsigned forget_names(struct store *s, struct listing *l, const char *text)
{
	struct ref ref;
	bool is_ref = ref_parse(text, &ref, NULL) == 0;
	unsigned n = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct listed *item = &l->items[i];

		if (!is_meant_by_digest(item, text) && !(is_ref && is_meant_by_name(item, &ref)) &&
			strcmp(item->name.reference, text))
			continue;
		if (!object_remove(s, item->file))
			n++;
	}
	return n;
}

/* The files that the images still named need; sorted. */
struct keep {
	struct store *store;
	char (*names)[OBJECT_NAME_BYTES];
	size_t n, room;
};

static int keep_add(struct keep *k, const char *name)
{
	if (k->n == k->room) {
		size_t room = k->room ? 2 * k->room : 64;
		void *grown = realloc(k->names, room * sizeof(*k->names));

		if (!grown)
			return -ENOMEM;
		k->names = grown;
		k->room = room;
	}
	snprintf(k->names[k->n++], OBJECT_NAME_BYTES, "%s", name);
	return 0;
}

/* Every merging that this version may ask for: any ceiling below the number of layers. */
static int keep_layers(struct keep *k, const struct image_record *r)
{
	char name[OBJECT_NAME_BYTES];
	int code = 0;

	for (unsigned max = 1; !code && max <= r->n_diff_ids; max++) {
		struct layer_plan p;

		code = layer_plan_make(r, max, &p, NULL);
		if (code < 0)
			return code;
		object_layer_name(&p.keys[0], name);
		code = keep_add(k, name);
		layer_plan_fini(&p);
	}
	for (unsigned i = 0; !code && i < r->n_diff_ids; i++) {
		object_layer_name(&r->diff_ids[i], name);
		code = keep_add(k, name);
	}
	return code;
}

static int keep_image(struct keep *k, const struct image_record *r)
{
	char name[OBJECT_NAME_BYTES];
	int code;

	object_image_name(&r->manifest, name);
	code = keep_add(k, name);
	object_blob_name(&r->manifest, name);
	if (!code)
		code = keep_add(k, name);
	object_blob_name(&r->config, name);
	if (!code)
		code = keep_add(k, name);
	return code < 0 ? code : keep_layers(k, r);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int collect_one(void *context, const char *name)
{
	struct keep *k = context;

	if (!k->n || !bsearch(name, k->names, k->n, sizeof(*k->names), by_name))
		(void)object_remove(k->store, name);
	return 0;
}

static int collect(struct store *s, struct err *e)
{
	static const char *const directories[] = {
		"layers/" OBJECT_LAYER_FORMAT "/sha256", "blobs/sha256", "images"};
	struct keep k = {.store = s};
	struct listing l;
	int r = listing_load(s, &l, e);

	if (r < 0)
		return r;
	for (size_t i = 0; !r && i < l.n; i++)
		r = keep_image(&k, &l.items[i].image);
	listing_fini(&l);
	if (r < 0)
		err_set(e, r, "out of memory");
	if (!r && k.n)
		qsort(k.names, k.n, sizeof(*k.names), by_name);
	for (size_t i = 0; !r && i < ARRAY_LEN(directories); i++)
		r = object_each(s, directories[i], collect_one, &k, e);
	free(k.names);
	return r;
}

int store_remove_image(struct store *s, const char *reference, struct err *e)
{
	autoclose int lock = object_lock_images(s, true, e);
	struct listing l;
	unsigned n;
	int r;

	if (lock < 0)
		return lock;
	r = listing_load(s, &l, e);
	if (r < 0)
		return r;
	n = forget_names(s, &l, reference);
	listing_fini(&l);
	if (!n) {
		err_set(e, -ENOENT, "there is no such image in the store");
		err_object(e, "%.150s", reference);
		return err_remedy(e, "list what there is: supermachine images");
	}
	object_sweep(s);
	return collect(s, e);
}
