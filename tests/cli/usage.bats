#!/usr/bin/env bats
# The command itself: help, version, mistakes.
bats_require_minimum_version 1.5.0

teardown() {
	echo "status: $status"
	echo "stdout: $output"
	echo "stderr: $stderr"
}

sm() { run --separate-stderr timeout -k 5 60 "$SM" "$@"; }

@test "help lists every command, each command has help" {
	sm help
	[ "$status" = 0 ] && [ -z "$stderr" ]
	for command in run bake restore snapshot inspect verify pull images doctor version help; do
		[[ "$output" == *"$command"* ]]
	done
	for command in run bake restore snapshot inspect verify pull images doctor version; do
		run "$SM" "$command" --help
		[ "$status" = 0 ] && [[ "$output" == *"supermachine $command"* ]]
	done
}

@test "version is the same everywhere" {
	sm version
	[ "$status" = 0 ]
	version=$(sed -n 's/.*SM_VERSION[[:space:]]*"\(.*\)"/\1/p' "$BATS_TEST_DIRNAME/../../include/supermachine.h")
	[[ "$output" == *"$version"* ]]
	sm version --json
	[ "$(python3 -c 'import json,sys; print(json.loads(sys.argv[1])["version"])' "$output")" = "$version" ]
}

@test "doctor says what it found, as JSON too" {
	sm doctor
	[[ "$output" == *kvm* ]]
	native=$status
	sm doctor --json
	[ "$status" = "$native" ]
	python3 -c 'import json,sys; x=json.loads(sys.argv[1]); assert any(c["name"] == "kvm" for c in x["checks"] if isinstance(x, dict)) if isinstance(x, dict) else any(c["name"] == "kvm" for c in x)' "$output"
	sm doctor --quiet
	[ "$status" = "$native" ] && [ -z "$output$stderr" ]
}

@test "mistakes are named" {
	sm nosuchcommand
	[ "$status" != 0 ] && [[ "$stderr" == *nosuchcommand* ]]
	sm run --nosuchoption image
	[ "$status" = 125 ] && [[ "$stderr" == *nosuchoption* ]]
	sm run
	[ "$status" = 125 ] && [ -n "$stderr" ]
	sm run --cpus 0 oci:/x true
	[ "$status" = 125 ] && [[ "$stderr" == *16* ]]
	sm run --cpus 1000 oci:/x true
	[ "$status" = 125 ] && [[ "$stderr" == *16* ]]
	sm run --memory lots oci:/x true
	[ "$status" = 125 ] && [[ "$stderr" == *lots* ]]
	SUPERMACHINE_EMULATE=perhaps sm run oci:/x true
	[ "$status" = 125 ] && [[ "$stderr" == *perhaps* ]]
	sm run --ready soon oci:/x
	[ "$status" = 125 ] && [[ "$stderr" == *soon* ]] && [[ "$stderr" == *listen:PORT* ]]
	sm run --clone 3/3 oci:/x
	[ "$status" = 125 ] && [[ "$stderr" == *3/3* ]]
	sm run --disk 1G --tmpfs 1G oci:/x
	[ "$status" = 125 ] && [[ "$stderr" == *tmpfs* ]]
	sm bake oci:/x a-command
	[ "$status" = 125 ] && [[ "$stderr" == *--ready* ]]
	for command in restore bake; do
		sm $command
		[ "$status" = 125 ] && [[ "$stderr" == *named* ]]
	done
	for command in snapshot inspect verify; do
		sm $command
		[ "$status" = 2 ] && [ -n "$stderr" ]
	done
}

@test "a snapshot that is none" {
	mkdir "$BATS_TEST_TMPDIR/empty"
	for dir in "$BATS_TEST_TMPDIR/empty" /no/such/directory /etc/passwd; do
		sm inspect "$dir"
		[ "$status" = 1 ] && [ -z "$output" ] && [[ "$stderr" == *"$dir"* ]] && [[ "$stderr" == *try:* ]]
		sm verify "$dir"
		[ "$status" = 1 ] && [ -z "$output" ] && [[ "$stderr" == *"$dir"* ]] && [[ "$stderr" == *try:* ]]
		sm restore "$dir"
		[ "$status" = 125 ] && [ -z "$output" ] && [[ "$stderr" == *"$dir"* ]] && [[ "$stderr" == *try:* ]]
	done
}

@test "a VM that is none, and a runtime directory that is not ours alone" {
	export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR
	sm snapshot nobody "$BATS_TEST_TMPDIR/s"
	[ "$status" = 1 ] && [[ "$stderr" == *nobody* ]] && [[ "$stderr" == *try:* ]]
	sm snapshot a/b "$BATS_TEST_TMPDIR/s"
	[ "$status" = 1 ] && [[ "$stderr" == *a/b* ]]
	chmod 755 "$BATS_TEST_TMPDIR/supermachine"
	sm snapshot nobody "$BATS_TEST_TMPDIR/s"
	[ "$status" = 1 ] && [[ "$stderr" == *"$BATS_TEST_TMPDIR/supermachine"* ]] && [[ "$stderr" == *755* ]]
	[ ! -e "$BATS_TEST_TMPDIR/s" ]
}
