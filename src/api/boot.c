// SPDX-License-Identifier: Apache-2.0
#include "api/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "api/disk.h"
#include "api/kvm.h"
#include "api/newc.h"
#include "api/parts.h"
#include "base/alloc.h"
#include "proto/agent.h"
#include "proto/bootcfg.h"

/*
 * Linux Documentation/admin-guide/kernel-parameters.txt. Quiet, because each character on the
 * serial port is an exit, but a panic is always printed; it then resets at once, by the triple
 * fault that the VMM sees without any device. No PCI, one serial port and no keyboard are looked
 * for, since there are none. The host's hardware random numbers are credited: the guest must not
 * wait for entropy.
 */
#define CMDLINE                                                                                    \
	"console=ttyS0 quiet panic=-1 reboot=t rdinit=/init random.trust_cpu=on pci=off "          \
	"8250.nr_uarts=1 i8042.noaux i8042.nokbd i8042.nomux i8042.nopnp i8042.dumbkbd "           \
	"tsc=reliable cryptomgr.notests"

enum { CMDLINE_MAX = 2048 }; /* COMMAND_LINE_SIZE of Linux on x86_64 */

/* The caller's words end up on one line that the kernel and init both read. */
static int check_cmdline(const char *added, struct err *e)
{
	int r;

	for (const char *p = added; *p; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p > '~') {
			r = err_set(e, -EINVAL, "it has characters that are not printable ASCII");
			goto fail;
		}
	if (sizeof(CMDLINE) + strlen(added) + 1 < CMDLINE_MAX)
		return 0;
	r = err_set(e, -E2BIG, "it is longer than the %zu characters that are left",
		CMDLINE_MAX - sizeof(CMDLINE) - 1);
fail:
	err_object(e, "kernel command line");
	return r;
}

int boot_add_fd(struct boot *b, int fd)
{
	b->fds[b->n_fds++] = fd;
	return 0;
}

static int add_file(struct boot *b, const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		err_sys(e, "cannot be opened");
		return err_object(e, "%s", path);
	}
	return boot_add_fd(b, fd);
}

int boot_add_kvm(struct boot *b, struct err *e)
{
	int fd = kvm_open(KVM_PATH, e);

	return fd < 0 ? fd : boot_add_fd(b, fd);
}

int boot_add_console(struct boot *b, int console_fd, struct err *e)
{
	int fd = fcntl(console_fd, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? err_sys(e, "duplicate a descriptor") : boot_add_fd(b, fd);
}

static int add_kernel(struct boot *b, const struct boot_request *q, struct err *e)
{
	int r = parts_find_kernel(q->machine->kernel, &b->kernel, e);

	return r < 0 ? r : add_file(b, b->kernel, e);
}

/* Our init, then the kernel's modules if it needs any. */
static int add_initramfs(struct boot *b, struct err *e)
{
	autofree char *initramfs = NULL;
	autofree char *modules = NULL;
	int r = parts_find("initramfs.cpio", &initramfs, e);

	if (r == 0)
		r = add_file(b, initramfs, e);
	if (r < 0)
		return r;
	b->n_initramfs = 1;
	if (parts_find_modules(b->kernel, &modules) < 0)
		return err_set(e, -ENOMEM, "no memory for a path");
	if (modules) {
		r = add_file(b, modules, e);
		b->n_initramfs = 2;
	}
	return r;
}

static int add_layers(struct boot *b, const struct image *image, struct err *e)
{
	if (image->n_layers >= CTL_BLOCKS_MAX)
		return err_set(e, -E2BIG, "%u layers are more than a VM has places for (%d)",
			image->n_layers, CTL_BLOCKS_MAX - 1);
	for (unsigned i = 0; i < image->n_layers; i++) {
		int r = add_file(b, image->layers[i].path, e);

		if (r < 0)
			return err_remedy(e, "the store lost this layer: open the image again");
	}
	b->n_layers = image->n_layers;
	return 0;
}

/* An empty file system for what the guest writes, and where that really goes. */
static int add_disk(struct boot *b, const struct boot_request *q, struct err *e)
{
	int fd;

	if (!q->machine->disk_bytes)
		return 0;
	fd = disk_open_template(q->store, q->machine->disk_bytes, e);
	if (fd < 0)
		return fd;
	boot_add_fd(b, fd);
	fd = disk_open_delta(q->store, e);
	return fd < 0 ? fd : boot_add_fd(b, fd);
}

int boot_check_name(const char *name, struct err *e)
{
	if (bootcfg_is_hostname(name))
		return 0;
	err_set(e, -EINVAL, "a VM's name is also its host name, which this cannot be");
	err_object(e, "%s", name);
	return err_remedy(e,
		"use up to 64 letters, digits, '-' and '.', beginning with a letter or "
		"digit");
}

/* The archive with the one file that init reads first. */
static int boot_archive(struct buf *out, const struct boot_request *q, struct err *e)
{
	struct bootcfg c = {.n_layers = q->image->n_layers,
		.n_disks = !!q->machine->disk_bytes,
		.tmpfs_bytes = q->machine->tmpfs_bytes};
	char text[BOOTCFG_TEXT_MAX];
	int r;

	r = boot_check_name(q->name, e);
	if (r < 0)
		return r;
	strcpy(c.hostname, q->name);
	r = bootcfg_encode(&c, text, sizeof(text));
	if (r < 0)
		return err_set(e, r, "cannot write the boot configuration");
	r = newc_add_file(out, &BOOTCFG_PATH[1], text, (size_t)r);
	if (r == 0)
		r = newc_end(out);
	return r < 0 ? err_set(e, r, "cannot write the boot archive") : 0;
}

static int write_packet(struct boot *b, const struct boot_request *q, struct err *e)
{
	const struct machine *m = q->machine;
	const char *added = m->cmdline ? m->cmdline : "";
	struct ctl_config c = {
		.memory_bytes = m->memory_bytes,
		.vcpus = m->vcpus,
		.flags = m->disk_bytes ? CTL_F_DISK : 0,
		.n_initramfs = b->n_initramfs,
		.n_layers = b->n_layers,
		.host_port_first = AGENT_EVENT_PORT,
		.host_port_count = 1,
	};
	autobuf struct buf archive;
	int r;

	buf_init(&archive, CTL_MESSAGE_MAX / 2);
	r = check_cmdline(added, e);
	if (r == 0)
		r = boot_archive(&archive, q, e);
	if (r < 0)
		return r;
	c.cmdline_bytes = (uint32_t)(strlen(CMDLINE) + (*added ? 1 + strlen(added) : 0));
	c.boot_archive_bytes = (uint32_t)archive.bytes;
	r = buf_append(&b->packet, &c, sizeof(c));
	if (r == 0)
		r = buf_printf(&b->packet, "%s%s%s", CMDLINE, *added ? " " : "", added);
	if (r == 0)
		r = buf_append(&b->packet, archive.data, archive.bytes);
	return r < 0 ? err_set(e, r, "no memory for the VM's configuration") : 0;
}

void boot_init(struct boot *b)
{
	*b = (struct boot){0};
	buf_init(&b->packet, CTL_MESSAGE_MAX);
}

int boot_prepare(struct boot *b, const struct boot_request *q, struct err *e)
{
	int r;

	boot_init(b);
	/* The order is that of proto/control.h. */
	r = boot_add_kvm(b, e);
	if (r == 0)
		r = boot_add_console(b, q->console_fd, e);
	if (r == 0)
		r = add_kernel(b, q, e);
	if (r == 0)
		r = add_initramfs(b, e);
	if (r == 0)
		r = add_layers(b, q->image, e);
	if (r == 0)
		r = add_disk(b, q, e);
	if (r == 0)
		r = write_packet(b, q, e);
	if (r < 0)
		boot_fini(b);
	return r;
}

void boot_fini(struct boot *b)
{
	while (b->n_fds)
		close(b->fds[--b->n_fds]);
	buf_fini(&b->packet);
	free(b->kernel);
	b->kernel = NULL;
}
