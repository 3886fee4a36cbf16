#!/usr/bin/env bats
# Clones that must not be each other: tests/e2e/clones.c.
load common.bash

setup() { scratch; }
teardown() { clean_scratch; no_vmm_left; }

@test "20 clones: random numbers, clock, number, name" {
	[ -d "$IMAGES/debian" ] || skip "no Debian image (mmdebstrap could not make one)"
	PYTHON_IMAGE=oci:$IMAGES/debian timeout 900 "${SM%/*}/tests/e2e/e2e-clones"
}

@test "a restored guest's kernel is told that it is another machine" {
	busybox -- sh -c 'ls -d /sys/bus/acpi/drivers/vmgenid && dmesg'
	[ "$status" = 0 ] || skip "this guest kernel has no driver for the VM generation ID"
	[[ "$output" == *"reseeded due to virtual machine fork"* ]]
}
