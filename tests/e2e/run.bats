#!/usr/bin/env bats
# `supermachine run`: a real Linux guest, from the command line's side.
load common.bash

# What the tests before have baked may have taken the place of the usual state.
setup_file() { timeout 120 "$SM" bake "oci:$IMAGES/busybox" > "$BATS_FILE_TMPDIR/baked"; }
teardown() { show; no_vmm_left; }

@test "echo hi prints hi and exits 0" {
	busybox -- echo hi
	[ "$status" = 0 ] && [ "$output" = hi ] && [ -z "$stderr" ]
}

@test "the exit status is the command's" {
	busybox -- sh -c 'exit 7'
	[ "$status" = 7 ] && [ -z "$output" ]
}

@test "stdout and stderr stay apart" {
	busybox -- sh -c 'echo to-out; echo to-err >&2'
	[ "$status" = 0 ] && [ "$output" = to-out ] && [ "$stderr" = to-err ]
}

@test "--cpus 2: nproc prints 2" {
	busybox --cpus 2 -- nproc
	[ "$status" = 0 ] && [ "$output" = 2 ]
}

@test "--cpus 16: nproc prints 16" {
	LIMIT=120 busybox --cpus 16 -- nproc
	[ "$status" = 0 ] && [ "$output" = 16 ]
}

@test "--memory: the guest has it, and no more" {
	busybox --memory 256M -- awk '/MemTotal/ { print ($2 > 180000 && $2 < 262144) }' /proc/meminfo
	[ "$status" = 0 ] && [ "$output" = 1 ]
}

@test "--memory 5G: memory above the hole works" {
	busybox --memory 5G -- awk '/MemTotal/ { print ($2 > 4800000) }' /proc/meminfo
	[ "$status" = 0 ] && [ "$output" = 1 ]
}

@test "-e, -w and -u reach the command" {
	busybox -e 'GREETING=good day' -w /tmp/made/here -u 1234:5678 -- sh -c 'echo "$GREETING|$PWD|$(id -u):$(id -g)"'
	[ "$status" = 0 ] && [ "$output" = 'good day|/tmp/made/here|1234:5678' ]
}

@test "-u NAME is looked up in the image" {
	busybox -u nobody -- id -un
	[ "$status" = 0 ] && [ "$output" = nobody ]
}

@test "a user that the image lacks is refused" {
	busybox -u nosuchuser -- true
	[ "$status" = 125 ] && [[ "$stderr" == *nosuchuser* ]]
}

@test "--name is the host name" {
	busybox --name web-1 -- hostname
	[ "$status" = 0 ] && [ "$output" = web-1 ]
}

@test "the image's command runs when none is given" {
	run --separate-stderr timeout 60 "$SM" run -i "oci:$IMAGES/busybox" <<< 'echo from-stdin; exit 3'
	[ "$status" = 3 ] && [ "$output" = from-stdin ]
}

@test "--entrypoint replaces the image's" {
	busybox --entrypoint /bin/echo -- a b
	[ "$status" = 0 ] && [ "$output" = 'a b' ]
}

@test "standard input arrives whole, output is binary-safe" {
	head -c 3000000 /dev/urandom > "$BATS_TEST_TMPDIR/in"
	timeout 100 "$SM" run -i "oci:$IMAGES/busybox" cat < "$BATS_TEST_TMPDIR/in" > "$BATS_TEST_TMPDIR/out"
	cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
	status=0 output= stderr=
}

@test "command not found is 127" {
	run -127 --separate-stderr timeout 60 "$SM" run "oci:$IMAGES/busybox" no-such-command
	[ "$status" = 127 ] && [[ "$stderr" == *no-such-command* ]]
}

@test "not executable is 126" {
	busybox -- /etc/passwd
	[ "$status" = 126 ] && [[ "$stderr" == */etc/passwd* ]]
}

@test "SIGTERM reaches the command" {
	"$SM" run "oci:$IMAGES/busybox" sh -c 'trap "echo got it; exit 9" TERM; echo up; while :; do sleep 0.1; done' \
		> "$BATS_TEST_TMPDIR/out" &
	pid=$!
	for i in $(seq 300); do grep -q up "$BATS_TEST_TMPDIR/out" && break; sleep 0.1; done
	kill -TERM $pid
	run wait $pid
	status=0; wait $pid || status=$?
	output=$(< "$BATS_TEST_TMPDIR/out") stderr=
	[ "$status" = 9 ] && [ "$output" = $'up\ngot it' ]
}

@test "a command that a signal ends is 128 + signal" {
	busybox -- sh -c 'kill -KILL $$'
	[ "$status" = 137 ]
}

@test "SIGKILL to the command leaves no VM behind" {
	"$SM" run "oci:$IMAGES/busybox" sh -c 'echo up; sleep 1000' > "$BATS_TEST_TMPDIR/out" &
	pid=$!
	for i in $(seq 300); do grep -q up "$BATS_TEST_TMPDIR/out" && break; sleep 0.1; done
	pgrep -x supermachine-vm
	kill -KILL $pid
	wait $pid || status=$?
	output= stderr=
	no_vmm_left
}

@test "death of the VMM ends the command at once and says so" {
	"$SM" run "oci:$IMAGES/busybox" sh -c 'echo up; sleep 1000' > "$BATS_TEST_TMPDIR/out" 2> "$BATS_TEST_TMPDIR/err" &
	pid=$!
	for i in $(seq 300); do grep -q up "$BATS_TEST_TMPDIR/out" && break; sleep 0.1; done
	pkill -KILL -x supermachine-vm
	status=0; wait $pid || status=$?
	output= stderr=$(< "$BATS_TEST_TMPDIR/err")
	[ "$status" = 125 ] && [[ "$stderr" == *SIGKILL* || "$stderr" == *"signal 9"* ]]
}

@test "a guest panic is reported with the console's last lines" {
	busybox -- sh -c 'echo c > /proc/sysrq-trigger; sleep 30'
	[ "$status" = 125 ] && [[ "$stderr" == *panic* ]]
}

@test "a guest that powers off by itself ends the run" {
	busybox -- sh -c 'echo o > /proc/sysrq-trigger; sleep 30'
	[ "$status" = 125 ] && [[ "$stderr" == *"powered off"* ]]
}

@test "a guest that resets itself ends the run" {
	busybox -- sh -c 'echo b > /proc/sysrq-trigger; sleep 30'
	[ "$status" = 125 ] && [[ "$stderr" == *reset* ]]
}

@test "writes go to the writable layer and are gone afterwards" {
	busybox -- sh -c 'echo x > /made && dd if=/dev/zero of=/big bs=1M count=20 2>/dev/null && ls -l /big | awk "{print \$5}"'
	[ "$status" = 0 ] && [ "$output" = 20971520 ]
	busybox -- ls /made
	[ "$status" = 1 ]
}

@test "loopback, /dev and /proc are as a container expects" {
	busybox -- sh -c 'test -c /dev/null && test -e /dev/fd/0 && test -d /dev/pts && test -d /dev/shm &&
		grep -q "^nodev.*overlay" /proc/filesystems && ping -c1 -W5 127.0.0.1 > /dev/null && echo ok'
	[ "$status" = 0 ] && [ "$output" = ok ]
}

@test "the kernel's random generator is seeded at start" {
	busybox -- sh -c 'head -c 16 /dev/random | wc -c'
	[ "$status" = 0 ] && [ "$output" -eq 16 ]
}

@test "two VMs at once do not meet" {
	"$SM" run --name one "oci:$IMAGES/busybox" sh -c 'hostname; sleep 1' > "$BATS_TEST_TMPDIR/1" &
	a=$!
	"$SM" run --name two "oci:$IMAGES/busybox" sh -c 'hostname; sleep 1' > "$BATS_TEST_TMPDIR/2" &
	b=$!
	wait $a; wait $b
	status=0 output= stderr=
	[ "$(< "$BATS_TEST_TMPDIR/1")" = one ] && [ "$(< "$BATS_TEST_TMPDIR/2")" = two ]
}

@test "--kernel: Debian's, as ELF vmlinux and as bzImage" {
	for kernel in vmlinux vmlinuz; do
		busybox --kernel "$KERNELS/default/$kernel" -- uname -r
		[ "$status" = 0 ] && [[ "$output" == *-cloud-amd64 ]]
	done
}

@test "an image with a Debian root runs python" {
	[ -d "$IMAGES/debian" ] || skip "no Debian image (mmdebstrap could not make one)"
	sm run "oci:$IMAGES/debian" python3 -c 'print(6*7)'
	[ "$status" = 0 ] && [ "$output" = 42 ]
}
