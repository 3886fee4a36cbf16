// SPDX-License-Identifier: Apache-2.0
#include "oci/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* linux/landlock.h of Linux 6.2 and later; Debian 12 has 6.1's. */
#define ACCESS_FS_TRUNCATE (1ull << 14)

enum {
	ABI_REFER = 2, /* without it no file can be renamed from one directory to another */
	ABI_TRUNCATE = 3,
	READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
	WRITE = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
		LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
		LANDLOCK_ACCESS_FS_REFER,
};

static int allow(int rules, const char *path, uint64_t access, struct err *e)
{
	autoclose int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0; /* whoever needs it will say what is missing */
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= LANDLOCK_ACCESS_FS_READ_FILE;
	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return err_sys(e, "landlock rule for %s", path);
	return 0;
}

static int restrict_files(const char *store, const char *source, long abi, struct err *e)
{
	uint64_t write = WRITE | (abi >= ABI_TRUNCATE ? ACCESS_FS_TRUNCATE : 0);
	struct landlock_ruleset_attr all = {
		.handled_access_fs = READ | write | LANDLOCK_ACCESS_FS_EXECUTE |
				     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_CHAR |
				     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
				     LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM};
	autoclose int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	int r;

	if (rules < 0)
		return err_sys(e, "landlock");
	r = allow(rules, store, READ | write, e);
	if (!r)
		r = allow(rules, source, READ, e);
	if (!r)
		r = allow(rules, "/usr", READ, e); /* locales and character sets */
	if (!r && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		r = err_sys(e, "landlock");
	return r;
}

int confine_to(const char *store, const char *source, struct err *e)
{
	struct rlimit none = {0, 0};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "no_new_privs");
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return err_sys(e, "no core dumps");
	if (abi < ABI_REFER)
		return 0;
	return restrict_files(store, source, abi, e);
}
