#!/usr/bin/env bats
# Baked states, snapshots and restores from the command line's side.
load common.bash

setup_file() { scratch; }
setup() { scratch; }
teardown() { show; no_vmm_left; }
teardown_file() { clean_scratch; }

# A memory size that no other test uses is a baked state that is not there yet.

@test "the first run bakes and says so, the second restores and boots nothing" {
	busybox --memory 210M --timings -- echo hi
	[ "$status" = 0 ] && [ "$output" = hi ] && [[ "$stderr" == *"supermachine: baking oci:"* ]]
	busybox --memory 210M --timings -- echo hi
	[ "$status" = 0 ] && [ "$output" = hi ] && [[ "$stderr" != *baking* ]]
	[ "$(wc -l <<< "$stderr")" = 1 ]
	[ "$(timing is_restored)" = 1 ] && [ "$(timing kernel_us)" = 0 ] && [ "$(timing ram_copy_us)" = 0 ]
	[ "$(timing total_us)" -gt 0 ] && [ "$(timing vcpu_restore_us)" -gt 0 ]
}

@test "another memory size is another baked state, and it says why" {
	busybox --memory 212M -- true
	[ "$status" = 0 ] && [[ "$stderr" == *baking* ]]
	busybox --memory 216M -- true
	[ "$status" = 0 ] && [[ "$stderr" == *baking*memory*216* ]]
	busybox --memory 212M -- true
	[ "$status" = 0 ] && [ -z "$stderr" ]
}

@test "first runs at once bake once, the others wait" {
	local pids=() i
	for i in 1 2 3 4; do
		timeout 120 "$SM" run --memory 218M "oci:$IMAGES/busybox" echo "hi $i" > "$SCRATCH/out$i" 2> "$SCRATCH/err$i" &
		pids+=($!)
	done
	for i in 0 1 2 3; do wait "${pids[i]}"; done
	status=0 output=$(cat "$SCRATCH"/out?) stderr=$(cat "$SCRATCH"/err?)
	[ "$output" = $'hi 1\nhi 2\nhi 3\nhi 4' ]
	[ "$(grep -c 'supermachine: baking' <<< "$stderr")" = 1 ]
}

@test "a first run that is killed leaves nothing that a later one would take for a state" {
	"$SM" run --memory 220M "oci:$IMAGES/busybox" true 2> "$SCRATCH/err" &
	pid=$!
	await grep -q baking "$SCRATCH/err"
	sleep 0.5
	end $pid
	busybox --memory 220M -- echo hi
	[ "$status" = 0 ] && [ "$output" = hi ] && [[ "$stderr" == *baking* ]]
}

@test "--no-bake boots" {
	busybox --no-bake --timings -- echo hi
	[ "$status" = 0 ] && [ "$output" = hi ]
	[ "$(timing is_restored)" = 0 ] && [ "$(timing kernel_us)" -gt 0 ]
}

@test "bake prints the directory, which is a whole snapshot" {
	sm bake --memory 222M "oci:$IMAGES/busybox"
	[ "$status" = 0 ] && [ -d "$output" ]
	dir=$output
	sm bake --memory 222M "oci:$IMAGES/busybox"
	[ "$status" = 0 ] && [ "$output" = "$dir" ] && [ -z "$stderr" ]
	sm verify "$dir"
	[ "$status" = 0 ]
	busybox --memory 222M --timings -- true
	[ "$(timing is_restored)" = 1 ]
}

@test "--warmup runs before the state is kept, and is part of what it is" {
	busybox --warmup 'echo warm > /warm; echo warm > /dev/shm/warm' -- cat /warm /dev/shm/warm
	[ "$status" = 0 ] && [ "$output" = $'warm\nwarm' ] && [[ "$stderr" == *baking* ]]
	busybox --warmup 'echo hot > /warm' -- cat /warm
	[ "$status" = 0 ] && [ "$output" = hot ] && [[ "$stderr" == *baking* ]]
	busybox -- ls /warm
	[ "$status" = 1 ]
}

@test "a warm-up that fails is said, and bakes nothing" {
	for i in 1 2; do
		busybox --warmup 'echo woe >&2; exit 3' -- true
		[ "$status" = 125 ] && [[ "$stderr" == *warm* ]] && [[ "$stderr" == *3* ]]
	done
}

@test "--ready listen: the state is baked when the server listens, then it is restored" {
	server='(while :; do nc -l -p 8080 -e cat; done) & sleep 2; echo over; exit 4'
	busybox --ready listen:8080 --timings -- sh -c "$server"
	[ "$status" = 4 ] && [ "$output" = over ] && [[ "$stderr" == *baking* ]]
	busybox --ready listen:8080 --timings -- sh -c "$server"
	[ "$status" = 4 ] && [ "$output" = over ] && [ "$(timing is_restored)" = 1 ] && [[ "$stderr" != *baking* ]]
}

@test "clones of a server that listens answer, each by itself" {
	sm bake --ready listen "oci:$IMAGES/busybox" httpd -f -p 8080 -h /etc
	[ "$status" = 0 ]
	dir=$output
	for k in 0 1 2; do
		sm restore --clone "$k/3" --name "clone-$k" "$dir" \
			sh -c 'hostname; head -2 /run/supermachine/clone; wget -q -O - http://127.0.0.1:8080/nsswitch.conf | head -1'
		[ "$status" = 0 ] && [ "$output" = "clone-$k"$'\n'"index $k"$'\ncount 3\npasswd: files' ]
	done
}

@test "--ready exec and file" {
	sm bake --ready 'exec:test -e /tmp/up' "oci:$IMAGES/busybox" sh -c 'sleep 0.5; echo > /tmp/up; sleep 1000'
	[ "$status" = 0 ]
	sm restore "$output" ls /tmp/up
	[ "$status" = 0 ]
	sm bake --ready file:/tmp/there "oci:$IMAGES/busybox" sh -c 'sleep 0.5; echo > /tmp/there; sleep 1000'
	[ "$status" = 0 ]
	sm restore "$output" ls /tmp/there
	[ "$status" = 0 ]
}

@test "a server that ends before it listens is said" {
	busybox --ready listen -- sh -c 'echo no >&2; exit 9'
	[ "$status" = 125 ] && [[ "$stderr" == *"before it was ready"*9*no* ]]
}

counter='i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done'

@test "a counter goes on from the same number in each restore, apart from then on" {
	"$SM" run --name counter "oci:$IMAGES/busybox" sh -c "$counter" > "$SCRATCH/source" 2> "$SCRATCH/err" &
	source=$!
	await has_lines "$SCRATCH/source" 3
	sm snapshot counter "$SCRATCH/counted"
	[ "$status" = 0 ] && [ -z "$output$stderr" ]
	# The source goes on.
	after=$(lines "$SCRATCH/source")
	await has_lines "$SCRATCH/source" $((after + 3))
	end $source
	sm verify "$SCRATCH/counted"
	[ "$status" = 0 ]
	sm inspect --json "$SCRATCH/counted"
	[ "$status" = 0 ] && [[ "$output" == *'"commands":1'* ]]
	"$SM" restore "$SCRATCH/counted" > "$SCRATCH/a" 2> "$SCRATCH/err-a" &
	a=$!
	await has_lines "$SCRATCH/a" 2
	"$SM" restore "$SCRATCH/counted" > "$SCRATCH/b" 2> "$SCRATCH/err-b" &
	b=$!
	await has_lines "$SCRATCH/b" 5
	end $a $b
	first=$(head -1 "$SCRATCH/a")
	[ "$first" -ge 4 ] && [ "$first" = "$(head -1 "$SCRATCH/b")" ] && [ "$first" -le $((after + 3)) ]
	[ "$(head -5 "$SCRATCH/b")" = "$(seq "$first" $((first + 4)))" ]
	# The source has counted every number once, and none that its clones counted is missing.
	[ "$(head -8 "$SCRATCH/source")" = "$(seq 8)" ]
	# Both at once from the same files: they have not changed.
	sm verify "$SCRATCH/counted"
	[ "$status" = 0 ]
	rm -rf "$SCRATCH/counted"
}

@test "the exit status of what ran in the snapshot is that of restore" {
	"$SM" run --name ender "oci:$IMAGES/busybox" sh -c \
		'i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo $i; sleep 0.1; done; echo over >&2; exit 7' > "$SCRATCH/source" 2> "$SCRATCH/err" &
	source=$!
	await has_lines "$SCRATCH/source" 2
	sm snapshot ender "$SCRATCH/ender"
	[ "$status" = 0 ]
	end $source
	sm restore --timings "$SCRATCH/ender"
	[ "$status" = 7 ] && [[ "$stderr" == over$'\n'* ]] && [ "$(tail -1 <<< "$output")" = 30 ]
	[ "$(timing is_restored)" = 1 ]
	# Something else instead, with what was asked for this clone.
	sm restore -e WHO=me --clone 3/20 --name other "$SCRATCH/ender" sh -c 'echo "$WHO $(hostname)"; exit 5'
	[ "$status" = 5 ] && [ "$output" = 'me other' ]
	run -127 --separate-stderr timeout 60 "$SM" restore "$SCRATCH/ender" no-such-command
	[[ "$stderr" == *no-such-command* ]]
	rm -rf "$SCRATCH/ender"
}

@test "signals reach what ran in the snapshot" {
	"$SM" run --name trapper "oci:$IMAGES/busybox" sh -c \
		'trap "echo got it; exit 9" TERM; while :; do echo up; sleep 0.1; done' > "$SCRATCH/source" 2> "$SCRATCH/err" &
	source=$!
	await has_lines "$SCRATCH/source" 1
	sm snapshot trapper "$SCRATCH/trapper"
	[ "$status" = 0 ]
	end $source
	"$SM" restore "$SCRATCH/trapper" > "$SCRATCH/out" 2> "$SCRATCH/err" &
	pid=$!
	await has_lines "$SCRATCH/out" 1
	kill -TERM $pid
	status=0; wait $pid || status=$?
	output=$(tail -1 "$SCRATCH/out") stderr=$(< "$SCRATCH/err")
	[ "$status" = 9 ] && [ "$output" = 'got it' ]
	rm -rf "$SCRATCH/trapper"
}

@test "a sleep neither returns at once nor hangs, and the date is right" {
	"$SM" run --name sleeper "oci:$IMAGES/busybox" sh -c 'echo begun; sleep 5; date +%s' > "$SCRATCH/source" 2> "$SCRATCH/err" &
	source=$!
	await has_lines "$SCRATCH/source" 1
	sm snapshot sleeper "$SCRATCH/sleeper"
	[ "$status" = 0 ]
	end $source
	sleep 6
	SECONDS=0
	sm restore "$SCRATCH/sleeper"
	[ "$status" = 0 ] && [ "$SECONDS" -ge 2 ] && [ "$SECONDS" -le 20 ]
	now=$(date +%s)
	[ "$output" -ge $((now - 5)) ] && [ "$output" -le $((now + 1)) ]
	rm -rf "$SCRATCH/sleeper"
}

@test "a differential snapshot of a restored VM, and its restore" {
	sm bake "oci:$IMAGES/busybox"
	base=$output
	"$SM" restore --name differ "$base" sh -c "echo mine > /dev/shm/x; echo mine > /x; $counter" > "$SCRATCH/source" 2> "$SCRATCH/err" &
	source=$!
	await has_lines "$SCRATCH/source" 3
	sm snapshot --diff "$base" differ "$SCRATCH/diff"
	[ "$status" = 0 ]
	end $source
	sm verify "$SCRATCH/diff"
	[ "$status" = 0 ]
	[ "$(du -k "$SCRATCH/diff/memory" | cut -f1)" -lt $(($(du -k "$base/memory" | cut -f1) / 2)) ]
	sm restore "$SCRATCH/diff" cat /dev/shm/x /x
	[ "$status" = 0 ] && [ "$output" = $'mine\nmine' ]
	rm -rf "$SCRATCH/diff"
}

@test "two VMs cannot have one name; who is not there is told" {
	"$SM" run --name taken "oci:$IMAGES/busybox" sh -c 'echo up; sleep 1000' > "$SCRATCH/out" 2> "$SCRATCH/err" &
	pid=$!
	await has_lines "$SCRATCH/out" 1
	busybox --name taken -- true
	[ "$status" = 125 ] && [[ "$stderr" == *taken* ]] && [[ "$stderr" == *try:* ]]
	sm snapshot nobody "$SCRATCH/none"
	[ "$status" = 1 ] && [[ "$stderr" == *nobody* ]] && [[ "$stderr" == *taken* ]] && [ ! -e "$SCRATCH/none" ]
	end $pid
	busybox --name taken -- echo free
	[ "$status" = 0 ] && [ "$output" = free ]
}

@test "snapshots from the library's side" {
	IMAGE=oci:$IMAGES/busybox timeout 900 "${SM%/*}/tests/e2e/e2e-snapshot"
	status=0 output= stderr=
}

@test "four busy vCPUs, snapshot and restore, again and again" {
	IMAGE=oci:$IMAGES/busybox timeout 3000 "${SM%/*}/tests/e2e/e2e-torture"
	status=0 output= stderr=
}
