// SPDX-License-Identifier: Apache-2.0
/*
 * The guest's first process, the only program of the initramfs: makes the machine what the image
 * expects, then serves the host as its agent until it is told to end. A step that fails says why on
 * the console and powers off, so that the host sees the reason and an end instead of a silence.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "guest/agent.h"
#include "guest/bootfile.h"
#include "guest/console.h"
#include "guest/disks.h"
#include "guest/identity.h"
#include "guest/modules.h"
#include "guest/mounts.h"
#include "guest/power.h"
#include "guest/root.h"
#include "guest/vsock.h"
#include "guest/world.h"
#include "proto/agent.h"

enum { DISK_TIMEOUT_MS = 5000 };

/* From the initramfs to a root that looks like a container's. */
static int make_root(const struct bootcfg *cfg, int *ret_writable_fd, struct err *e)
{
	struct disks disks;
	int r = disks_find(&disks, cfg->n_layers, cfg->n_disks, DISK_TIMEOUT_MS, e);

	if (r < 0)
		return r;
	r = root_mount(&disks, cfg->tmpfs_bytes, e);
	if (r < 0)
		return r;
	*ret_writable_fd = root_writable_fd(&disks);
	r = root_enter(e);
	return r < 0 ? r : mounts_container(e);
}

/* What a guest can do without: said on the console if it fails. */
static void settle_in(const struct bootcfg *cfg)
{
	struct err e = {0};

	identity_tune();
	if (identity_set_hostname(cfg->hostname, &e) < 0)
		console_warn(&e);
	if (identity_write_files(cfg->hostname, &e) < 0)
		console_warn(&e);
	if (identity_loopback_up(&e) < 0)
		console_warn(&e);
}

static int boot(int *ret_writable_fd, struct err *e)
{
	struct bootcfg cfg;
	int r = mounts_early(e);

	if (r < 0)
		return r;
	console_open();
	r = modules_load(e);
	if (r < 0)
		return r;
	r = bootfile_read(BOOTCFG_PATH, &cfg, e);
	if (r < 0)
		return r;
	r = make_root(&cfg, ret_writable_fd, e);
	if (r < 0)
		return r;
	settle_in(&cfg);
	return 0;
}

static int serve(int writable_fd, struct err *e)
{
	struct agent_config config = {0};
	struct agent *agent;
	struct world world;
	int r;

	world_open(&world, writable_fd);
	world_describe(&world, &config);
	config.listen_fd = vsock_listen(AGENT_PORT, e);
	if (config.listen_fd < 0)
		return config.listen_fd;
	config.event_fd = vsock_connect_host(AGENT_EVENT_PORT, e);
	if (config.event_fd < 0)
		return config.event_fd;
	r = agent_new(&config, &agent, e);
	return r < 0 ? r : agent_run(agent, e);
}

int main(void)
{
	struct err e = {0};
	int writable_fd = -1;

	if (getpid() != 1) {
		fprintf(stderr, "init: is the first process of a guest and does nothing else\n");
		return 1;
	}
	if (boot(&writable_fd, &e) < 0 || serve(writable_fd, &e) < 0)
		power_fatal(&e);
	/* Only a kernel that cannot power off comes here. */
	err_set(&e, -EIO, "the machine did not power off");
	power_fatal(&e);
}
