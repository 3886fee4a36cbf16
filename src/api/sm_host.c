// SPDX-License-Identifier: Apache-2.0
/* Whether this host can run VMs: a list of findings, each with what to do. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "api/error.h"
#include "api/kvm.h"
#include "api/parts.h"
#include "base/alloc.h"
#include "base/fd.h"
#include "oci/store.h"

enum {
	FOUND_MAX = 512,
	STORE_MIB = 256,  /* a distribution's image, converted */
	MEMORY_MIB = 600, /* one VM of the default size, and its VMM */
};

struct host {
	int kvm_fd;
	bool is_brief; /* nobody listens to the findings */
};

/* A finding: 0 and the text of what was found, or -errno and e. */
typedef int (*finder)(struct host *h, char *found, size_t room, struct err *e);

static int find_kvm(struct host *h, char *found, size_t room, struct err *e)
{
	h->kvm_fd = kvm_open(KVM_PATH, e);
	if (h->kvm_fd < 0)
		return h->kvm_fd;
	snprintf(found, room, "%s can be opened", KVM_PATH);
	return 0;
}

static int find_guest(struct host *h, char *found, size_t room, struct err *e)
{
	int r;

	if (h->kvm_fd < 0) {
		err_set(e, -ENODEV, "not tried, without a KVM that can be opened");
		return err_object(e, KVM_PATH);
	}
	r = h->is_brief ? kvm_probe_once(h->kvm_fd, e) : kvm_probe(h->kvm_fd, e);
	if (r == 0)
		snprintf(found, room, "a 64-bit guest with SSE and cmpxchg16b ran");
	return r;
}

static int find_part(const char *name, char *found, size_t room, struct err *e)
{
	autofree char *path = NULL;
	int r = parts_find(name, &path, e);

	if (r == 0)
		snprintf(found, room, "%s", path);
	return r;
}

static int find_vmm(struct host *h, char *found, size_t room, struct err *e)
{
	(void)h;
	return find_part("supermachine-vmm", found, room, e);
}

static int find_initramfs(struct host *h, char *found, size_t room, struct err *e)
{
	(void)h;
	return find_part("initramfs.cpio", found, room, e);
}

static int find_converter(struct host *h, char *found, size_t room, struct err *e)
{
	(void)h;
	return find_part("supermachine-pull", found, room, e);
}

static int find_emulated_host(struct host *h, char *found, size_t room, struct err *e)
{
	(void)h;
	return find_part("emulated-host", found, room, e);
}

static int find_kernel(struct host *h, char *found, size_t room, struct err *e)
{
	autofree char *path = NULL;
	int r = parts_find_kernel(NULL, &path, e);

	(void)h;
	if (r == 0)
		snprintf(found, room, "%s", path);
	return r;
}

static int find_store(struct host *h, char *found, size_t room, struct err *e)
{
	unsigned long long free_mib = 0;
	struct statvfs fs;
	struct store *s;
	int r = store_open(NULL, &s, e);

	(void)h;
	if (r < 0)
		return r;
	if (access(store_path(s), W_OK) < 0 || statvfs(store_path(s), &fs) < 0) {
		r = err_sys(e, "images cannot be added to the store");
		err_remedy(e, "set SUPERMACHINE_STORE to a directory of your own");
	} else {
		free_mib = (unsigned long long)fs.f_bavail * fs.f_frsize >> 20;
		snprintf(found, room, "%s, %llu MiB free", store_path(s), free_mib);
		if (free_mib < STORE_MIB) {
			r = err_set(e, -ENOSPC, "only %llu MiB are free for images", free_mib);
			err_remedy(e, "make room, or set SUPERMACHINE_STORE to a directory on "
				      "another disk");
		}
	}
	if (r < 0)
		err_object(e, "%s", store_path(s));
	store_close(s);
	return r;
}

static int find_memory(struct host *h, char *found, size_t room, struct err *e)
{
	autoclose int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	unsigned long long kib = 0;
	char text[4096], *line;
	ssize_t n;

	(void)h;
	if (fd < 0)
		return err_sys(e, "cannot open /proc/meminfo");
	n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	line = strstr(text, "MemAvailable:");
	if (!line || sscanf(line, "MemAvailable: %llu kB", &kib) != 1)
		return err_set(e, -EIO, "/proc/meminfo does not say what is available");
	snprintf(found, room, "%llu MiB available", kib >> 10);
	if (kib >> 10 >= MEMORY_MIB)
		return 0;
	err_set(e, -ENOMEM, "only %llu MiB are available", kib >> 10);
	return err_remedy(e, "stop something, or give VMs less memory than their default 512 MiB");
}

static const struct {
	const char *name;
	bool is_required;
	finder find;
} checks[] = {
	{"vmm", true, find_vmm},
	{"kvm", true, find_kvm},
	{"kvm-guest", true, find_guest},
	{"initramfs", true, find_initramfs},
	{"kernel", true, find_kernel},
	{"store", false, find_store},
	{"memory", false, find_memory},
	{"image-converter", false, find_converter},
	{"emulated-host", false, find_emulated_host},
};

static void tell(
	sm_check_fn each, void *context, unsigned i, int r, const char *found, const struct err *e)
{
	char text[FOUND_MAX];
	struct sm_check c = {
		.name = checks[i].name,
		.is_ok = r == 0,
		.is_required = checks[i].is_required,
		.found = found,
	};

	if (r < 0) {
		snprintf(text, sizeof(text), "%s%s%s", e->object, e->object[0] ? ": " : "",
			e->cause);
		c.found = text;
		c.remedy = e->remedy[0] ? e->remedy : "see above";
	}
	each(&c, context);
}

int sm_host_check(sm_check_fn each, void *context, struct sm_error *err)
{
	struct host h = {.kvm_fd = -1, .is_brief = !each};
	struct err first = {0};

	for (unsigned i = 0; i < ARRAY_LEN(checks); i++) {
		char found[FOUND_MAX] = "";
		struct err e = {0};
		int r;

		if (h.is_brief && (first.code || !checks[i].is_required))
			break;
		r = checks[i].find(&h, found, sizeof(found), &e);
		if (r < 0 && checks[i].is_required && !first.code)
			first = e;
		if (each)
			tell(each, context, i, r, found, &e);
	}
	if (h.kvm_fd >= 0)
		close(h.kvm_fd);
	return first.code ? error_out(err, &first) : 0;
}
