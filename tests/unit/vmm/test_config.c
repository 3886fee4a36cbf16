// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vmm/config.h"

struct packet {
	struct ctl_config c;
	char rest[16];
};

/* A packet that is right: two layers, a volume, two initramfs parts. */
static struct packet good(void)
{
	struct packet p = {.c = {
				   .header = {CTL_VERSION, CTL_CONFIG, sizeof(p)},
				   .memory_bytes = 64 << 20,
				   .vcpus = 2,
				   .n_initramfs = 2,
				   .n_layers = 2,
				   .n_volumes = 1,
				   .cmdline_bytes = 5,
				   .boot_archive_bytes = 11,
			   }};

	memcpy(p.rest, "quietarchive bla", 16);
	return p;
}

static const int fds[] = {10, 11, 12, 13, 14, 15, 16, 17, 18};

static int parse(const struct packet *p, size_t bytes, unsigned n_fds, struct vm_config *c)
{
	struct err e = {0};
	int r = config_parse(p, bytes, fds, n_fds, c, &e);

	assert_int_equal(e.code, r < 0 ? r : 0);
	if (r < 0)
		assert_true(e.cause[0]);
	return r;
}

static void takes_a_good_packet_apart(void **state)
{
	struct packet p = good();
	struct vm_config c;

	(void)state;
	assert_int_equal(parse(&p, sizeof(p), 8, &c), 0);
	assert_int_equal(c.kvm_fd, 10);
	assert_int_equal(c.console_fd, 11);
	assert_int_equal(c.kernel_fd, 12);
	assert_int_equal(c.initramfs_fds[1], 14);
	assert_int_equal(c.block_fds[0], 15);
	assert_int_equal(c.block_fds[2], 17);
	assert_int_equal(c.cmdline_bytes, 5);
	assert_memory_equal(c.cmdline, "quiet", 5);
	assert_memory_equal(c.boot_archive, "archive bla", 11);
}

static void refuses_every_short_packet(void **state)
{
	struct packet p = good();
	struct vm_config c;

	(void)state;
	for (size_t n = 0; n < sizeof(p); n++) {
		p.c.header.bytes = (uint32_t)n;
		assert_true(parse(&p, n, 8, &c) < 0);
	}
}

static void refuses_bad_numbers(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
	} bad[] = {
		{offsetof(struct ctl_config, vcpus), 0},
		{offsetof(struct ctl_config, vcpus), 17},
		{offsetof(struct ctl_config, vcpus), 1000},
		{offsetof(struct ctl_config, memory_bytes), 0},
		{offsetof(struct ctl_config, memory_bytes), 4096},
		{offsetof(struct ctl_config, memory_bytes), (64 << 20) + 4096},
		{offsetof(struct ctl_config, memory_bytes) + 4, 0xffffffff},
		{offsetof(struct ctl_config, n_initramfs), 5},
		{offsetof(struct ctl_config, n_layers), 33},
		{offsetof(struct ctl_config, n_layers), 0xffffffff},
		{offsetof(struct ctl_config, n_volumes), 31},
		{offsetof(struct ctl_config, n_volumes), 0xfffffffe},
		{offsetof(struct ctl_config, n_layers), 1},
		{offsetof(struct ctl_config, cmdline_bytes), 17},
		{offsetof(struct ctl_config, cmdline_bytes), 0xffffffff},
		{offsetof(struct ctl_config, boot_archive_bytes), 10},
		{offsetof(struct ctl_config, boot_archive_bytes), 0xffffffff},
		{offsetof(struct ctl_config, header), CTL_VERSION + 1},
		{offsetof(struct ctl_config, header) + 4, sizeof(struct packet) + 1},
		{offsetof(struct ctl_config, flags), CTL_F_RESTORE},
		{offsetof(struct ctl_config, flags), CTL_F_CHAIN},
		{offsetof(struct ctl_config, flags), CTL_F_POPULATE},
		{offsetof(struct ctl_config, flags), CTL_F_SAME_HOST},
		{offsetof(struct ctl_config, flags), CTL_F_DISK},
		{offsetof(struct ctl_config, flags), 1u << 31},
	};
	struct vm_config c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct packet p = good();

		memcpy((char *)&p + bad[i].at, &bad[i].value, sizeof(bad[i].value));
		assert_true(parse(&p, sizeof(p), 8, &c) < 0);
	}
}

static void counts_descriptors(void **state)
{
	struct packet p = good();
	struct vm_config c;

	(void)state;
	assert_int_equal(parse(&p, sizeof(p), 7, &c), -EINVAL);
	assert_int_equal(parse(&p, sizeof(p), 9, &c), -EINVAL);
	assert_int_equal(parse(&p, sizeof(p), 0, &c), -EINVAL);
}

/* What is restored boots from nothing: state and memory instead of a kernel. */
static struct ctl_config restored(uint32_t more)
{
	return (struct ctl_config){.header = {CTL_VERSION, CTL_CONFIG, sizeof(struct ctl_config)},
		.memory_bytes = 64 << 20,
		.vcpus = 1,
		.n_layers = 1,
		.flags = CTL_F_RESTORE | more};
}

static void takes_a_restore_apart(void **state)
{
	static const int all[] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
	struct ctl_config c = restored(CTL_F_CHAIN | CTL_F_DISK | CTL_F_POPULATE);
	struct vm_config v;
	struct err e = {0};

	(void)state;
	assert_int_equal(config_parse(&c, sizeof(c), all, 10, &v, &e), 0);
	assert_true(v.is_restore && v.has_disk);
	assert_int_equal(v.kernel_fd, -1);
	assert_int_equal(v.state_fd, 12);
	assert_int_equal(v.memory_fd, 13);
	assert_int_equal(v.chain_memory_fd, 14);
	assert_int_equal(v.write_set_fd, 15);
	assert_int_equal(v.block_fds[0], 16);
	assert_int_equal(v.disk_base_fd, 17);
	assert_int_equal(v.disk_fd, 18);
	assert_int_equal(v.chain_disk_fd, 19);
	c = restored(0);
	assert_int_equal(config_parse(&c, sizeof(c), all, 5, &v, &e), 0);
	assert_int_equal(v.chain_memory_fd, -1);
	assert_int_equal(v.disk_fd, -1);
	assert_int_equal(config_parse(&c, sizeof(c), all, 6, &v, &e), -EINVAL);
	c.n_initramfs = 1;
	assert_int_equal(config_parse(&c, sizeof(c), all, 6, &v, &e), -EINVAL);
}

static void closes_what_was_not_handed_on(void **state)
{
	struct vm_config c = {.kvm_fd = open("/dev/null", O_RDONLY),
		.console_fd = -1,
		.kernel_fd = -1,
		.state_fd = -1,
		.memory_fd = -1,
		.chain_memory_fd = -1,
		.write_set_fd = -1,
		.disk_base_fd = -1,
		.disk_fd = -1,
		.chain_disk_fd = -1,
		.n_layers = 1,
		.block_fds = {open("/dev/null", O_RDONLY)}};
	int kvm = c.kvm_fd, disk = c.block_fds[0];

	(void)state;
	config_close(&c);
	assert_int_equal(fcntl(kvm, F_GETFD), -1);
	assert_int_equal(fcntl(disk, F_GETFD), -1);
	config_close(&c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_good_packet_apart),
		cmocka_unit_test(refuses_every_short_packet),
		cmocka_unit_test(refuses_bad_numbers),
		cmocka_unit_test(counts_descriptors),
		cmocka_unit_test(takes_a_restore_apart),
		cmocka_unit_test(closes_what_was_not_handed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
