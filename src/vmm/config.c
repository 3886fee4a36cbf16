// SPDX-License-Identifier: Apache-2.0
#include "vmm/config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* How many descriptors belong to a configuration, in the order of proto/control.h. */
static unsigned count_fds(const struct ctl_config *c)
{
	unsigned chain = !!(c->flags & CTL_F_CHAIN);
	unsigned n = 2 + c->n_layers + c->n_volumes;

	if (c->flags & CTL_F_RESTORE)
		n += 2 + chain + !!(c->flags & CTL_F_POPULATE);
	else
		n += 1 + c->n_initramfs;
	return c->flags & CTL_F_DISK ? n + 2 + chain : n;
}

static int check_flags(const struct ctl_config *c, struct err *e)
{
	const uint32_t of_restore = CTL_F_CHAIN | CTL_F_POPULATE | CTL_F_SAME_HOST;
	const uint32_t known = CTL_F_RESTORE | CTL_F_DISK | of_restore;
	bool is_restore = c->flags & CTL_F_RESTORE;

	if (c->flags & ~known || (!is_restore && c->flags & of_restore))
		return err_set(
			e, -EINVAL, "the configuration's flags 0x%x make no sense", c->flags);
	if (is_restore && (c->n_initramfs || c->cmdline_bytes || c->boot_archive_bytes))
		return err_set(e, -EINVAL, "a restored machine has nothing to boot from");
	return 0;
}

static int check_sizes(const struct ctl_config *c, size_t bytes, unsigned n_fds, struct err *e)
{
	unsigned n_disks = !!(c->flags & CTL_F_DISK);

	if (c->n_initramfs > CTL_INITRAMFS_MAX || c->n_layers > CTL_BLOCKS_MAX ||
		c->n_volumes > CTL_BLOCKS_MAX ||
		c->n_layers + c->n_volumes + n_disks > CTL_BLOCKS_MAX)
		return err_set(e, -EINVAL,
			"%u initramfs parts, %u layers, %u volumes and %u disks are more than a VM "
			"has places for (%u and %u)",
			c->n_initramfs, c->n_layers, c->n_volumes, n_disks, CTL_INITRAMFS_MAX,
			CTL_BLOCKS_MAX);
	if (n_fds != count_fds(c))
		return err_set(e, -EINVAL, "%u descriptors came with the configuration, not %u",
			n_fds, count_fds(c));
	if (c->cmdline_bytes > bytes - sizeof(*c) ||
		c->boot_archive_bytes != bytes - sizeof(*c) - c->cmdline_bytes)
		return err_set(e, -EINVAL, "the configuration's parts do not fill its packet");
	return 0;
}

static int check_machine(const struct ctl_config *c, struct err *e)
{
	if (c->vcpus < 1 || c->vcpus > CTL_VCPUS_MAX) {
		err_set(e, -EINVAL, "%u vCPUs", c->vcpus);
		return err_remedy(e, "ask for 1 to %u", CTL_VCPUS_MAX);
	}
	if (c->memory_bytes < CONFIG_MEMORY_MIN || c->memory_bytes > CONFIG_MEMORY_MAX) {
		err_set(e, -EINVAL, "%llu bytes of memory", (unsigned long long)c->memory_bytes);
		return err_remedy(e, "ask for 32 MiB to 1 TiB");
	}
	if (c->memory_bytes % (2 << 20))
		return err_set(e, -EINVAL, "%llu bytes of memory are not a multiple of 2 MiB",
			(unsigned long long)c->memory_bytes);
	return 0;
}

static void take_fds(struct vm_config *c, uint32_t flags, const int *fds)
{
	c->kvm_fd = *fds++;
	c->console_fd = *fds++;
	c->kernel_fd = c->is_restore ? -1 : *fds++;
	for (unsigned i = 0; i < c->n_initramfs; i++)
		c->initramfs_fds[i] = *fds++;
	c->state_fd = c->is_restore ? *fds++ : -1;
	c->memory_fd = c->is_restore ? *fds++ : -1;
	c->chain_memory_fd = flags & CTL_F_CHAIN ? *fds++ : -1;
	c->write_set_fd = flags & CTL_F_POPULATE ? *fds++ : -1;
	for (unsigned i = 0; i < c->n_layers + c->n_volumes; i++)
		c->block_fds[i] = *fds++;
	c->disk_base_fd = c->has_disk ? *fds++ : -1;
	c->disk_fd = c->has_disk ? *fds++ : -1;
	c->chain_disk_fd = c->has_disk && flags & CTL_F_CHAIN ? *fds++ : -1;
}

int config_parse(const void *packet, size_t bytes, const int *fds, unsigned n_fds,
	struct vm_config *ret, struct err *e)
{
	const char *rest = (const char *)packet + sizeof(struct ctl_config);
	struct ctl_config c;
	int r;

	if (bytes < sizeof(c))
		return err_set(e, -EINVAL, "the configuration is %zu bytes, too short", bytes);
	memcpy(&c, packet, sizeof(c));
	if (c.header.version != CTL_VERSION || c.header.type != CTL_CONFIG ||
		c.header.bytes != bytes) {
		err_set(e, -EPROTO,
			"expected a configuration of version %u, got message %u of version %u",
			CTL_VERSION, c.header.type, c.header.version);
		return err_remedy(e, "install libsupermachine and supermachine-vmm of one version");
	}
	r = check_flags(&c, e);
	if (r == 0)
		r = check_sizes(&c, bytes, n_fds, e);
	if (r < 0)
		return r;
	r = check_machine(&c, e);
	if (r < 0)
		return r;
	*ret = (struct vm_config){
		.memory_bytes = c.memory_bytes,
		.vcpus = c.vcpus,
		.host_port_first = c.host_port_first,
		.host_port_count = c.host_port_count,
		.cmdline = rest,
		.cmdline_bytes = c.cmdline_bytes,
		.boot_archive = rest + c.cmdline_bytes,
		.boot_archive_bytes = c.boot_archive_bytes,
		.n_initramfs = c.n_initramfs,
		.n_layers = c.n_layers,
		.n_volumes = c.n_volumes,
		.is_restore = c.flags & CTL_F_RESTORE,
		.has_disk = c.flags & CTL_F_DISK,
		.is_same_host = c.flags & CTL_F_SAME_HOST,
	};
	take_fds(ret, c.flags, fds);
	return 0;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void config_close(struct vm_config *c)
{
	int *const fds[] = {&c->kvm_fd, &c->console_fd, &c->kernel_fd, &c->state_fd, &c->memory_fd,
		&c->chain_memory_fd, &c->write_set_fd, &c->disk_base_fd, &c->disk_fd,
		&c->chain_disk_fd};

	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		close_one(fds[i]);
	for (unsigned i = 0; i < c->n_initramfs; i++)
		close_one(&c->initramfs_fds[i]);
	for (unsigned i = 0; i < c->n_layers + c->n_volumes; i++)
		close_one(&c->block_fds[i]);
}
