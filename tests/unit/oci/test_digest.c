// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/digest.h"
#include "oci/hash.h"

static void known_answers(void **state)
{
	/* FIPS 180-4's examples (NIST CSRC "SHA256.pdf"), and nothing. */
	static const struct {
		const char *text, *digest;
	} known[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
			"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
	};
	char hex[DIGEST_HEX_BYTES];
	struct digest d;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		digest_of(known[i].text, strlen(known[i].text), &d);
		digest_format_hex(&d, hex);
		assert_string_equal(hex, known[i].digest);
	}
}

/* Two implementations that share nothing must agree at every length around the block size. */
static void agrees_with_libcrypto(void **state)
{
	static uint8_t data[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 131 + 7);
	for (size_t n = 0; n <= sizeof(data); n++) {
		struct digest ours, theirs;
		struct hasher h;
		struct err e;

		digest_of(data, n, &ours);
		assert_int_equal(hasher_init(&h, &e), 0);
		assert_int_equal(hasher_add(&h, data, n / 3), 0);
		assert_int_equal(hasher_add(&h, data + n / 3, n - n / 3), 0);
		assert_int_equal(hasher_end(&h, &theirs), 0);
		hasher_fini(&h);
		assert_true(digest_equal(&ours, &theirs));
	}
}

static void text(void **state)
{
	static const char good[] =
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	char out[DIGEST_TEXT_BYTES], bad[80];
	struct err e = {0};
	struct digest d;

	(void)state;
	assert_int_equal(digest_parse(good, &d, &e), 0);
	digest_format(&d, out);
	assert_string_equal(out, good);
	for (size_t i = 0; i < strlen(good); i++) {
		strcpy(bad, good);
		bad[i] = i == 6 ? ';' : 'G';
		assert_int_equal(digest_parse(bad, &d, &e), -EINVAL);
		bad[i] = '\0';
		assert_int_equal(digest_parse(bad, &d, &e), -EINVAL);
	}
	strcpy(bad, good);
	strcat(bad, "0");
	assert_int_equal(digest_parse(bad, &d, &e), -EINVAL);
	assert_int_equal(digest_parse("sha256:../../../../etc/passwd", &d, &e), -EINVAL);
	assert_int_equal(digest_parse("sha512:00", &d, &e), -ENOTSUP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(agrees_with_libcrypto),
		cmocka_unit_test(text),
	};

	return cmocka_run_group_tests_name("oci/digest", tests, NULL, NULL);
}
