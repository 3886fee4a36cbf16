#!/usr/bin/env bats
# The library, from an embedder's side: tests/e2e/library.c.
load common.bash

teardown() { no_vmm_left; }

@test "an embedder of the library" {
	IMAGE=oci:$IMAGES/busybox timeout 400 "${SM%/*}/tests/e2e/e2e-library"
}

@test "SIGKILL to the embedder leaves no VM behind" {
	IMAGE=oci:$IMAGES/busybox "${SM%/*}/tests/e2e/e2e-library" > /dev/null 2>&1 &
	pid=$!
	for i in $(seq 300); do pgrep -x supermachine-vm && break; sleep 0.1; done
	pgrep -x supermachine-vm
	kill -KILL $pid
	wait $pid || true
	no_vmm_left
}
