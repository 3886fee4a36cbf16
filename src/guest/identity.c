// SPDX-License-Identifier: Apache-2.0
#include "guest/identity.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/file.h"

enum { OPEN_FILES = 1048576 }; /* the kernel's default fs.nr_open, and what engines give */

int identity_set_hostname(const char *name, struct err *e)
{
	if (sethostname(name, strlen(name)) < 0) {
		err_sys(e, "cannot become the host name");
		return err_object(e, "%s", name);
	}
	return 0;
}

static int write_file(const char *path, const char *text, struct err *e)
{
	int r = file_write(path, text);

	if (r < 0) {
		err_set(e, r, "cannot be written: %s", strerror(-r));
		return err_object(e, "%s", path);
	}
	return 0;
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
		"ff02::2\tip6-allrouters\n"
		"127.0.1.1\t%s\n",
		hostname);
	return write_file("/etc/hosts", text, e);
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
