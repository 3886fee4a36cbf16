// SPDX-License-Identifier: Apache-2.0
/*
 * An OCI layout directory (image-spec image-layout.md) as a source. The directory may come from a
 * stranger: its files are opened beneath it only, must be regular, and blob names are made from
 * parsed digests.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fd.h"
#include "oci/source.h"

enum { OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

struct layout {
	struct source source;
	int dir_fd;
};

struct file_stream {
	struct blob_stream stream;
	int fd;
};

/* Without openat2: no symbolic link at all is followed, component by component. */
static int open_without_links(int dir_fd, const char *name)
{
	autoclose int at = -1;

	for (;;) {
		size_t n = strcspn(name, "/");
		char part[80];
		int next;

		if (n >= sizeof(part)) {
			errno = ENAMETOOLONG;
			return -1;
		}
		memcpy(part, name, n);
		part[n] = '\0';
		next = openat(at < 0 ? dir_fd : at, part,
			OPEN_FLAGS | O_NOFOLLOW | (name[n] ? O_DIRECTORY : 0));
		if (next < 0 || !name[n])
			return next;
		autoclose_run(&at);
		at = next;
		name += n + 1;
	}
}

static int open_beneath(int dir_fd, const char *name)
{
	struct open_how how = {
		.flags = OPEN_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));

	/* Not there before Linux 5.6; some container sandboxes answer EPERM. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		return open_without_links(dir_fd, name);
	return fd;
}

static int open_failed(const char *name, struct err *e)
{
	if (errno == EXDEV || errno == ELOOP) {
		err_set(e, -EBADMSG, "%s is a symbolic link that leads out of the layout", name);
		return err_remedy(e, "copy the image with its links resolved (cp -rL)");
	}
	if (errno == ENOENT) {
		err_set(e, -ENOENT, "%s is missing", name);
		return err_remedy(e, "copy or pull the image again");
	}
	return err_sys(e, "open %s", name);
}

static int open_regular(const struct layout *l, const char *name, int *ret, struct err *e)
{
	autoclose int fd = open_beneath(l->dir_fd, name);
	struct stat st;

	if (fd < 0)
		return open_failed(name, e);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat %s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EBADMSG, "%s is not a regular file", name);
	*ret = take_fd(&fd);
	return 0;
}

static int read_fixed(const struct layout *l, const char *name, struct buf *b, struct err *e)
{
	autoclose int fd = -1;
	int r = open_regular(l, name, &fd, e);

	if (r < 0)
		return r;
	r = buf_read_fd(b, fd);
	if (r == -E2BIG)
		return err_set(e, -EBADMSG, "%s is larger than the %d bytes allowed", name,
			DOCUMENT_BYTES_MAX);
	return r < 0 ? err_set(e, r, "read %s: %s", name, strerror(-r)) : 0;
}

static int layout_resolve(struct source *s, const struct ref *ref, const struct platform *wanted,
	struct descriptor *ret, struct err *e)
{
	struct layout *l = container_of(s, struct layout, source);
	autobuf struct buf index;
	int r;

	buf_init(&index, DOCUMENT_BYTES_MAX);
	r = read_fixed(l, "index.json", &index, e);
	return r < 0 ? r : layout_choose(&index, ref, wanted, ret, e);
}

static ssize_t file_read(struct blob_stream *s, void *data, size_t bytes, struct err *e)
{
	struct file_stream *f = container_of(s, struct file_stream, stream);
	ssize_t n;

	do
		n = read(f->fd, data, bytes);
	while (n < 0 && errno == EINTR);
	return n < 0 ? err_sys(e, "read") : n;
}

static void file_close(struct blob_stream *s)
{
	struct file_stream *f = container_of(s, struct file_stream, stream);

	close(f->fd);
	free(f);
}

static int layout_open_blob(
	struct source *s, const struct digest *d, struct blob_stream **ret, struct err *e)
{
	struct layout *l = container_of(s, struct layout, source);
	char hex[DIGEST_HEX_BYTES], name[DIGEST_HEX_BYTES + 16];
	autoclose int fd = -1;
	struct file_stream *f;
	int r;

	digest_format_hex(d, hex);
	snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
	r = open_regular(l, name, &fd, e);
	if (r < 0)
		return r;
	f = calloc(1, sizeof(*f));
	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	*f = (struct file_stream){.stream = {file_read, file_close}, .fd = take_fd(&fd)};
	*ret = &f->stream;
	return 0;
}

static void layout_close(struct source *s)
{
	struct layout *l = container_of(s, struct layout, source);

	close(l->dir_fd);
	free(l);
}

static const struct source_ops layout_ops = {
	.name = "oci",
	.resolve = layout_resolve,
	.open_blob = layout_open_blob,
	.close = layout_close,
};

static int check_is_layout(const struct layout *l, struct err *e)
{
	autobuf struct buf marker;
	int r;

	buf_init(&marker, 4096);
	r = read_fixed(l, "oci-layout", &marker, e);
	if (r != -ENOENT)
		return r < 0 ? r : layout_check_marker(&marker, e);
	err_set(e, -ENOENT, "is not an OCI layout: it has no file \"oci-layout\"");
	return err_remedy(e, "name a directory made by: skopeo copy SOURCE oci:DIR:TAG");
}

static int open_directory(const char *path, int *ret, struct err *e)
{
	*ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret >= 0)
		return 0;
	if (errno == ENOENT || errno == ENOTDIR) {
		err_set(e, -ENOENT, "no such directory");
		return err_remedy(e,
			"check the path, or make the image: skopeo copy SOURCE "
			"oci:%.60s:TAG",
			path);
	}
	return err_sys(e, "open");
}

int layout_open(const char *path, struct source **ret, struct err *e)
{
	struct layout *l;
	int fd, r = open_directory(path, &fd, e);

	if (r < 0)
		return err_object(e, "%.150s", path);
	l = calloc(1, sizeof(*l));
	if (!l) {
		close(fd);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*l = (struct layout){.source.ops = &layout_ops, .dir_fd = fd};
	r = check_is_layout(l, e);
	if (r < 0) {
		layout_close(&l->source);
		return err_object(e, "%.150s", path);
	}
	*ret = &l->source;
	return 0;
}
