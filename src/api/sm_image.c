// SPDX-License-Identifier: Apache-2.0
/* Images for the public header: src/oci with handles, options and public errors around it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/error.h"
#include "api/handles.h"
#include "api/options.h"
#include "api/parts.h"
#include "base/alloc.h"
#include "proto/control.h"

struct sm_image *image_ref(struct sm_image *i)
{
	atomic_fetch_add(&i->n_owners, 1);
	return i;
}

void image_unref(struct sm_image *i)
{
	if (!i || atomic_fetch_sub(&i->n_owners, 1) != 1)
		return;
	image_free(i->image);
	store_close(i->store);
	free(i);
}

/* Turns the inside's progress into the public one. */
static int tell_progress(void *context, const struct image_progress *p)
{
	const struct sm_image_options *o = context;
	struct sm_progress out = {.stage = SM_PROGRESS_LAYER,
		.object = p->digest,
		.done_bytes = p->done_bytes,
		.total_bytes = p->total_bytes};

	if (p->stage == IMAGE_RESOLVE)
		return 0;
	if (p->stage == IMAGE_LAYER_READY)
		out.stage = SM_PROGRESS_LAYER_DONE;
	o->progress(&out, o->progress_context);
	return 0;
}

static int open_image(struct sm_image *i, const char *store, const char *reference,
	struct sm_image_options *o, struct err *e)
{
	autofree char *program = NULL;
	struct image_open_options inner = {
		.policy = IMAGE_PULL_IF_MISSING,
		.platform = o->platform,
		.max_layers = CTL_BLOCKS_MAX - 1, /* one place is the writable disk's */
		.progress = o->progress ? tell_progress : NULL,
		.context = o,
	};
	struct err missing;
	int r;

	/* Only needed when something must be converted, which says so when it is missing. */
	if (parts_find("supermachine-pull", &program, &missing) == 0)
		inner.pull_program = program;
	r = store_open(store, &i->store, e);
	if (r == 0)
		r = image_open(i->store, reference, &inner, &i->image, e);
	if (r == -EINVAL || r == -EBADMSG)
		err_remedy(e, "make or fetch the image again");
	return r < 0 ? err_object(e, "%s", reference) : 0;
}

/* RFC 3339, "2024-05-01T10:20:30.123Z" or with an offset. 0 when it is something else. */
static int64_t unix_seconds(const char *text)
{
	struct tm tm = {0};
	int n = 0, offset = 0, hours, minutes;
	char sign[2];

	if (sscanf(text, "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		    &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &n) != 6)
		return 0;
	text += n;
	if (*text == '.')
		text += 1 + strspn(text + 1, "0123456789");
	if (sscanf(text, "%1[+-]%2d:%2d", sign, &hours, &minutes) == 3)
		offset = (sign[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	return (int64_t)timegm(&tm) - offset;
}

static void platform_name(struct sm_image *i)
{
	const struct image *m = i->image;

	snprintf(i->platform, sizeof(i->platform), "%s/%s%s%s", m->os, m->architecture,
		m->variant[0] ? "/" : "", m->variant);
}

struct search {
	const char *digest;
	int64_t created_unix;
};

static int find_created(void *context, const struct store_entry *entry)
{
	struct search *s = context;

	if (strcmp(entry->manifest_digest, s->digest))
		return 0;
	s->created_unix = unix_seconds(entry->created);
	return 1;
}

int sm_image_open(const char *store, const char *reference, const struct sm_image_options *options,
	struct sm_image **ret, struct sm_error *err)
{
	struct sm_image_options o;
	struct sm_image *i;
	struct err e = {0};
	int r;

	r = options_copy(&o, sizeof(o), sizeof(o), options, "struct sm_image_options", &e);
	if (r < 0)
		return error_out(err, &e);
	if (!reference || !*reference) {
		err_set(&e, -EINVAL, "no image was named");
		err_remedy(&e, "give oci:DIR[:TAG] or oci-archive:FILE[:TAG]");
		return error_out(err, &e);
	}
	i = calloc(1, sizeof(*i));
	if (!i) {
		err_set(&e, -ENOMEM, "no memory for an image");
		return error_out(err, &e);
	}
	i->n_owners = 1;
	r = open_image(i, store, reference, &o, &e);
	if (r < 0) {
		image_unref(i);
		return error_out(err, &e);
	}
	platform_name(i);
	*ret = i;
	return 0;
}

void sm_image_close(struct sm_image *image)
{
	image_unref(image);
}

/* Gives the caller's older, smaller struct what it has room for. */
static int give_info(
	const struct sm_image_info *full, struct sm_image_info *ret, struct sm_error *err)
{
	struct err e = {0};
	size_t size = ret->size;

	if (size < sizeof(size) || size > sizeof(*full)) {
		err_set(&e, -EINVAL, "its size is %zu", size);
		err_object(&e, "struct sm_image_info");
		err_remedy(&e, "set size to sizeof(struct sm_image_info); SM_INIT does it");
		return error_out(err, &e);
	}
	memcpy(ret, full, size);
	ret->size = size;
	return 0;
}

/* "80/tcp" or "80"; "53/udp" is no port that anybody connects to. */
static int exposes_tcp(const struct image_config *c)
{
	for (size_t i = 0; i < c->exposed_ports.n; i++) {
		const char *protocol = strchr(c->exposed_ports.items[i], '/');

		if (!protocol || !strcmp(protocol, "/tcp"))
			return 1;
	}
	return 0;
}

int sm_image_info(const struct sm_image *image, struct sm_image_info *ret, struct sm_error *err)
{
	const struct image *m = image->image;
	struct search search = {.digest = m->manifest_digest};
	struct sm_image_info info = {
		.size = sizeof(info),
		.reference = m->reference,
		.digest = m->manifest_digest,
		.platform = image->platform,
		.layer_bytes = m->bytes,
		.n_layers = m->n_layers,
		.exposes_ports = exposes_tcp(&m->config),
	};

	/* Only the store's index knows; without it the time is merely not known. */
	(void)!store_list_images(image->store, find_created, &search, NULL);
	info.created_unix = search.created_unix;
	return give_info(&info, ret, err);
}

struct listing {
	sm_image_fn each;
	void *context;
	int count;
};

static int list_one(void *context, const struct store_entry *entry)
{
	struct listing *l = context;
	char platform[64];
	struct sm_image_info info = {
		.size = sizeof(info),
		.reference = entry->reference,
		.digest = entry->manifest_digest,
		.platform = platform,
		.layer_bytes = entry->bytes,
		.n_layers = entry->n_layers,
		.created_unix = unix_seconds(entry->created),
	};

	snprintf(platform, sizeof(platform), "%s/%s", entry->os, entry->architecture);
	if (l->each)
		l->each(&info, l->context);
	l->count++;
	return 0;
}

int sm_image_list(const char *store, sm_image_fn each, void *context, struct sm_error *err)
{
	struct listing l = {.each = each, .context = context};
	struct err e = {0};
	struct store *s;
	int r;

	r = store_open(store, &s, &e);
	if (r < 0)
		return error_out(err, &e);
	r = store_list_images(s, list_one, &l, &e);
	store_close(s);
	return r < 0 ? error_out(err, &e) : l.count;
}
