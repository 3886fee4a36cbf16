// SPDX-License-Identifier: Apache-2.0
#include "api/parts.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

#define GUEST_ARCH "x86_64"

static int join(char **ret, const char *dir, const char *name)
{
	return asprintf(ret, "%s/%s", dir, name) < 0 ? -ENOMEM : 0;
}

static const char *env(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

/* The file that this code was loaded from. The dynamic linker knows a library's path; of a main
 * program it only knows what the caller called it, so there the kernel is asked. */
static char *own_file(void)
{
	Dl_info info;
	const char *name = NULL;

	if (dladdr((void *)(uintptr_t)parts_find, &info))
		name = info.dli_fname;
	if (!name || !strstr(name, ".so"))
		name = "/proc/self/exe";
	return realpath(name, NULL);
}

/* Tries dir/name. Returns true with *ret set when it is there. */
static bool exists(const char *dir, const char *name, char **ret)
{
	char *path;

	if (!dir || join(&path, dir, name) < 0)
		return false;
	if (access(path, F_OK) < 0) {
		free(path);
		return false;
	}
	*ret = path;
	return true;
}

int parts_find(const char *name, char **ret, struct err *e)
{
	const char *told = env("SUPERMACHINE_LIBEXEC");
	autofree char *beside = NULL;
	char *slash;

	if (told) {
		if (exists(told, name, ret))
			return 0;
		err_set(e, -ENOENT, "not in %s, where SUPERMACHINE_LIBEXEC points", told);
		err_object(e, "%s", name);
		return err_remedy(e, "unset SUPERMACHINE_LIBEXEC or correct it");
	}
	beside = own_file();
	slash = beside ? strrchr(beside, '/') : NULL;
	if (slash)
		*slash = '\0';
	if (exists(beside, name, ret) || exists(SM_LIBEXECDIR, name, ret))
		return 0;
	err_set(e, -ENOENT, "this part of supermachine is neither in %s nor in %s",
		beside ? beside : "the library's directory", SM_LIBEXECDIR);
	err_object(e, "%s", name);
	return err_remedy(e, "build or install supermachine again, or set SUPERMACHINE_LIBEXEC");
}

int parts_cache_dir(char **ret)
{
	const char *cache = env("XDG_CACHE_HOME"), *home = env("HOME");

	if (cache)
		return join(ret, cache, "supermachine");
	return home ? join(ret, home, ".cache/supermachine") : -ENOENT;
}

static bool is_kernel_in(const char *dir, char **ret)
{
	return exists(dir, "guest/" GUEST_ARCH "/tuned/vmlinux", ret) ||
	       exists(dir, "guest/" GUEST_ARCH "/default/vmlinux", ret);
}

static int check_readable(const char *path, struct err *e)
{
	if (access(path, R_OK) == 0)
		return 0;
	err_sys(e, "cannot read this guest kernel");
	err_object(e, "%s", path);
	return err_remedy(e, "give the path of an ELF vmlinux or a bzImage");
}

int parts_find_kernel(const char *given, char **ret, struct err *e)
{
	autofree char *cache = NULL;
	char *copy;
	int r;

	if (!given)
		given = env("SUPERMACHINE_KERNEL");
	if (given) {
		r = check_readable(given, e);
		if (r < 0)
			return r;
		copy = strdup(given);
		if (!copy)
			return err_set(e, -ENOMEM, "no memory for a path");
		*ret = copy;
		return 0;
	}
	(void)!parts_cache_dir(&cache);
	if (is_kernel_in(cache, ret) || exists(SM_GUESTDIR, GUEST_ARCH "/tuned/vmlinux", ret) ||
		exists(SM_GUESTDIR, GUEST_ARCH "/default/vmlinux", ret))
		return 0;
	err_set(e, -ENOENT, "there is none in %s/guest nor in %s", cache ? cache : "the cache",
		SM_GUESTDIR);
	err_object(e, "guest kernel");
	return err_remedy(e, "run `tools/guest-kernel debian` (seconds) or `make kernel` (minutes, "
			     "boots faster) in the source tree, or name one with --kernel or "
			     "SUPERMACHINE_KERNEL");
}

int parts_find_modules(const char *kernel, char **ret)
{
	const char *slash = strrchr(kernel, '/');
	char *path;

	if (asprintf(&path, "%.*smodules.cpio", slash ? (int)(slash + 1 - kernel) : 0, kernel) < 0)
		return -ENOMEM;
	if (access(path, F_OK) < 0) {
		free(path);
		path = NULL;
	}
	*ret = path;
	return 0;
}
