#!/usr/bin/env bats
# Snapshots that are not whole are refused, and saving that fails leaves nothing: one sentence, a status other than 0.
load common.bash

setup_file() {
	scratch
	"$SM" run --memory 128M --name victim "oci:$IMAGES/busybox" sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done' > "$SCRATCH/out" 2> "$SCRATCH/err" &
	pid=$!
	await has_lines "$SCRATCH/out" 1
	timeout 60 "$SM" snapshot victim "$SCRATCH/good"
	end $pid
	"$SM" restore --name victim "$SCRATCH/good" > "$SCRATCH/out" 2> "$SCRATCH/err" &
	pid=$!
	await has_lines "$SCRATCH/out" 1
	timeout 60 "$SM" snapshot --diff "$SCRATCH/good" victim "$SCRATCH/diff"
	end $pid
}

setup() {
	scratch
	bad=$SCRATCH/bad
	rm -rf "$bad"
	cp -r --sparse=always "$SCRATCH/good" "$bad"
}
teardown() { show; no_vmm_left; }
teardown_file() { clean_scratch; }

flip() { # flip FILE OFFSET: one bit
	python3 - "$1" "$2" << 'END'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
at = int(sys.argv[2])
at += os.fstat(fd).st_size if at < 0 else 0
byte = os.pread(fd, 1, at)[0]
os.pwrite(fd, bytes([byte ^ 4]), at)
END
}

some_data() { # some_data FILE: an offset at which the sparse file has data
	python3 -c 'import os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); print(os.lseek(fd, os.fstat(fd).st_size // 3, os.SEEK_DATA) + 8)' "$1"
}

edit() { # edit PYTHON: changes the members of snapshot.json in `s`
	python3 - "$bad/snapshot.json" "$1" << 'END'
import json, sys
with open(sys.argv[1]) as f: s = json.load(f)
exec(sys.argv[2])
with open(sys.argv[1], "w") as f: json.dump(s, f)
END
}

refused() { # refused WORD...: restore says each word, runs nothing, ends with 125
	local word
	sm restore "$bad" echo ran
	[ "$status" = 125 ] && [ -z "$output" ] && [[ "$stderr" == supermachine:* ]] && [[ "$stderr" == *try:* ]] || return 1
	for word; do [[ "$stderr" == *"$word"* ]] || return 1; done
}

found() { # found WORD: verify finds the damage
	sm verify "$bad"
	[ "$status" = 1 ] && [[ "$stderr" == *"$1"* ]]
}

@test "the undamaged copy is whole and restores" {
	sm verify "$bad"
	[ "$status" = 0 ]
	sm restore "$bad" echo ran
	[ "$status" = 0 ] && [ "$output" = ran ]
}

@test "a flipped bit anywhere in the state" {
	size=$(stat -c %s "$bad/state")
	for i in 0 1 2 3 4 5 6 7; do
		cp "$SCRATCH/good/state" "$bad/state"
		flip "$bad/state" $((size * i / 8 + i))
		refused state
		found state
	done
	cp "$SCRATCH/good/state" "$bad/state"
	flip "$bad/state" -1
	refused state
}

@test "a flipped bit in memory is found by verify" {
	flip "$bad/memory" "$(some_data "$bad/memory")"
	found memory
	[[ "$stderr" == *checksum* ]]
}

@test "a flipped bit in the disk is found by verify" {
	flip "$bad/disk" "$(some_data "$bad/disk")"
	found disk
}

@test "truncated state and memory" {
	truncate -s -1 "$bad/state"
	refused state
	cp "$SCRATCH/good/state" "$bad/state"
	truncate -s 0 "$bad/state"
	refused state
	cp "$SCRATCH/good/state" "$bad/state"
	truncate -s -4096 "$bad/memory"
	refused memory
	found memory
}

@test "longer than they were" {
	truncate -s +4096 "$bad/memory"
	refused memory
	cp --sparse=always "$SCRATCH/good/memory" "$bad/memory"
	echo >> "$bad/state"
	refused state
}

@test "missing files" {
	for file in state memory disk; do
		mv "$bad/$file" "$SCRATCH/kept"
		refused "$file"
		found "$file"
		mv "$SCRATCH/kept" "$bad/$file"
	done
}

@test "a directory that is being written, is empty, or does not exist" {
	rm "$bad/snapshot.json"
	refused snapshot.json
	found snapshot.json
	rm -r "$bad"
	mkdir "$bad"
	refused
	rmdir "$bad"
	refused
}

@test "snapshot.json that is no JSON, or something else" {
	for text in '' '{' '[]' '{}' '{"format": 1}' "$(printf '\\xff\\xfe')"; do
		printf '%s' "$text" > "$bad/snapshot.json"
		refused snapshot.json
		found snapshot.json
	done
	head -c 10000000 /dev/zero > "$bad/snapshot.json"
	refused snapshot.json
}

@test "a newer format" {
	edit 's["format"] += 1'
	refused format
	found format
}

@test "another architecture" {
	sed -i 's/x86_64/aarch64/' "$bad/snapshot.json"
	grep -q aarch64 "$bad/snapshot.json"
	refused aarch64 x86_64
}

@test "numbers that overflow or contradict the files" {
	python3 - "$SM" "$bad" << 'END'
import re, subprocess, sys
sm, bad = sys.argv[1:]
text = open(bad + "/snapshot.json").read()
numbers = [m for m in re.finditer(r"(?<=[:\[ ,])-?\d+(?=[,}\]\s])", text)]
assert len(numbers) > 10, text
for new in "18446744073709551616", "9223372036854775807", "-1", "1.5", '"x"', "null":
    for m in numbers:
        open(bad + "/snapshot.json", "w").write(text[:m.start()] + new + text[m.end():])
        # One that nothing depends on, as a time, may be anything; what must not be is a crash or a hang.
        r = subprocess.run([sm, "inspect", bad], capture_output=True, text=True, timeout=20)
        assert r.returncode in (0, 1), (new, m, r)
        assert r.returncode == 0 or r.stderr.startswith("supermachine: ") and "try: " in r.stderr, (new, m, r)
        # A number that may be left out may be null.
        assert r.returncode == 1 or new in ("9223372036854775807", "null"), (new, m, r)
END
	status=0 output= stderr=
}

@test "more devices than the machine has" {
	edit 's["devices"].append(s["devices"][-1])'
	refused device
	cp "$SCRATCH/good/snapshot.json" "$bad/"
	edit 's["devices"][0], s["devices"][1] = s["devices"][1], s["devices"][0]'
	refused device
}

@test "other vCPUs or memory than in the state" {
	edit 's["vcpus"] = s["vcpus"] + 1'
	refused
	cp "$SCRATCH/good/snapshot.json" "$bad/"
	edit 's["memory_bytes"] = s["memory_bytes"] * 2'
	refused memory
}

@test "a layer that is missing" {
	mkdir -p "$SCRATCH/empty-store"
	SUPERMACHINE_STORE=$SCRATCH/empty-store refused layer
}

@test "a differential one whose base is gone or another" {
	rm -rf "$bad"
	cp -r --sparse=always "$SCRATCH/diff" "$bad"
	mv "$SCRATCH/good" "$SCRATCH/elsewhere"
	refused good
	found good
	cp -r --sparse=always "$SCRATCH/elsewhere" "$SCRATCH/good"
	python3 - "$SCRATCH/good/snapshot.json" << 'END'
import json, sys
s = json.load(open(sys.argv[1]))
s["id"] = s["id"][1:] + s["id"][:1]
json.dump(s, open(sys.argv[1], "w"))
END
	refused
	rm -r "$SCRATCH/good"
	mv "$SCRATCH/elsewhere" "$SCRATCH/good"
}

running() { # running NAME: a counter from the good snapshot, as $pid
	: > "$SCRATCH/out"
	"$SM" restore --name "$1" "$SCRATCH/good" > "$SCRATCH/out" 2> "$SCRATCH/err" &
	pid=$!
	await has_lines "$SCRATCH/out" 1
}

goes_on() { await has_lines "$SCRATCH/out" $(($(lines "$SCRATCH/out") + 3)); }

@test "no space: nothing is left, the VM runs on and can be saved elsewhere" {
	mkdir -p "$SCRATCH/small"
	mount -t tmpfs -o size=4M none "$SCRATCH/small"
	running cramped
	sm snapshot cramped "$SCRATCH/small/s"
	left=$(ls -A "$SCRATCH/small")
	umount "$SCRATCH/small"
	[ "$status" = 1 ] && [[ "$stderr" == *space* ]] && [ -z "$left" ]
	goes_on
	sm snapshot cramped "$SCRATCH/roomy"
	[ "$status" = 0 ]
	end $pid
	sm verify "$SCRATCH/roomy"
	[ "$status" = 0 ]
	rm -r "$SCRATCH/roomy"
}

@test "a target that exists is left alone" {
	running careful
	mkdir "$SCRATCH/there"
	sm snapshot careful "$SCRATCH/there"
	[ "$status" = 1 ] && [[ "$stderr" == *there* ]] && rmdir "$SCRATCH/there"
	sm snapshot careful "$SCRATCH/good"
	[ "$status" = 1 ] && [[ "$stderr" == *good* ]]
	sm verify "$SCRATCH/good"
	[ "$status" = 0 ]
	goes_on
	end $pid
}

@test "kill -9 of the VMM while it saves: no half snapshot, the old one is whole" {
	mkdir -p "$SCRATCH/saves"
	running dying
	# Stopped and killed at some point of the save; what came of it may be whole or absent, never half.
	for delay in 0.02 0.2; do
		[ -d "/proc/$pid" ] || running dying
		"$SM" snapshot dying "$SCRATCH/saves/s" > "$SCRATCH/snap" 2>&1 &
		asker=$!
		sleep $delay
		pkill -KILL -x supermachine-vm
		status=0; wait $asker || status=$?
		output= stderr=$(< "$SCRATCH/snap")
		if [ "$status" = 0 ]; then
			timeout 60 "$SM" verify "$SCRATCH/saves/s"
		else
			[[ "$stderr" == supermachine:* ]]
			[ -z "$(ls -A "$SCRATCH/saves")" ]
		fi
		rm -rf "$SCRATCH/saves/s"
		end $pid
	done
	sm verify "$SCRATCH/good"
	[ "$status" = 0 ]
}

@test "kill -9 of the command while it saves: nothing has the name" {
	mkdir -p "$SCRATCH/killed"
	running doomed
	"$SM" snapshot doomed "$SCRATCH/killed/s" > "$SCRATCH/snap" 2>&1 &
	asker=$!
	await compgen -G "$SCRATCH/killed/*" || await compgen -G "$SCRATCH/killed/.*s*"
	kill -KILL $pid
	wait $pid || true
	status=0; wait $asker || status=$?
	output=$(ls -A "$SCRATCH/killed") stderr=$(< "$SCRATCH/snap")
	if [ -e "$SCRATCH/killed/s" ]; then # it was quicker
		timeout 60 "$SM" verify "$SCRATCH/killed/s"
	else
		[ "$status" = 1 ] && [[ "$stderr" == *doomed* ]]
	fi
}
