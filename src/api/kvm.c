// SPDX-License-Identifier: Apache-2.0
#include "api/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/link.h"
#include "api/parts.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fd.h"

enum {
	PROBE_TIMEOUT_MS = 30000, /* it takes 2 ms; an emulated host may be much slower */
	KVM_VERSION = 12,	  /* KVM API §4.1: the only one there will be */
	NOTE_MAX = 512,
};

static int missing(struct err *e)
{
	if (access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0)
		return err_remedy(e, "this is a container: start it with --device /dev/kvm");
	return err_remedy(e, "enable virtualisation (VT-x, AMD-V, SVM) in the firmware, or nested "
			     "virtualisation if this is a VM; then `sudo modprobe kvm_intel` or "
			     "`sudo modprobe kvm_amd`");
}

static int cannot_open(const char *path, struct err *e)
{
	int saved = errno;

	err_sys(e, "cannot be opened");
	err_object(e, "%s", path);
	switch (saved) {
	case EACCES:
	case EPERM:
		err_remedy(e, "add yourself to the group kvm: `sudo usermod -aG kvm $USER`, then "
			      "log in again");
		return -EACCES;
	case ENOENT:
	case ENODEV:
	case ENXIO:
		err_set(e, -ENODEV, "there is no KVM on this machine (%s)", strerror(saved));
		err_object(e, "%s", path);
		return missing(e);
	default:
		return -saved;
	}
}

int kvm_open(const char *path, struct err *e)
{
	autoclose int fd = open(path, O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return cannot_open(path, e);
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_VERSION) {
		err_set(e, -ENODEV, "it is not KVM (API version %d instead of %d)", version,
			KVM_VERSION);
		err_object(e, "%s", path);
		return missing(e);
	}
	return take_fd(&fd);
}

int kvm_probe(int kvm_fd, struct err *e)
{
	struct ctl_header m;
	autofree char *program = NULL;
	struct link l;
	unsigned facts;
	int r;

	r = parts_find("supermachine-vmm", &program, e);
	if (r == 0)
		r = link_open(&l, program, "probe", -1, e);
	if (r < 0)
		return r;
	r = link_send(&l, &m, sizeof(m), CTL_PROBE, &kvm_fd, 1, e);
	if (r < 0 && r != -ESHUTDOWN) /* it may have said why before it went */
		goto out;
	facts = link_wait(&l, LINK_ENDED, clock_deadline_ns(PROBE_TIMEOUT_MS));
	if (!(facts & LINK_ENDED)) {
		r = err_set(e, -ENODEV, "the tiny test guest did not end within %d s",
			PROBE_TIMEOUT_MS / 1000);
		err_object(e, KVM_PATH);
		goto out;
	}
	r = 0;
	if (l.end_reason < LINK_END_KILLED && l.end.code == 0)
		goto out;
	r = link_end_error(&l, e);
	if (l.end_reason < LINK_END_KILLED)
		r = e->code = -ENODEV;
	err_object(e, KVM_PATH);
	err_remedy(e, "use a machine whose KVM uses VT-x or AMD-V, or let the emulated host do it: "
		      "SUPERMACHINE_EMULATE=auto");
out:
	link_close(&l);
	return r;
}

/* ---- the note of an earlier success --------------------------------------------------------- */

static void add_file_identity(char *out, size_t room, const struct stat *st)
{
	size_t n = strlen(out);

	snprintf(out + n, room - n, " %llx:%llx:%llx:%lld.%09ld", (unsigned long long)st->st_dev,
		(unsigned long long)st->st_ino,
		(unsigned long long)st->st_rdev + (unsigned long long)st->st_size,
		(long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

/* What must be the same for the note to count: this start of this host, the device's node (a
 * reloaded module makes a new one) and the program that looked. */
static int current_note(int kvm_fd, char *out, size_t room)
{
	autoclose int boot = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	autofree char *program = NULL;
	struct err ignored;
	struct stat st;
	ssize_t n;

	if (boot < 0)
		return -errno;
	n = read(boot, out, 36);
	if (n != 36)
		return -EIO;
	out[36] = '\0';
	if (fstat(kvm_fd, &st) < 0)
		return -errno;
	/* The node's times change with each use on some file systems; its number does not. */
	st.st_ctim = (struct timespec){0};
	add_file_identity(out, room, &st);
	if (parts_find("supermachine-vmm", &program, &ignored) < 0 || stat(program, &st) < 0)
		return -ENOENT;
	add_file_identity(out, room, &st);
	return 0;
}

/* A directory that only we write: the runtime directory, which ends with the login, or the cache.
 */
static int note_dir(char **ret)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (runtime && *runtime)
		return asprintf(ret, "%s/supermachine", runtime) < 0 ? -ENOMEM : 0;
	return parts_cache_dir(ret);
}

static bool is_noted(const char *path, const char *note)
{
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[NOTE_MAX];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022) ||
		!S_ISREG(st.st_mode))
		return false;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return false;
	text[n] = '\0';
	return !strcmp(text, note);
}

/* Failing to note costs two milliseconds next time, no more. */
static void write_note(const char *dir, const char *path, const char *note)
{
	autofree char *beside = NULL;
	autoclose int fd = -1;

	(void)mkdir(dir, 0700);
	if (asprintf(&beside, "%s.XXXXXX", path) < 0) {
		beside = NULL;
		return;
	}
	fd = mkostemp(beside, O_CLOEXEC);
	if (fd < 0)
		return;
	if (fd_write_full(fd, note, strlen(note)) < 0 || rename(beside, path) < 0)
		(void)unlink(beside);
}

int kvm_probe_once(int kvm_fd, struct err *e)
{
	autofree char *dir = NULL;
	autofree char *path = NULL;
	char note[NOTE_MAX];
	int r;

	if (current_note(kvm_fd, note, sizeof(note)) < 0 || note_dir(&dir) < 0)
		return kvm_probe(kvm_fd, e);
	if (asprintf(&path, "%s/kvm-works", dir) < 0) {
		path = NULL;
		return err_set(e, -ENOMEM, "no memory for a path");
	}
	if (is_noted(path, note))
		return 0;
	r = kvm_probe(kvm_fd, e);
	if (r == 0)
		write_note(dir, path, note);
	return r;
}
