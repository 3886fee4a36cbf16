// SPDX-License-Identifier: Apache-2.0
/* The image configuration (image-spec config.md; Healthcheck: Docker image spec v1.2). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/json.h"
#include "oci/manifest.h"

static int no_memory(struct err *e)
{
	return err_set(e, -ENOMEM, "out of memory");
}

static void strings_fini(struct image_strings *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->items[i]);
	free(s->items);
	*s = (struct image_strings){0};
}

static int strings_room(struct image_strings *s, size_t n, struct err *e)
{
	if (!n)
		return 0;
	s->items = calloc(n + 1, sizeof(*s->items));
	return s->items ? 0 : no_memory(e);
}

static int strings_add(struct image_strings *s, const char *text, struct err *e)
{
	s->items[s->n] = strdup(text);
	if (!s->items[s->n])
		return no_memory(e);
	s->n++;
	return 0;
}

static int parse_strings(
	const json_t *object, const char *key, struct image_strings *ret, struct err *e)
{
	json_t *list;
	int r = json_get_array(object, key, &list, e);

	if (!r)
		r = strings_room(ret, json_array_size(list), e);
	for (size_t i = 0; !r && i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		r = text ? strings_add(ret, text, e)
			 : err_set(e, -EINVAL, "\"%s\" holds something else than strings", key);
	}
	return r;
}

/* A set, written as an object whose values mean nothing: {"80/tcp": {}}. */
static int parse_keys(
	const json_t *object, const char *key, struct image_strings *ret, struct err *e)
{
	json_t *set, *value;
	const char *name;
	int r = json_get_object(object, key, &set, e);

	if (!r)
		r = strings_room(ret, json_object_size(set), e);
	if (r < 0)
		return r;
	json_object_foreach(set, name, value)
	{
		r = strings_add(ret, name, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_text(const json_t *object, const char *key, char **ret, struct err *e)
{
	const char *text;
	int r = json_get_text(object, key, &text, e);

	if (r < 0 || !text || !text[0])
		return r;
	*ret = strdup(text);
	return *ret ? 0 : no_memory(e);
}

static int add_label(struct image_config *c, const char *key, const char *value, struct err *e)
{
	struct image_label *label = &c->labels[c->n_labels];

	label->key = strdup(key);
	label->value = strdup(value);
	c->n_labels++;
	return label->key && label->value ? 0 : no_memory(e);
}

static int parse_labels(const json_t *object, struct image_config *c, struct err *e)
{
	json_t *set, *value;
	const char *key;
	int r = json_get_object(object, "Labels", &set, e);

	if (r < 0 || !json_object_size(set))
		return r;
	c->labels = calloc(json_object_size(set), sizeof(*c->labels));
	if (!c->labels)
		return no_memory(e);
	json_object_foreach(set, key, value)
	{
		if (!json_is_string(value))
			return err_set(e, -EINVAL, "the label \"%.80s\" is not a string", key);
		r = add_label(c, key, json_string_value(value), e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_health(const json_t *object, struct image_health *h, struct err *e)
{
	json_t *health;
	uint64_t retries = 0;
	int r = json_get_object(object, "Healthcheck", &health, e);

	if (r < 0 || !health)
		return r;
	r = parse_strings(health, "Test", &h->test, e);
	if (!r)
		r = json_get_u64(health, "Interval", &h->interval_ns, e);
	if (!r)
		r = json_get_u64(health, "Timeout", &h->timeout_ns, e);
	if (!r)
		r = json_get_u64(health, "StartPeriod", &h->start_period_ns, e);
	if (!r)
		r = json_get_u64(health, "StartInterval", &h->start_interval_ns, e);
	if (!r)
		r = json_get_u64(health, "Retries", &retries, e);
	h->retries = (unsigned)MIN(retries, (uint64_t)1000000);
	return r;
}

static int parse_config(const json_t *j, struct image_config *c, struct err *e)
{
	static const struct {
		const char *key;
		size_t offset;
	} lists[] = {{"Env", offsetof(struct image_config, env)},
		{"Cmd", offsetof(struct image_config, cmd)},
		{"Entrypoint", offsetof(struct image_config, entrypoint)}},
	  sets[] = {{"ExposedPorts", offsetof(struct image_config, exposed_ports)},
		  {"Volumes", offsetof(struct image_config, volumes)}},
	  texts[] = {{"WorkingDir", offsetof(struct image_config, working_dir)},
		  {"User", offsetof(struct image_config, user)},
		  {"StopSignal", offsetof(struct image_config, stop_signal)}};
	json_t *config;
	int r = json_get_object(j, "config", &config, e);

	if (r < 0 || !config)
		return r;
	for (size_t i = 0; !r && i < ARRAY_LEN(lists); i++)
		r = parse_strings(config, lists[i].key, (void *)((char *)c + lists[i].offset), e);
	for (size_t i = 0; !r && i < ARRAY_LEN(sets); i++)
		r = parse_keys(config, sets[i].key, (void *)((char *)c + sets[i].offset), e);
	for (size_t i = 0; !r && i < ARRAY_LEN(texts); i++)
		r = parse_text(config, texts[i].key, (void *)((char *)c + texts[i].offset), e);
	if (!r)
		r = parse_labels(config, c, e);
	if (!r)
		r = parse_health(config, &c->health, e);
	return r;
}

static int parse_part(const json_t *j, const char *key, char out[PLATFORM_PART_BYTES],
	bool is_needed, struct err *e)
{
	const char *text;
	int r = json_get_text(j, key, &text, e);

	if (r < 0)
		return r;
	if (is_needed && (!text || !text[0]))
		return err_set(e, -EINVAL, "has no \"%s\"", key);
	if (text && strlen(text) >= PLATFORM_PART_BYTES)
		return err_set(e, -EINVAL, "\"%s\" is too long", key);
	strcpy(out, text ? text : "");
	return 0;
}

static int parse_diff_id(const json_t *j, struct digest *ret, struct err *e)
{
	if (!json_is_string(j))
		return err_set(e, -EINVAL, "\"diff_ids\" holds something else than strings");
	return digest_parse(json_string_value(j), ret, e);
}

static int parse_rootfs(const json_t *j, struct image_document *doc, struct err *e)
{
	json_t *rootfs, *list = NULL;
	const char *type = NULL;
	int r = json_get_object(j, "rootfs", &rootfs, e);

	if (!r && rootfs)
		r = json_get_text(rootfs, "type", &type, e);
	if (!r && rootfs)
		r = json_get_array(rootfs, "diff_ids", &list, e);
	if (r < 0)
		return r;
	if (!type || strcmp(type, "layers"))
		return err_set(e, -EINVAL, "\"rootfs\" is not of the type \"layers\"");
	if (!json_array_size(list) || json_array_size(list) > MANIFEST_LAYERS_MAX)
		return err_set(e, -EINVAL, "\"diff_ids\" has %zu entries, not 1 to %d",
			json_array_size(list), MANIFEST_LAYERS_MAX);
	doc->diff_ids = calloc(json_array_size(list), sizeof(*doc->diff_ids));
	if (!doc->diff_ids)
		return no_memory(e);
	for (; doc->n_diff_ids < json_array_size(list); doc->n_diff_ids++) {
		r = parse_diff_id(
			json_array_get(list, doc->n_diff_ids), &doc->diff_ids[doc->n_diff_ids], e);
		if (r < 0)
			return r;
	}
	return 0;
}

int image_document_parse(const void *json, size_t bytes, struct image_document *ret, struct err *e)
{
	autojson json_t *j = NULL;
	struct image_document doc = {0};
	int r = json_document(json, bytes, &j, e);

	if (!r)
		r = parse_part(j, "os", doc.platform.os, true, e);
	if (!r)
		r = parse_part(j, "architecture", doc.platform.architecture, true, e);
	if (!r)
		r = parse_part(j, "variant", doc.platform.variant, false, e);
	if (!r)
		r = parse_text(j, "created", &doc.created, e);
	if (!r)
		r = parse_rootfs(j, &doc, e);
	if (!r)
		r = parse_config(j, &doc.config, e);
	if (r < 0) {
		image_document_fini(&doc);
		return r;
	}
	*ret = doc;
	return 0;
}

void image_config_fini(struct image_config *c)
{
	strings_fini(&c->env);
	strings_fini(&c->cmd);
	strings_fini(&c->entrypoint);
	strings_fini(&c->exposed_ports);
	strings_fini(&c->volumes);
	strings_fini(&c->health.test);
	for (size_t i = 0; i < c->n_labels; i++) {
		free(c->labels[i].key);
		free(c->labels[i].value);
	}
	free(c->labels);
	free(c->working_dir);
	free(c->user);
	free(c->stop_signal);
	*c = (struct image_config){0};
}

void image_document_fini(struct image_document *doc)
{
	image_config_fini(&doc->config);
	free(doc->created);
	free(doc->diff_ids);
	*doc = (struct image_document){0};
}
