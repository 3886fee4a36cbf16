// SPDX-License-Identifier: Apache-2.0
/* Objects appear whole or not at all, for any number of writers; plans of layers. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/object.h"
#include "oci/record.h"

static struct store *store;
static struct digest digest;

static int open_store(void **state)
{
	struct err e = {0};

	(void)state;
	assert_code(store_open(fixture_directory(), &store, &e), 0, &e);
	digest_of("x", 1, &digest);
	return 0;
}

static int close_store(void **state)
{
	store_close(store);
	return fixture_clean(state);
}

static unsigned count_tmp(void)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/tmp", store_path(store));
	return fixture_count_files(path);
}

static void reserve_commit_abandon(void **state)
{
	char name[OBJECT_NAME_BYTES];
	struct object_slot slot;
	struct err e = {0};

	(void)state;
	object_layer_name(&digest, name);
	assert_code(object_reserve(store, name, &slot, &e), 0, &e);
	assert_int_equal(write(slot.fd, "abc", 3), 3);
	assert_int_equal(object_bytes(store, name), -ENOENT);
	assert_int_equal(count_tmp(), 1);
	object_abandon(&slot);
	assert_int_equal(count_tmp(), 0);
	assert_int_equal(object_bytes(store, name), -ENOENT);
	assert_code(object_reserve(store, name, &slot, &e), 0, &e);
	assert_int_equal(write(slot.fd, "abcd", 4), 4);
	assert_code(object_commit(&slot, &e), 0, &e);
	assert_int_equal(object_bytes(store, name), 4);
	assert_int_equal(count_tmp(), 0);
	assert_code(object_reserve(store, name, &slot, &e), 1, &e);
	assert_int_equal(object_remove(store, name), 0);
}

enum { WRITERS = 16 };

static atomic_uint n_written, n_found;

static void *write_or_find(void *context)
{
	char name[OBJECT_NAME_BYTES];
	struct object_slot slot;
	struct err e = {0};
	int r;

	(void)context;
	object_layer_name(&digest, name);
	r = object_reserve(store, name, &slot, &e);
	if (r == 1) {
		atomic_fetch_add(&n_found, object_bytes(store, name) == 8);
		return NULL;
	}
	if (r == 0 && write(slot.fd, "half", 4) == 4) {
		usleep(20000);
		if (write(slot.fd, "full", 4) == 4 && !object_commit(&slot, &e))
			atomic_fetch_add(&n_written, 1);
	}
	return NULL;
}

static void many_writers(void **state)
{
	pthread_t threads[WRITERS];
	char name[OBJECT_NAME_BYTES];

	(void)state;
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_or_find, NULL), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(n_written, 1);
	assert_int_equal(n_found, WRITERS - 1);
	object_layer_name(&digest, name);
	assert_int_equal(object_remove(store, name), 0);
}

/* A writer that is killed leaves a file in tmp/ that is neither waited for nor kept. */
static void killed_writer(void **state)
{
	char name[OBJECT_NAME_BYTES];
	struct object_slot slot;
	struct err e = {0};
	pid_t pid = fork();
	int status;

	(void)state;
	object_layer_name(&digest, name);
	if (!pid) {
		if (!object_reserve(store, name, &slot, &e) && write(slot.fd, "junk", 4) == 4)
			_exit(7);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_int_equal(count_tmp(), 1);
	assert_code(object_reserve(store, name, &slot, &e), 0, &e);
	assert_int_equal(lseek(slot.fd, 0, SEEK_END), 0); /* the junk is gone */
	object_sweep(store);
	assert_int_equal(count_tmp(), 1); /* ours is locked: not swept */
	object_abandon(&slot);
	pid = fork();
	if (!pid) {
		int r = object_reserve(store, name, &slot, &e);

		_exit(r == 0 ? 7 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(count_tmp(), 1);
	object_sweep(store);
	assert_int_equal(count_tmp(), 0);
}

static void small_objects(void **state)
{
	char name[OBJECT_NAME_BYTES];
	struct err e = {0};
	struct buf b;

	(void)state;
	object_blob_name(&digest, name);
	buf_init(&b, 100);
	assert_code(object_get(store, name, &b, &e), -ENOENT, &e);
	assert_code(object_put(store, name, "one", 3, &e), 0, &e);
	assert_code(object_put(store, name, "second", 6, &e), 0, &e);
	assert_code(object_get(store, name, &b, &e), 0, &e);
	assert_int_equal(b.bytes, 6);
	assert_memory_equal(b.data, "second", 6);
	buf_fini(&b);
	buf_init(&b, 5);
	assert_code(object_get(store, name, &b, &e), -E2BIG, &e);
	buf_fini(&b);
	assert_int_equal(object_remove(store, name), 0);
}

static struct image_record record_of(unsigned n, struct digest *ids)
{
	for (unsigned i = 0; i < n; i++)
		digest_of(&i, sizeof(i), &ids[i]);
	return (struct image_record){.manifest = digest,
		.config = digest,
		.platform = {"linux", "amd64", ""},
		.n_diff_ids = n,
		.diff_ids = ids};
}

static void records(void **state)
{
	struct digest ids[5];
	struct image_record r = record_of(5, ids), got;
	struct name_record n = {.reference = (char *)(uintptr_t) "oci:/x",
				   .manifest = digest,
				   .platform = {"linux", "amd64", ""},
				   .added_at = 9,
				   .file = {1, 2, 3, 4, 5}},
			   m;
	char name[OBJECT_NAME_BYTES];
	struct err e = {0};

	(void)state;
	r.base = 2;
	assert_int_equal(image_record_load(store, &digest, &got), -ENOENT);
	assert_code(image_record_save(store, &r, &e), 0, &e);
	assert_int_equal(image_record_load(store, &digest, &got), 0);
	assert_int_equal(got.n_diff_ids, 5);
	assert_int_equal(got.base, 2);
	assert_null(got.created);
	assert_memory_equal(got.diff_ids, ids, sizeof(ids));
	image_record_fini(&got);
	assert_code(name_record_save(store, &n, &e), 0, &e);
	assert_int_equal(name_record_load(store, "oci:/x", &n.platform, &m), 0);
	assert_memory_equal(&m.file, &n.file, sizeof(m.file));
	name_record_fini(&m);
	assert_int_equal(name_record_load(store, "oci:/y", &n.platform, &m), -ENOENT);
	/* Whatever is in a record's place, it is a record or it is not there. */
	object_image_name(&digest, name);
	for (const char *const *bad = (const char *const[]){"", "{", "[]", "{\"format\":1}",
		     "{\"format\":2}", "\xff\xfe", NULL};
		*bad; bad++) {
		assert_code(object_put(store, name, *bad, strlen(*bad), &e), 0, &e);
		assert_int_equal(image_record_load(store, &digest, &got), -ENOENT);
	}
}

static void plans(void **state)
{
	struct digest ids[30];
	struct image_record r = record_of(30, ids);
	struct layer_plan p, q;
	struct err e = {0};

	(void)state;
	assert_code(layer_plan_make(&r, 0, &p, &e), 0, &e);
	assert_int_equal(p.n, 30);
	assert_int_equal(p.n_merged, 1);
	layer_plan_fini(&p);
	assert_code(layer_plan_make(&r, 24, &p, &e), 0, &e);
	assert_int_equal(p.n, 24);
	assert_int_equal(p.n_merged, 7);
	assert_true(digest_equal(&p.keys[1], &ids[7]));
	assert_true(digest_equal(&p.keys[23], &ids[29]));
	assert_false(digest_equal(&p.keys[0], &ids[6]));
	assert_true(digest_equal(&p.merged[6], &ids[6]));
	assert_code(layer_plan_make(&r, 23, &q, &e), 0, &e);
	assert_false(digest_equal(&p.keys[0], &q.keys[0]));
	layer_plan_fini(&p);
	layer_plan_fini(&q);
	r.base = 10; /* the lower ten are hidden: 20 are left */
	assert_code(layer_plan_make(&r, 24, &p, &e), 0, &e);
	assert_int_equal(p.n, 20);
	assert_int_equal(p.n_merged, 1);
	layer_plan_fini(&p);
	assert_code(layer_plan_make(&r, 1, &p, &e), 0, &e);
	assert_int_equal(p.n, 1);
	assert_int_equal(p.n_merged, 20);
	layer_plan_fini(&p);
}

static void bad_places(void **state)
{
	struct err e = {0};
	struct store *s;

	(void)state;
	assert_true(store_open("/dev/null/x", &s, &e) < 0);
	assert_says(&e, "SUPERMACHINE_STORE");
	assert_true(store_open("/proc/nowhere", &s, &e) < 0);
	setenv("SUPERMACHINE_STORE", "", 1);
	unsetenv("XDG_DATA_HOME");
	unsetenv("HOME");
	assert_code(store_open(NULL, &s, &e), -EINVAL, &e);
	assert_says(&e, "HOME is not set");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reserve_commit_abandon),
		cmocka_unit_test(many_writers),
		cmocka_unit_test(killed_writer),
		cmocka_unit_test(small_objects),
		cmocka_unit_test(records),
		cmocka_unit_test(plans),
		cmocka_unit_test(bad_places),
	};

	return cmocka_run_group_tests_name("oci/store", tests, open_store, close_store);
}
