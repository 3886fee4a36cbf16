// SPDX-License-Identifier: Apache-2.0
#include "guest/identity.h"

#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/file.h"

/* The last line of /etc/hosts, before the name. */
#define HOSTS_NAME "127.0.1.1\t"

enum {
	OPEN_FILES = 1048576, /* the kernel's default fs.nr_open, and what engines give */
	HOSTS_MAX = 1 << 20,
};

int identity_set_hostname(const char *name, struct err *e)
{
	if (sethostname(name, strlen(name)) < 0) {
		err_sys(e, "cannot become the host name");
		return err_object(e, "%s", name);
	}
	return 0;
}

static int explain_write(int r, const char *path, struct err *e)
{
	if (r < 0) {
		err_set(e, r, "cannot be written: %s", strerror(-r));
		return err_object(e, "%s", path);
	}
	return 0;
}

static int write_file(const char *path, const char *text, struct err *e)
{
	return explain_write(file_write(path, text), path, e);
}

/* The workload is frozen, so nobody sees it half done. */
static int rewrite_file(const char *path, const char *text, struct err *e)
{
	return explain_write(file_rewrite(path, text), path, e);
}

int identity_write_files(const char *hostname, struct err *e)
{
	char text[512];
	int r = file_make_dirs("/etc", 0755);

	if (r < 0) {
		err_set(e, r, "cannot be made: %s", strerror(-r));
		return err_object(e, "/etc");
	}
	snprintf(text, sizeof(text), "%s\n", hostname);
	r = write_file("/etc/hostname", text, e);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text),
		"127.0.0.1\tlocalhost\n"
		"::1\tlocalhost ip6-localhost ip6-loopback\n"
		"fe00::\tip6-localnet\n"
		"ff00::\tip6-mcastprefix\n"
		"ff02::1\tip6-allnodes\n"
		"ff02::2\tip6-allrouters\n" HOSTS_NAME "%s\n",
		hostname);
	return write_file("/etc/hosts", text, e);
}

/* Puts the new name on our line of a hosts file, which is added if somebody took it out. */
static int rename_in_hosts(struct buf *text, const char *old, const char *new, struct buf *ret)
{
	char line[512];
	const char *all = buf_cstr(text), *found;
	int r;

	if (!all)
		return -ENOMEM;
	snprintf(line, sizeof(line), HOSTS_NAME "%s\n", old);
	found = strstr(all, line);
	r = buf_append(ret, all, found ? (size_t)(found - all) : text->bytes);
	if (r == 0 && !found && text->bytes && all[text->bytes - 1] != '\n')
		r = buf_append_str(ret, "\n");
	if (r == 0)
		r = buf_printf(ret, HOSTS_NAME "%s\n", new);
	return r == 0 && found ? buf_append_str(ret, found + strlen(line)) : r;
}

int identity_rename(const char *etc, const char *old, const char *new, struct err *e)
{
	char path[PATH_MAX], name[512];
	autobuf struct buf was, becomes;
	int r;

	buf_init(&was, HOSTS_MAX);
	buf_init(&becomes, HOSTS_MAX + sizeof(name));
	snprintf(name, sizeof(name), "%s\n", new);
	snprintf(path, sizeof(path), "%s/hostname", etc);
	r = rewrite_file(path, name, e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/hosts", etc);
	r = file_read(path, &was);
	if (r == 0 || r == -ENOENT)
		r = rename_in_hosts(&was, old, new, &becomes);
	if (r < 0 || !buf_cstr(&becomes)) {
		err_set(e, r < 0 ? r : -ENOMEM, "cannot be given the new name: %s",
			strerror(r < 0 ? -r : ENOMEM));
		return err_object(e, "%s", path);
	}
	return rewrite_file(path, (const char *)becomes.data, e);
}

int identity_write_machine_id(const char *etc, const char *id, struct err *e)
{
	char path[PATH_MAX], text[64];
	struct stat st;

	snprintf(path, sizeof(path), "%s/machine-id", etc);
	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || !st.st_size)
		return 0;
	snprintf(text, sizeof(text), "%s\n", id);
	return rewrite_file(path, text, e);
}

int identity_loopback_up(struct err *e)
{
	autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo"};

	if (fd >= 0 && !ioctl(fd, SIOCGIFFLAGS, &request)) {
		request.ifr_flags |= IFF_UP;
		if (!ioctl(fd, SIOCSIFFLAGS, &request))
			return 0;
	}
	err_sys(e, "cannot be brought up");
	return err_object(e, "loopback interface");
}

void identity_tune(void)
{
	struct rlimit files = {.rlim_cur = OPEN_FILES, .rlim_max = OPEN_FILES};

	/* A VM is one tenant: any of its users may serve port 80 and ping. */
	(void)!file_write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
	(void)!file_write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
	/* Whatever memory runs out for, the guest stays reachable. */
	(void)!file_write("/proc/self/oom_score_adj", "-1000");
	setrlimit(RLIMIT_NOFILE, &files);
}
