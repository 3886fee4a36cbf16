// SPDX-License-Identifier: Apache-2.0
#include "vmm/config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int check_sizes(const struct ctl_config *c, size_t bytes, unsigned n_fds, struct err *e)
{
	if (c->n_initramfs > CTL_INITRAMFS_MAX || c->n_layers > CTL_BLOCKS_MAX ||
		c->n_volumes > CTL_BLOCKS_MAX || c->n_layers + c->n_volumes > CTL_BLOCKS_MAX)
		return err_set(e, -EINVAL,
			"%u initramfs parts, %u layers and %u volumes are more than a VM has "
			"places for (%u and %u)",
			c->n_initramfs, c->n_layers, c->n_volumes, CTL_INITRAMFS_MAX,
			CTL_BLOCKS_MAX);
	if (n_fds != 3 + c->n_initramfs + c->n_layers + c->n_volumes)
		return err_set(e, -EINVAL, "%u descriptors came with the configuration, not %u",
			n_fds, 3 + c->n_initramfs + c->n_layers + c->n_volumes);
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

static void take_fds(struct vm_config *c, const int *fds)
{
	c->kvm_fd = *fds++;
	c->console_fd = *fds++;
	c->kernel_fd = *fds++;
	for (unsigned i = 0; i < c->n_initramfs; i++)
		c->initramfs_fds[i] = *fds++;
	for (unsigned i = 0; i < c->n_layers + c->n_volumes; i++)
		c->block_fds[i] = *fds++;
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
	};
	take_fds(ret, fds);
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
	close_one(&c->kvm_fd);
	close_one(&c->console_fd);
	close_one(&c->kernel_fd);
	for (unsigned i = 0; i < c->n_initramfs; i++)
		close_one(&c->initramfs_fds[i]);
	for (unsigned i = 0; i < c->n_layers + c->n_volumes; i++)
		close_one(&c->block_fds[i]);
}
