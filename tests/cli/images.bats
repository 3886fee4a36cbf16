#!/usr/bin/env bats
# Images that cannot be used are refused before any VM exists: one sentence with the object, a remedy, status 125,
# and nothing kept in the store.
bats_require_minimum_version 1.5.0

setup() {
	export SUPERMACHINE_EMULATE=never SUPERMACHINE_STORE=$BATS_TEST_TMPDIR/store
	tools=$BATS_TEST_DIRNAME/../../tools
	image=$BATS_TEST_TMPDIR/image
	"$tools/make-busybox-image" "$image"
	blobs=$image/blobs/sha256
}

teardown() {
	echo "status: $status"
	echo "stdout: $output"
	echo "stderr: $stderr"
}

sm() { run --separate-stderr timeout -k 5 60 "$SM" "$@"; }

refused() { # refused WORD...: status 125, nothing on stdout, the words and a remedy on stderr, nothing kept
	local word
	[ "$status" = 125 ] && [ -z "$output" ] || return 1
	for word; do [[ "$stderr" == *"$word"* ]] || { echo "no '$word' in it" >&2; return 1; }; done
	[[ "$stderr" == *try:* ]] || { echo "no remedy" >&2; return 1; }
	! find "$SUPERMACHINE_STORE" -name '*.squashfs' 2> /dev/null | grep . || return 1
	! find "$SUPERMACHINE_STORE/tmp" -type f 2> /dev/null | grep .
}

layer() { # the path of the image's (one) layer blob
	local manifest
	manifest=$(python3 -c "import json;print(json.load(open('$image/index.json'))['manifests'][0]['digest'][7:])")
	python3 -c "import json;print('$blobs/' + json.load(open('$blobs/$manifest'))['layers'][0]['digest'][7:])"
}

@test "an image that does not exist" {
	sm run oci:/no/such/directory true
	refused /no/such/directory
}

@test "a registry's image says how to get it" {
	sm run alpine:3.20 true
	refused alpine skopeo
}

@test "one flipped bit in a layer: named, refused" {
	blob=$(layer)
	python3 - "$blob" <<-'PY'
		import sys
		data = bytearray(open(sys.argv[1], "rb").read())
		data[len(data) // 2] ^= 1
		open(sys.argv[1], "wb").write(data)
	PY
	sm run "oci:$image" true
	refused "${blob##*/}"
}

@test "a truncated layer" {
	blob=$(layer)
	truncate -s -100 "$blob"
	sm run "oci:$image" true
	refused "${blob##*/}"
}

@test "an index that is not JSON" {
	echo '{ "manifests": [' > "$image/index.json"
	sm run "oci:$image" true
	refused index.json
}

@test "a blob that is missing names itself" {
	blob=$(layer)
	rm "$blob"
	sm run "oci:$image" true
	refused "${blob##*/}"
}

@test "a tag that is not there lists those that are" {
	sm run "oci:$image:nosuchtag" true
	refused nosuchtag latest
}

@test "disk full in the store" {
	[ "$(id -u)" = 0 ] || skip "needs root to make a small tmpfs"
	mkdir "$SUPERMACHINE_STORE"
	mount -t tmpfs -o size=100k none "$SUPERMACHINE_STORE"
	sm run "oci:$image" true
	local result=0
	refused "$SUPERMACHINE_STORE" || result=1
	umount "$SUPERMACHINE_STORE"
	return $result
}

@test "pull converts once; images lists it, as JSON too" {
	sm pull "oci:$image"
	[ "$status" = 0 ]
	sm images
	[ "$status" = 0 ] && [[ "$output" == *"$image"* ]]
	sm images --json
	[ "$status" = 0 ] && python3 -c 'import json,sys; x=json.loads(sys.argv[1]); assert len(x)==1 and x[0]["platform"]=="linux/amd64"' "$output"
}

@test "two pulls at once end well" {
	"$SM" pull "oci:$image" & a=$!
	"$SM" pull "oci:$image" & b=$!
	wait $a
	wait $b
	[ "$(find "$SUPERMACHINE_STORE" -name '*.squashfs' | wc -l)" = 1 ]
	status=0 output= stderr=
}
