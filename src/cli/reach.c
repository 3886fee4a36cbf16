// SPDX-License-Identifier: Apache-2.0
#include "cli/reach.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/rundir.h"

void reach_answer_error(const struct reach_answer *from, struct sm_error *to)
{
	*to = (struct sm_error){.code = (enum sm_code)from->code, .os_code = from->os_code};
	snprintf(to->object, sizeof(to->object), "%.*s", (int)sizeof(from->object) - 1,
		from->object);
	snprintf(to->cause, sizeof(to->cause), "%.*s", (int)sizeof(from->cause) - 1, from->cause);
	snprintf(to->remedy, sizeof(to->remedy), "%.*s", (int)sizeof(from->remedy) - 1,
		from->remedy);
}

void reach_error_answer(const struct sm_error *from, struct reach_answer *to)
{
	*to = (struct reach_answer){
		.version = REACH_VERSION, .code = from->code, .os_code = from->os_code};
	snprintf(to->object, sizeof(to->object), "%s", from->object);
	snprintf(to->cause, sizeof(to->cause), "%s", from->cause);
	snprintf(to->remedy, sizeof(to->remedy), "%s", from->remedy);
}

static int from_err(const struct err *e, enum sm_code code, struct sm_error *err)
{
	*err = (struct sm_error){.code = code, .os_code = -e->code};
	snprintf(err->object, sizeof(err->object), "%s", e->object);
	snprintf(err->cause, sizeof(err->cause), "%s", e->cause);
	snprintf(err->remedy, sizeof(err->remedy), "%s", e->remedy);
	return code;
}

/* ---- who can be reached -------------------------------------------------------------------- */

struct names {
	char text[200];
	size_t bytes;
};

static void add_name(const char *name, void *context)
{
	struct names *n = context;
	size_t room = sizeof(n->text) - n->bytes, bytes = strlen(name) + 2;

	if (bytes >= room)
		return;
	snprintf(n->text + n->bytes, room, "%s%s", n->bytes ? ", " : "", name);
	n->bytes = strlen(n->text);
}

/* With those that there are; and where none can be, because each lives in an emulated host. */
static int no_such_vm(int dir_fd, const char *name, struct sm_error *err)
{
	struct names names = {0};
	struct err e;

	if (rundir_lock(dir_fd, NULL) == 0) {
		rundir_sweep(dir_fd, add_name, &names);
		rundir_unlock(dir_fd);
	}
	err_set(&e, -ENOENT, "no VM of this name runs here");
	err_object(&e, "%s", name);
	if (names.bytes)
		err_remedy(&e, "one of those that run: %s", names.text);
	else if (sm_host_check(NULL, NULL, NULL) == SM_E_HYPERVISOR)
		err_remedy(&e, "none runs. Where KVM cannot run Linux each VM is in an emulated "
			       "host of its own, which other commands do not reach: run both "
			       "commands inside one (emulated-host CMD)");
	else
		err_remedy(&e, "start one with supermachine run --name %s", name);
	return from_err(&e, SM_E_NOT_FOUND, err);
}

/* ---- asking -------------------------------------------------------------------------------- */

static int absolute(const char *path, char out[PATH_MAX], struct err *e)
{
	char here[PATH_MAX] = "";
	int n;

	if (!*path)
		return err_set(e, -EINVAL, "an empty name is no directory");
	if (path[0] != '/' && !getcwd(here, sizeof(here)))
		return err_sys(e, "find out the current directory");
	n = snprintf(out, PATH_MAX, "%s%s%s", here, path[0] == '/' ? "" : "/", path);
	if (n >= PATH_MAX) {
		err_set(e, -ENAMETOOLONG, "this path is too long");
		return err_object(e, "%.64s…", path);
	}
	return 0;
}

static int ask(int fd, const char *name, const struct reach_request *q, struct sm_error *err)
{
	struct reach_answer a;
	struct err e;
	ssize_t n = send(fd, q, sizeof(*q), MSG_NOSIGNAL);

	if (n == (ssize_t)sizeof(*q)) {
		do
			n = recv(fd, &a, sizeof(a), 0);
		while (n < 0 && errno == EINTR);
	}
	if (n == (ssize_t)sizeof(a) && a.version == REACH_VERSION) {
		reach_answer_error(&a, err);
		return a.code < 0 ? a.code : 0;
	}
	if (n < 0)
		err_sys(&e, "ask the process that holds it");
	else
		err_set(&e, -EPROTO,
			n ? "the process that holds it is of another version"
			  : "the process that holds it ended without an answer");
	err_object(&e, "%s", name);
	return from_err(&e, n ? SM_E_IO : SM_E_VM_GONE, err);
}

int reach_snapshot(const char *name, const char *dir, const char *base, struct sm_error *err)
{
	struct reach_request q = {.version = REACH_VERSION, .kind = REACH_SNAPSHOT};
	autoclose int dir_fd = -1, fd = -1;
	struct err e = {0};

	if (rundir_check_name(name, &e) < 0 || absolute(dir, q.dir, &e) < 0)
		return from_err(&e, SM_E_INVALID, err);
	if (base && absolute(base, q.base, &e) < 0)
		return from_err(&e, SM_E_INVALID, err);
	dir_fd = rundir_open(&e);
	if (dir_fd < 0)
		return from_err(&e, SM_E_IO, err);
	fd = rundir_connect(dir_fd, name, true);
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return no_such_vm(dir_fd, name, err);
	if (fd < 0) {
		err_set(&e, fd, "cannot reach the process that holds it: %s", strerror(-fd));
		err_object(&e, "%s", name);
		return from_err(&e, SM_E_IO, err);
	}
	return ask(fd, name, &q, err);
}
