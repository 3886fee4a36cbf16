#!/usr/bin/env bats
# What cannot work is refused: one sentence, a remedy, a status other than 0, nothing left behind.
load common.bash

teardown() { show; no_vmm_left; }

@test "a kernel that is no kernel" {
	echo 'not a kernel' > "$BATS_TEST_TMPDIR/k"
	busybox --kernel "$BATS_TEST_TMPDIR/k" -- true
	[ "$status" = 125 ] && [[ "$stderr" == *kernel* ]] && [[ "$stderr" == *try:* ]]
}

@test "a kernel that does not exist" {
	busybox --kernel /no/such/kernel -- true
	[ "$status" = 125 ] && [[ "$stderr" == */no/such/kernel* ]]
}

@test "memory too small for the kernel" {
	busybox --memory 32M -- true
	[ "$status" = 125 ] && [[ "$stderr" == *memory* ]] && [[ "$stderr" == *try:* ]]
}

@test "0 and 1000 vCPUs" {
	for n in 0 1000; do
		busybox --cpus $n -- true
		[ "$status" = 125 ] && [[ "$stderr" == *16* ]]
	done
}

@test "no /dev/kvm" {
	run --separate-stderr unshare -m sh -c "mount -t tmpfs none /dev && exec '$SM' run 'oci:$IMAGES/busybox' true"
	[ "$status" = 125 ] && [[ "$stderr" == */dev/kvm* ]] && [[ "$stderr" == *try:* ]]
}

@test "no permission on /dev/kvm" {
	chmod 000 /dev/kvm
	# root without capabilities is a user like any other
	run --separate-stderr setpriv --bounding-set=-all "$SM" run "oci:$IMAGES/busybox" true
	chmod 666 /dev/kvm
	[ "$status" = 125 ] && [[ "$stderr" == */dev/kvm* ]] && [[ "$stderr" == *"group kvm"* ]]
}
