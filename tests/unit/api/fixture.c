// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/handles.h"

static void add_string(struct image_strings *list, const char *text)
{
	list->items = realloc(list->items, (list->n + 2) * sizeof(char *));
	list->items[list->n++] = strdup(text);
	list->items[list->n] = NULL;
}

struct sm_image *fixture_image(void)
{
	struct sm_image *i = calloc(1, sizeof(*i));
	struct image *m = calloc(1, sizeof(*m));

	m->reference = strdup("oci:/nowhere");
	add_string(&m->config.entrypoint, "echo");
	add_string(&m->config.cmd, "image's command");
	add_string(&m->config.env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
	add_string(&m->config.env, "FROM_IMAGE=yes");
	i->n_owners = 1;
	i->image = m;
	return i;
}

struct image *fixture_inner(struct sm_image *image)
{
	return image->image;
}

static void make_file(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	close(fd);
}

int fixture_parts(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = {0};
	char path[128];

	assert_non_null(getenv("VMM_DOUBLE"));
	strcpy(f->dir, "/tmp/sm-api-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->kernel, sizeof(f->kernel), "%s/vmlinux", f->dir);
	make_file(f->kernel);
	snprintf(path, sizeof(path), "%s/initramfs.cpio", f->dir);
	make_file(path);
	snprintf(path, sizeof(path), "%s/supermachine-vmm", f->dir);
	assert_int_equal(symlink(getenv("VMM_DOUBLE"), path), 0);
	setenv("SUPERMACHINE_LIBEXEC", f->dir, 1);
	f->image = fixture_image();
	snprintf(f->store, sizeof(f->store), "%s/store", f->dir);
	assert_int_equal(store_open(f->store, &f->image->store, &e), 0);
	*state = f;
	return 0;
}

int fixture_start(struct fixture *f, const char *mode, int64_t timeout_ms, struct sm_vm **ret,
	struct sm_error *err)
{
	struct sm_vm_options o = SM_INIT(o);
	char word[64];

	snprintf(word, sizeof(word), "double=%s", mode ? mode : "good");
	o.kernel = f->kernel;
	o.cmdline = word;
	o.boot_timeout_ms = timeout_ms;
	o.disk_bytes = 64 << 20;
	o.no_bake = 1;
	return sm_vm_start(f->image, &o, ret, err);
}

int fixture_vm(void **state)
{
	struct sm_error err;
	struct fixture *f;

	fixture_parts(state);
	f = *state;
	fixture_ok(fixture_start(f, NULL, 20000, &f->vm, &err), &err);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void fixture_remove(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int fixture_end(void **state)
{
	struct fixture *f = *state;

	sm_vm_close(f->vm);
	sm_image_close(f->image);
	fixture_remove(f->dir);
	free(f);
	return 0;
}

void fixture_path(const struct fixture *f, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", f->dir, name);
}

unsigned fixture_count_files(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(d);
	return n;
}

bool fixture_wait_log(struct sm_vm *vm, const char *word)
{
	char log[4096];

	for (int i = 0; i < 500; i++) {
		sm_vm_logs(vm, log, sizeof(log), NULL);
		if (strstr(log, word))
			return true;
		usleep(10000);
	}
	print_message("no \"%s\" in \"%s\"\n", word, log);
	return false;
}

void fixture_expect_echo(struct sm_vm *vm)
{
	struct sm_output out;
	struct sm_error err;

	fixture_ok(sm_exec_output(vm, (const char *const[]){"echo", "hi", NULL}, NULL, &out, &err),
		&err);
	assert_string_equal(out.out, "hi\n");
	sm_output_free(&out);
}

void fixture_ok(int r, const struct sm_error *err)
{
	char text[800] = "";

	if (r >= 0)
		return;
	sm_error_sentence(err, text, sizeof(text));
	fail_msg("%d: %s", r, text);
}

unsigned fixture_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}
