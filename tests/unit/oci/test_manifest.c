// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "oci/manifest.h"

#define A	 "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B	 "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define CONFIG	 "application/vnd.oci.image.config.v1+json"
#define LAYER	 "application/vnd.oci.image.layer.v1.tar+gzip"

static int index_of(const char *json, struct index *ret, struct err *e)
{
	return index_parse(json, strlen(json), ret, e);
}

static int choose(const struct index *index, const char *reference, const char *platform,
	char out[DIGEST_TEXT_BYTES], struct err *e)
{
	const struct descriptor *d;
	struct platform p;
	struct ref ref;
	int r;

	assert_int_equal(ref_parse(reference, &ref, e), 0);
	assert_int_equal(platform_parse(platform, &p, e), 0);
	r = index_choose(index, &ref, &p, &d, e);
	if (!r)
		digest_format(&d->digest, out);
	return r;
}

static void tags_and_platforms(void **state)
{
	static const char json[] =
		"{\"schemaVersion\":2,\"manifests\":["
		"{\"mediaType\":\"" MANIFEST "\",\"size\":1,\"digest\":\"" A "\","
		"\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"},"
		"\"annotations\":{\"org.opencontainers.image.ref.name\":\"docker.io/x/y:1\"}},"
		"{\"mediaType\":\"" MANIFEST "\",\"size\":1,\"digest\":\"" B "\","
		"\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},"
		"\"annotations\":{\"org.opencontainers.image.ref.name\":\"1\"}},"
		"{\"mediaType\":\"" MANIFEST "\",\"size\":1,\"digest\":\"" A "\","
		"\"platform\":{\"os\":\"linux\",\"architecture\":\"s390x\"},"
		"\"annotations\":{\"org.opencontainers.image.ref.name\":\"two\"}}]}";
	char digest[DIGEST_TEXT_BYTES];
	struct err e = {0};
	struct index index;

	(void)state;
	assert_code(index_of(json, &index, &e), 0, &e);
	assert_code(choose(&index, "oci:x:1", "linux/amd64", digest, &e), 0, &e);
	assert_string_equal(digest, B);
	assert_code(choose(&index, "oci:x:1", "linux/arm64", digest, &e), 0, &e);
	assert_string_equal(digest, A);
	assert_code(choose(&index, "oci:x:docker.io/x/y:1", "linux/arm64/v8", digest, &e), 0, &e);
	assert_code(choose(&index, "oci:x@" B, "linux/amd64", digest, &e), 0, &e);
	assert_code(choose(&index, "oci:x:1", "linux/riscv64", digest, &e), -ENOENT, &e);
	assert_says(&e, "no image for linux/riscv64");
	assert_says(&e, "linux/arm64/v8, linux/amd64");
	assert_code(choose(&index, "oci:x:1", "linux/arm64/v7", digest, &e), -ENOENT, &e);
	assert_code(choose(&index, "oci:x:nope", "linux/amd64", digest, &e), -ENOENT, &e);
	assert_says(&e, "docker.io/x/y:1, 1, two");
	assert_code(choose(&index, "oci:x", "linux/amd64", digest, &e), -ENOENT, &e);
	assert_says(&e, "none is tagged \"latest\"");
	index_fini(&index);
}

static void index_mistakes(void **state)
{
	static const struct {
		const char *json, *says;
	} bad[] = {
		{"", "not valid JSON"},
		{"[]", "not a JSON object"},
		{"{\"schemaVersion\":2}", "\"manifests\""},
		{"{\"schemaVersion\":3,\"manifests\":[]}", "\"schemaVersion\""},
		{"{\"schemaVersion\":2,\"manifests\":{}}", "\"manifests\" is not an array"},
		{"{\"schemaVersion\":2,\"manifests\":[1]}", "not an object"},
		{"{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}", "does not belong"},
		{"{\"schemaVersion\":2,\"manifests\":[],\"mediaType\":\"" MANIFEST "\"}",
			"does not fit"},
		{"{\"schemaVersion\":2,\"manifests\":[]} x", "not valid JSON"},
		{"{\"schemaVersion\":2,\"schemaVersion\":2,\"manifests\":[]}", "duplicate"},
		{"{\"schemaVersion\":2,\"manifests\":[{\"size\":1,\"digest\":\"" A "\"}]}",
			"mediaType"},
		{"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"x\",\"digest\":\"" A "\"}]}",
			"size"},
		{"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"x\",\"size\":-1,"
		 "\"digest\":\"" A "\"}]}",
			"number from 0"},
		{"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"x\",\"size\":1.5,"
		 "\"digest\":\"" A "\"}]}",
			"number from 0"},
		{"{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"x\",\"size\":1,"
		 "\"digest\":\"sha256:\"}]}",
			"not a digest"},
	};
	struct index index;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = {0};

		assert_code(index_of(bad[i].json, &index, &e), -EINVAL, &e);
		assert_says(&e, bad[i].says);
	}
}

static int manifest_of(const char *config_type, const char *layers, struct err *e)
{
	struct manifest m;
	char json[1024];
	int r;

	snprintf(json, sizeof(json),
		"{\"schemaVersion\":2,\"config\":{\"mediaType\":\"%s\",\"size\":2,\"digest\":\"" A
		"\"},\"layers\":%s}",
		config_type, layers);
	r = manifest_parse(json, strlen(json), &m, e);
	if (!r) {
		assert_int_equal(m.n_layers, 1);
		assert_int_equal(m.layers[0].bytes, 7);
		manifest_fini(&m);
	}
	return r;
}

static void manifests(void **state)
{
	struct err e = {0};

	(void)state;
	assert_code(manifest_of(CONFIG,
			    "[{\"mediaType\":\"" LAYER "\",\"size\":7,\"digest\":\"" A "\"}]", &e),
		0, &e);
	assert_code(manifest_of(CONFIG, "[]", &e), -EINVAL, &e);
	assert_code(manifest_of(CONFIG, "null", &e), -EINVAL, &e);
	assert_code(manifest_of(CONFIG, "{}", &e), -EINVAL, &e);
	assert_code(manifest_of("application/x", "[]", &e), -ENOTSUP, &e);
	assert_says(&e, "not a container image");
	assert_code(manifest_of(CONFIG,
			    "[{\"mediaType\":\"application/x\",\"size\":7,"
			    "\"digest\":\"" A "\"}]",
			    &e),
		-ENOTSUP, &e);
	assert_says(&e, "application/x");
}

static const char full_config[] =
	"{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\","
	"\"created\":\"2024-01-01T00:00:00Z\","
	"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" A "\",\"" B "\"]},"
	"\"config\":{\"Env\":[\"A=1\",\"B=\"],\"Cmd\":null,\"Entrypoint\":[\"/e\",\"x\"],"
	"\"WorkingDir\":\"/w\",\"User\":\"u:g\",\"ExposedPorts\":{\"80/tcp\":{},\"1\":{}},"
	"\"Volumes\":{\"/v\":{}},\"StopSignal\":\"SIGINT\",\"Labels\":{\"k\":\"v\"},"
	"\"Healthcheck\":{\"Test\":[\"CMD\",\"t\"],\"Interval\":5,\"Timeout\":6,\"StartPeriod\":7,"
	"\"StartInterval\":8,\"Retries\":9},\"Unknown\":[1,{}]},\"history\":[]}";

static void configuration(void **state)
{
	struct image_document d;
	struct err e = {0};

	(void)state;
	assert_code(image_document_parse(full_config, strlen(full_config), &d, &e), 0, &e);
	assert_string_equal(d.platform.architecture, "arm64");
	assert_string_equal(d.created, "2024-01-01T00:00:00Z");
	assert_int_equal(d.n_diff_ids, 2);
	assert_int_equal(d.diff_ids[1].sha256[31], 0xbb);
	assert_int_equal(d.config.env.n, 2);
	assert_string_equal(d.config.env.items[1], "B=");
	assert_null(d.config.env.items[2]);
	assert_null(d.config.cmd.items);
	assert_string_equal(d.config.entrypoint.items[0], "/e");
	assert_string_equal(d.config.working_dir, "/w");
	assert_string_equal(d.config.user, "u:g");
	assert_int_equal(d.config.exposed_ports.n, 2);
	assert_string_equal(d.config.volumes.items[0], "/v");
	assert_string_equal(d.config.stop_signal, "SIGINT");
	assert_int_equal(d.config.n_labels, 1);
	assert_string_equal(d.config.labels[0].value, "v");
	assert_int_equal(d.config.health.interval_ns, 5);
	assert_int_equal(d.config.health.start_interval_ns, 8);
	assert_int_equal(d.config.health.retries, 9);
	image_document_fini(&d);
}

/* Every prefix of a right document, and the document with any one byte gone, is refused or fine,
 * and nothing leaks (the sanitizer's part of this test). */
static void damaged_configuration(void **state)
{
	size_t n = strlen(full_config);
	char json[sizeof(full_config)];
	struct image_document d;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		struct err e = {0};

		assert_int_equal(image_document_parse(full_config, i, &d, &e), -EINVAL);
		memcpy(json, full_config, i);
		memcpy(json + i, full_config + i + 1, n - i);
		if (!image_document_parse(json, n - 1, &d, &e))
			image_document_fini(&d);
		else
			assert_true(e.code < 0 && e.cause[0]);
	}
}

static void configuration_mistakes(void **state)
{
#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" A "\"]}"
#define LINUX  "\"os\":\"linux\",\"architecture\":\"amd64\","
	static const struct {
		const char *json, *says;
	} bad[] = {
		{"{" ROOTFS "}", "\"os\""},
		{"{\"os\":\"linux\"," ROOTFS "}", "\"architecture\""},
		{"{" LINUX "\"rootfs\":{}}", "\"rootfs\""},
		{"{" LINUX "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}", "diff_ids"},
		{"{" LINUX "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[1]}}", "strings"},
		{"{" LINUX "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"x\"]}}", "digest"},
		{"{" LINUX ROOTFS ",\"config\":[]}", "\"config\""},
		{"{" LINUX ROOTFS ",\"config\":{\"Env\":\"x\"}}", "\"Env\""},
		{"{" LINUX ROOTFS ",\"config\":{\"Cmd\":[1]}}", "\"Cmd\""},
		{"{" LINUX ROOTFS ",\"config\":{\"User\":1000}}", "\"User\""},
		{"{" LINUX ROOTFS ",\"config\":{\"Labels\":{\"k\":1}}}", "label"},
		{"{" LINUX ROOTFS ",\"config\":{\"Volumes\":[]}}", "\"Volumes\""},
		{"{" LINUX ROOTFS ",\"config\":{\"Healthcheck\":{\"Interval\":-1}}}", "Interval"},
		{"{" LINUX ROOTFS ",\"config\":{\"User\":\"a\\u0000b\"}}", "JSON"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct image_document d;
		struct err e = {0};

		assert_code(image_document_parse(bad[i].json, strlen(bad[i].json), &d, &e), -EINVAL,
			&e);
		assert_says(&e, bad[i].says);
	}
}

static void platforms(void **state)
{
	char text[PLATFORM_TEXT_BYTES];
	struct err e = {0};
	struct platform p;

	(void)state;
	assert_int_equal(platform_parse(NULL, &p, &e), 0);
	assert_string_equal(p.os, "linux");
	assert_int_equal(platform_parse("linux/arm/v7", &p, &e), 0);
	platform_format(&p, text);
	assert_string_equal(text, "linux/arm/v7");
	assert_int_equal(platform_parse("linux", &p, &e), -EINVAL);
	assert_int_equal(platform_parse("linux/", &p, &e), -EINVAL);
	assert_int_equal(platform_parse("/amd64", &p, &e), -EINVAL);
	assert_int_equal(platform_parse("linux/a/b/c", &p, &e), -EINVAL);
	assert_int_equal(platform_parse("linux/averyverylongarchitecture", &p, &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tags_and_platforms),
		cmocka_unit_test(index_mistakes),
		cmocka_unit_test(manifests),
		cmocka_unit_test(configuration),
		cmocka_unit_test(damaged_configuration),
		cmocka_unit_test(configuration_mistakes),
		cmocka_unit_test(platforms),
	};

	return cmocka_run_group_tests_name("oci/manifest", tests, NULL, NULL);
}
