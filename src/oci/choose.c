// SPDX-License-Identifier: Apache-2.0
/*
 * Which entry of an index is meant: by digest or tag first, then by platform. When none fits, the
 * error lists what there is.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "oci/manifest.h"

enum { LIST_CHARS = 160 };

static bool is_image(const struct descriptor *d)
{
	return d->kind == MEDIA_INDEX || d->kind == MEDIA_MANIFEST;
}

/* "docker.io/library/alpine:3.20" is meant by itself and by "3.20". */
static bool is_tagged(const struct descriptor *d, const char *tag)
{
	const char *slash = strrchr(d->ref_name, '/');
	const char *colon = strrchr(d->ref_name, ':');

	if (!strcmp(d->ref_name, tag))
		return true;
	return colon && (!slash || colon > slash) && !strcmp(colon + 1, tag);
}

/* Appends "a, b, c" entries, each once, cut short with an ellipsis. */
static void list_add(char list[LIST_CHARS], const char *item)
{
	size_t used = strlen(list), n = strlen(item);

	for (const char *at = list; (at = strstr(at, item)); at++)
		if ((at == list || at[-1] == ' ') && (!at[n] || at[n] == ','))
			return;
	if (used + n + 8 > LIST_CHARS) {
		if (used < 3 || strcmp(list + used - 3, "…"))
			snprintf(list + used, LIST_CHARS - used, ", …");
		return;
	}
	snprintf(list + used, LIST_CHARS - used, "%s%s", used ? ", " : "", item);
}

/* What decides between two entries of one tag: an exact platform, then none stated at all. */
static int score(const struct descriptor *d, const struct platform *wanted)
{
	if (!d->has_platform || !d->platform.os[0])
		return 1;
	return 2 * platform_match(wanted, &d->platform);
}

static int no_such_platform(const struct index *index,
	bool (*is_meant)(const struct descriptor *, const void *), const void *context,
	const struct platform *wanted, struct err *e)
{
	char list[LIST_CHARS] = "", text[PLATFORM_TEXT_BYTES];

	for (size_t i = 0; i < index->n; i++) {
		const struct descriptor *d = &index->items[i];

		if (!is_image(d) || !is_meant(d, context) || !strcmp(d->platform.os, "unknown"))
			continue;
		platform_format(&d->platform, text);
		list_add(list, text);
	}
	platform_format(wanted, text);
	err_set(e, -ENOENT, "has no image for %s", text);
	if (list[0])
		return err_remedy(e, "it has: %s", list);
	return err_remedy(e, "it has no images at all");
}

static int best_of(const struct index *index,
	bool (*is_meant)(const struct descriptor *, const void *), const void *context,
	const struct platform *wanted, const struct descriptor **ret, struct err *e)
{
	const struct descriptor *best = NULL;
	int best_score = 0;

	for (size_t i = 0; i < index->n; i++) {
		const struct descriptor *d = &index->items[i];

		if (!is_image(d) || !is_meant(d, context) || score(d, wanted) <= best_score)
			continue;
		best = d;
		best_score = score(d, wanted);
	}
	if (!best)
		return no_such_platform(index, is_meant, context, wanted, e);
	*ret = best;
	return 0;
}

static bool any(const struct descriptor *d, const void *context)
{
	(void)d;
	(void)context;
	return true;
}

static bool has_tag(const struct descriptor *d, const void *tag)
{
	return is_tagged(d, tag);
}

static bool has_digest(const struct descriptor *d, const void *digest)
{
	return digest_equal(&d->digest, digest);
}

static bool contains(const struct index *index,
	bool (*is_meant)(const struct descriptor *, const void *), const void *context)
{
	for (size_t i = 0; i < index->n; i++)
		if (is_image(&index->items[i]) && is_meant(&index->items[i], context))
			return true;
	return false;
}

/* True when leaving the tag out leaves no doubt: one name (or none) for all, or one image. */
static bool is_one_image(const struct index *index)
{
	const struct descriptor *first = NULL;
	bool is_same_name = true, is_same_digest = true;

	for (size_t i = 0; i < index->n; i++) {
		const struct descriptor *d = &index->items[i];

		if (!is_image(d))
			continue;
		if (!first)
			first = d;
		is_same_name = is_same_name && !strcmp(first->ref_name, d->ref_name);
		is_same_digest = is_same_digest && digest_equal(&first->digest, &d->digest);
	}
	return is_same_name || is_same_digest;
}

static int no_such_tag(const struct index *index, const char *tag, struct err *e)
{
	char list[LIST_CHARS] = "";

	for (size_t i = 0; i < index->n; i++)
		if (is_image(&index->items[i]) && index->items[i].ref_name[0])
			list_add(list, index->items[i].ref_name);
	if (tag[0])
		err_set(e, -ENOENT, "has no image tagged \"%.100s\"", tag);
	else
		err_set(e, -ENOENT, "holds several images and none is tagged \"latest\"");
	if (list[0])
		return err_remedy(e, "name one of its tags: %s", list);
	return err_remedy(e, "leave the tag out: its images have none");
}

int index_choose(const struct index *index, const struct ref *ref, const struct platform *wanted,
	const struct descriptor **ret, struct err *e)
{
	char digest[DIGEST_TEXT_BYTES];

	if (ref->has_digest) {
		if (contains(index, has_digest, &ref->digest))
			return best_of(index, has_digest, &ref->digest, wanted, ret, e);
		digest_format(&ref->digest, digest);
		err_set(e, -ENOENT, "has no image with the digest %s", digest);
		return err_remedy(e, "leave the digest out to take what is there");
	}
	if (ref->tag[0] && !contains(index, has_tag, ref->tag))
		return no_such_tag(index, ref->tag, e);
	if (ref->tag[0])
		return best_of(index, has_tag, ref->tag, wanted, ret, e);
	if (is_one_image(index))
		return best_of(index, any, NULL, wanted, ret, e);
	if (!contains(index, has_tag, "latest"))
		return no_such_tag(index, "", e);
	return best_of(index, has_tag, "latest", wanted, ret, e);
}

int index_choose_platform(const struct index *index, const struct platform *wanted,
	const struct descriptor **ret, struct err *e)
{
	return best_of(index, any, NULL, wanted, ret, e);
}
