// SPDX-License-Identifier: Apache-2.0
/*
 * Where the parts of the product are: the VMM, the guest's first programs, kernels, the caches.
 * Asks the environment and the file system, starts nothing.
 */
#pragma once

#include "base/err.h"

/* Where `make install` puts our parts; the build says so. */
#ifndef SM_LIBEXECDIR
#define SM_LIBEXECDIR "/usr/local/libexec/supermachine"
#endif
#ifndef SM_GUESTDIR
#define SM_GUESTDIR "/usr/local/lib/supermachine/guest"
#endif

/* Path of one of our programs or data files: in $SUPERMACHINE_LIBEXEC, else beside the library
 * (an uninstalled build), else where it was installed. *ret is the caller's. -ENOENT names it. */
int parts_find(const char *name, char **ret, struct err *e) MUST_CHECK;

/* The guest kernel: `given` if not NULL, $SUPERMACHINE_KERNEL, the caller's cache, the system's;
 * in each place the tuned one before the distribution's. */
int parts_find_kernel(const char *given, char **ret, struct err *e) MUST_CHECK;

/* The modules that belong to a kernel: modules.cpio beside it. *ret is NULL when there is none. */
int parts_find_modules(const char *kernel, char **ret) MUST_CHECK;

/* ${XDG_CACHE_HOME:-~/.cache}/supermachine, made by nobody. -ENOENT without a home. */
int parts_cache_dir(char **ret) MUST_CHECK;
