// SPDX-License-Identifier: Apache-2.0
/* The helper's work inside this process, where a sanitizer sees it: every image of make_images.py,
 * good and bad. What exactly becomes of each is test_image.c's business. */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/confine.h"
#include "oci/pull.h"
#include "oci/store.h"

static int pull(struct store *s, const char *reference, struct err *e)
{
	struct pull_options o = {
		.reference = reference, .max_layers = 4, .max_layer_bytes = 100 << 20};
	struct digest manifest;

	return pull_image(s, &o, &manifest, e);
}

/* Each in a store of its own, or a bad layer would be found there, made from a good image. */
static int pull_alone(const char *directory, const char *name, struct err *e)
{
	bool is_archive = strstr(name, ".tar") != NULL;
	char path[300], tmp[310];
	struct store *s;
	int r;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	assert_code(store_open(path, &s, e), 0, e);
	r = pull(s, fixture_path(is_archive ? "oci-archive:" : "oci:", name), e);
	store_close(s);
	snprintf(tmp, sizeof(tmp), "%s/tmp", path);
	assert_int_equal(fixture_count_files(tmp), 0);
	return r;
}

static void every_image(void **state)
{
	const char *root = fixture_images(), *stores = fixture_directory();
	unsigned n_good = 0, n_bad = 0;
	struct dirent *entry;
	DIR *d = opendir(root);

	(void)state;
	assert_non_null(d);
	while ((entry = readdir(d))) {
		struct err e = {0};
		int r;

		if (entry->d_name[0] == '.')
			continue;
		r = pull_alone(stores, entry->d_name, &e);
		assert_true(r == 0 || (r < 0 && e.code == r && e.cause[0]));
		if (!strncmp(entry->d_name, "bad-", 4) && r == 0)
			fail_msg("%s was taken", entry->d_name);
		n_good += r == 0;
		n_bad += r < 0;
	}
	closedir(d);
	assert_in_range(n_good, 15, 40);
	assert_in_range(n_bad, 50, 120);
}

/* Shut in, the store and the source can be used and nothing else can. */
static int look_around(const char *store, const char *source)
{
	struct err e = {0};
	struct store *s;
	char reference[600];
	FILE *f;

	if (store_open(store, &s, &e) < 0)
		return 1;
	if (confine_to(store, source, &e) < 0)
		return 2;
	snprintf(reference, sizeof(reference), "oci:%s", source);
	if (pull(s, reference, &e) < 0)
		return 3;
	f = fopen("/etc/passwd", "r");
	if (f)
		return 77; /* this kernel has no Landlock */
	snprintf(reference, sizeof(reference), "%s/new", source);
	f = fopen(reference, "w");
	if (f)
		return 4;
	execl("/bin/true", "true", (char *)NULL);
	return 0;
}

static void confined(void **state)
{
	const char *store = fixture_directory(), *source = fixture_path("", "rich");
	int status;
	pid_t pid = fork();

	(void)state;
	if (!pid)
		_exit(look_around(store, source));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WEXITSTATUS(status) == 77) {
		print_message("skipped: the kernel has no Landlock of version 2\n");
		skip();
	}
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_image),
		cmocka_unit_test(confined),
	};

	return cmocka_run_group_tests_name("oci/pull", tests, NULL, fixture_clean);
}
