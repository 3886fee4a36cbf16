// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "oci/ref.h"

static void becomes(const char *text, const char *normal)
{
	char out[REF_TEXT_BYTES], second[REF_TEXT_BYTES];
	struct err e = {0};
	struct ref r, again;

	assert_code(ref_parse(text, &r, &e), 0, &e);
	ref_format(&r, out);
	assert_string_equal(out, normal);
	assert_code(ref_parse(out, &again, &e), 0, &e);
	ref_format(&again, second);
	assert_string_equal(second, normal);
	assert_int_equal(again.transport, r.transport);
	assert_string_equal(again.tag, r.tag);
	assert_int_equal(again.has_digest, r.has_digest);
}

static void is_refused(const char *text, int code)
{
	struct err e = {0};
	struct ref r;

	assert_code(ref_parse(text, &r, &e), code, &e);
	assert_int_equal(e.code, code);
	assert_true(e.cause[0] != 0);
}

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void docker_names(void **state)
{
	(void)state;
	becomes("alpine", "docker.io/library/alpine:latest");
	becomes("alpine:3.20", "docker.io/library/alpine:3.20");
	becomes("docker://alpine:3.20", "docker.io/library/alpine:3.20");
	becomes("user/app", "docker.io/user/app:latest");
	becomes("docker.io/alpine", "docker.io/library/alpine:latest");
	becomes("index.docker.io/user/app:1", "docker.io/user/app:1");
	becomes("ghcr.io/x/y:tag", "ghcr.io/x/y:tag");
	becomes("localhost/x", "localhost/x:latest");
	becomes("localhost:5000/x/y/z", "localhost:5000/x/y/z:latest");
	becomes("Registry/x", "Registry/x:latest");
	becomes("[::1]:5000/x", "[::1]:5000/x:latest");
	becomes("10.0.0.1:5000/x:1", "10.0.0.1:5000/x:1");
	becomes("a.b/c__d/e-f---g.h_i:T_a.g-1", "a.b/c__d/e-f---g.h_i:T_a.g-1");
	becomes("alpine@sha256:" HEX64, "docker.io/library/alpine@sha256:" HEX64);
	becomes("alpine:3@sha256:" HEX64, "docker.io/library/alpine:3@sha256:" HEX64);
}

static void paths(void **state)
{
	(void)state;
	becomes("oci:dir", "oci:dir");
	becomes("oci:/a/b", "oci:/a/b");
	becomes("oci:/a/b:v1", "oci:/a/b:v1");
	becomes("oci:/a/b:docker.io/library/alpine:3", "oci:/a/b:docker.io/library/alpine:3");
	becomes("oci:/a/b@sha256:" HEX64, "oci:/a/b@sha256:" HEX64);
	becomes("oci:/with@sign/b:t", "oci:/with@sign/b:t");
	becomes("oci-archive:f.tar:1", "oci-archive:f.tar:1");
	becomes("/a/b", "/a/b");
	becomes("./a b/c:1", "./a b/c:1");
	becomes("../x", "../x");
}

static void malformed(void **state)
{
	static const char *const bad[] = {"", ":", "Alpine", "alpine:", "alpine:-x", "al pine",
		"alpine:t:u", "/:", "oci:", "oci::t", "oci:d:", "a//b", "a/", "-a", "a-", "a..b",
		"a___b", "a.-b", "UPPER/Case", "host:port/x", "host:123456/x", "-h.io/x", "h..io/x",
		"h-.io/x", "alpine@sha256:12", "alpine@md5:" HEX64, HEX64, "x\ny", "x\x7f",
		"[::1/x", "[]/x", "docker://", "alpine@sha256:" HEX64 "0",
		"alpine@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"};
	char longer[6000];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_refused(bad[i], -EINVAL);
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	is_refused(longer, -EINVAL);
	memcpy(longer, "oci:", 4);
	is_refused(longer, -EINVAL);
	longer[300] = '\0';
	memcpy(longer, "x/aa", 4);
	is_refused(longer, -EINVAL);
	memcpy(longer, "a:bb", 4);
	is_refused(longer, -EINVAL);
}

static void not_supported(void **state)
{
	struct err e = {0};
	struct ref r;

	(void)state;
	is_refused("docker-archive:x.tar", -ENOTSUP);
	is_refused("docker-daemon:x", -ENOTSUP);
	is_refused("containers-storage:x", -ENOTSUP);
	assert_int_equal(ref_parse("alpine@sha512:" HEX64 HEX64, &r, &e), -ENOTSUP);
	assert_int_equal(ref_parse("docker-archive:x.tar", &r, &e), -ENOTSUP);
	assert_says(&e, "skopeo copy docker-archive:x.tar oci:DIR:latest");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(docker_names),
		cmocka_unit_test(paths),
		cmocka_unit_test(malformed),
		cmocka_unit_test(not_supported),
	};

	return cmocka_run_group_tests_name("oci/ref", tests, NULL, NULL);
}
