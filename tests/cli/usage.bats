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
	for command in run pull images doctor version help; do
		[[ "$output" == *"$command"* ]]
	done
	for command in run pull images doctor version; do
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
}
