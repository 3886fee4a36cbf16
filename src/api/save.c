// SPDX-License-Identifier: Apache-2.0
#include "api/save.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "api/snapdir.h"
#include "base/alloc.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/snapfile.h"

enum {
	/* A VMM that has not answered by then never will: what a slow disk may need, and so much
	 * more for each byte that may have to be written. */
	ANSWER_BASE_MS = 120000,
	SLOW_BYTES_PER_MS = 2048,
	FDS = 4,
};

struct files {
	int fds[FDS]; /* state, memory, pagemap, disk */
	unsigned n;
};

static void close_files(struct files *f)
{
	while (f->n)
		close(f->fds[--f->n]);
}

int save_open_pagemap(const struct sm_vm *vm, struct err *e)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)vm->link.child.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	err_sys(e, "cannot be opened");
	return err_object(e, "%s", path);
}

static int add(struct files *f, int fd)
{
	if (fd < 0)
		return fd;
	f->fds[f->n++] = fd;
	return 0;
}

/* In the order of proto/control.h. */
static int open_files(struct sm_vm *vm, struct draft *d, struct files *f, struct err *e)
{
	int r = add(f, draft_file(d, "state", e));

	if (r == 0)
		r = add(f, draft_file(d, "memory", e));
	if (r == 0)
		r = add(f, save_open_pagemap(vm, e));
	if (r == 0 && vm->machine.disk_bytes)
		r = add(f, draft_file(d, "disk", e));
	return r;
}

static int ask(struct sm_vm *vm, const struct save_request *q, const struct files *f,
	struct ctl_answer *ret, struct err *e)
{
	struct ctl_snapshot m = {.flags = q->base ? CTL_S_DIFF : 0};
	uint64_t bytes = vm->machine.memory_bytes + vm->machine.disk_bytes;
	int64_t timeout_ms = ANSWER_BASE_MS + (int64_t)(bytes / SLOW_BYTES_PER_MS);
	int r = link_ask(&vm->link, &m, sizeof(m), CTL_SNAPSHOT, f->fds, f->n,
		clock_deadline_ns(timeout_ms), ret, e);

	if (r == -ENOSPC || r == -EDQUOT)
		err_remedy(e, "make room there, or name another place; the VM runs on");
	return r;
}

/* ---- the description ------------------------------------------------------------------------ */

static int new_id(char out[SNAPSHOT_ID_BYTES], struct err *e)
{
	uint8_t random[(SNAPSHOT_ID_BYTES - 1) / 2];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return err_sys(e, "read random bytes");
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(out + 2 * i, 3, "%02x", random[i]);
	return 0;
}

/* What the VMM wrote, as it is on disk: the VMM is not believed about sizes. */
static int file_bytes(int fd, const char *name, uint64_t *ret, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0) {
		err_sys(e, "cannot be looked at");
		return err_object(e, "%s", name);
	}
	*ret = (uint64_t)st.st_size;
	return 0;
}

static int describe_state(int fd, struct snapshot_file *ret, struct err *e)
{
	autofree uint8_t *data = NULL;
	int r = file_bytes(fd, "state", &ret->bytes, e);

	if (r < 0)
		return r;
	if (!ret->bytes || ret->bytes > SNAPFILE_BYTES_MAX) {
		err_set(e, -EPROTO, "the VMM wrote %" PRIu64 " bytes of state", ret->bytes);
		return err_object(e, "state");
	}
	data = malloc(ret->bytes);
	if (!data)
		return err_set(e, -ENOMEM, "no memory for the state's checksum");
	r = fd_pread_full(fd, data, ret->bytes, 0);
	if (r < 0) {
		err_set(e, r, "cannot be read back: %s", strerror(-r));
		return err_object(e, "state");
	}
	ret->data_bytes = ret->bytes;
	ret->checksum = checksum_of(data, ret->bytes);
	return 0;
}

static int describe_files(
	struct snapshot *s, const struct files *f, const struct ctl_answer *a, struct err *e)
{
	int r = describe_state(f->fds[0], &s->state, e);

	if (r == 0)
		r = file_bytes(f->fds[1], "memory", &s->memory.bytes, e);
	s->memory.data_bytes = a->value[CTL_V_SNAPSHOT_MEMORY_BYTES];
	s->memory.checksum = a->value[CTL_V_SNAPSHOT_MEMORY_CHECKSUM];
	if (r == 0 && s->machine.disk_bytes) {
		r = file_bytes(f->fds[3], "disk", &s->disk.bytes, e);
		s->disk.data_bytes = a->value[CTL_V_SNAPSHOT_DISK_BYTES];
		s->disk.checksum = a->value[CTL_V_SNAPSHOT_DISK_CHECKSUM];
	}
	return r;
}

static int describe(struct sm_vm *vm, const struct save_request *q, const struct files *f,
	const struct ctl_answer *a, struct snapshot *s, struct err *e)
{
	struct utsname host;
	int r = new_id(s->id, e);

	if (r == 0 && uname(&host) < 0)
		r = err_sys(e, "ask for the host's architecture");
	if (r < 0)
		return r;
	snprintf(s->product, sizeof(s->product), "%s", SM_VERSION);
	snprintf(s->architecture, sizeof(s->architecture), "%.15s", host.machine);
	s->boot_id = snapshot_boot_id();
	s->machine = vm->machine; /* borrowed, as is the image */
	s->image = vm->image->image;
	s->created = (uint64_t)time(NULL);
	s->wall_ns = a->value[CTL_V_SNAPSHOT_WALL_NS];
	s->pause_us = a->value[CTL_V_SNAPSHOT_PAUSE_US];
	s->n_listeners = link_listeners(&vm->link, s->listeners);
	s->n_commands = commands_copy(&vm->commands, s->commands);
	if (q->base) {
		memcpy(s->base_id, vm->origin_id, sizeof(s->base_id));
		r = snapdir_base_path(q->dir, q->base, &s->base_path, e);
	}
	return r < 0 ? r : describe_files(s, f, a, e);
}

static int write_description(struct sm_vm *vm, const struct save_request *q, struct draft *d,
	const struct files *f, const struct ctl_answer *a, struct err *e)
{
	struct snapshot *s = calloc(1, sizeof(*s)), *again = NULL;
	autofree char *text = NULL;
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "no memory to describe the snapshot");
	r = describe(vm, q, f, a, s, e);
	if (r == 0)
		r = snapshot_encode(s, &text, e);
	/* Better to learn now that it cannot be read than when it is needed. */
	if (r == 0)
		r = snapshot_decode(text, strlen(text), &again, e);
	if (r == 0)
		r = draft_put(d, "snapshot.json", text, strlen(text), e);
	snapshot_free(again);
	s->machine = (struct machine){0};
	s->image = NULL;
	snapshot_free(s);
	return r;
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* The base must be the very snapshot behind the VM. */
static int check_base(struct sm_vm *vm, const char *base, struct err *e)
{
	struct snapdir d;
	int r;

	if (!vm->origin_id[0]) {
		err_set(e, -EINVAL,
			"the VM was booted and not restored, so there is nothing that "
			"only its changes could be saved against");
		return err_remedy(e, "take a full snapshot, without a base");
	}
	r = snapdir_open(base, SNAPDIR_NO_BASE, &d, e);
	if (r < 0)
		return r;
	if (strcmp(d.snapshot->id, vm->origin_id)) {
		err_set(e, -EINVAL, "the VM was not restored from this snapshot");
		err_object(e, "%.180s", base);
		r = err_remedy(e, "name the full snapshot that it was restored from");
	}
	snapdir_close(&d);
	return r;
}

int save_write(struct sm_vm *vm, const struct save_request *q, struct draft *d,
	void (*thaw)(void *context), void *context, struct err *e)
{
	struct files f = {.n = 0};
	struct ctl_answer answer;
	int r = q->base ? check_base(vm, q->base, e) : 0;

	if (r == 0)
		r = open_files(vm, d, &f, e);
	if (r == 0)
		r = ask(vm, q, &f, &answer, e);
	if (r == 0 && thaw)
		thaw(context);
	if (r == 0)
		r = write_description(vm, q, d, &f, &answer, e);
	close_files(&f);
	return r;
}

/* ---- the working set ------------------------------------------------------------------------ */

static int ask_pages(struct sm_vm *vm, struct draft *d, uint64_t deadline_ns)
{
	struct ctl_pages m = {.reserved = 0};
	struct ctl_answer answer;
	struct files f = {.n = 0};
	int r = add(&f, save_open_pagemap(vm, NULL));

	if (r == 0)
		r = add(&f, draft_file(d, "written", NULL));
	if (r == 0)
		r = add(&f, draft_file(d, "read", NULL));
	if (r == 0)
		r = link_ask(&vm->link, &m, sizeof(m), CTL_PAGES, f.fds, f.n, deadline_ns, &answer,
			NULL);
	close_files(&f);
	return r;
}

void save_pages(struct sm_vm *vm, struct draft *d, uint64_t deadline_ns)
{
	if (ask_pages(vm, d, deadline_ns) == 0)
		return;
	(void)unlinkat(d->fd, "written", 0);
	(void)unlinkat(d->fd, "read", 0);
}
