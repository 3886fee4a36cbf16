#!/usr/bin/env bats
# The writable layer: a sparse disk, or memory when asked.
load common.bash

teardown() { show; no_vmm_left; }

# Random bytes (few, since drawing them is what takes longest), written one after the other until there is 1 GiB.
@test "a guest with 256 MiB of memory writes 1 GiB to its disk and reads it back" {
	LIMIT=500 busybox --memory 256M -- sh -c '
		head -c 16777216 /dev/urandom > /dev/shm/seed && seed=$(md5sum < /dev/shm/seed) || exit 1
		i=0; while [ $i -lt 64 ]; do cat /dev/shm/seed || exit 2; i=$((i+1)); done > /big
		sync; echo 3 > /proc/sys/vm/drop_caches
		[ "$(stat -c %s /big)" = 1073741824 ] || exit 3
		i=0; while [ $i -lt 64 ]; do
			[ "$(dd if=/big bs=16M skip=$i count=1 2> /dev/null | md5sum)" = "$seed" ] || exit 4
			i=$((i+1))
		done; echo same'
	[ "$status" = 0 ] && [ "$output" = same ]
}

@test "--disk: its size, and what happens when it is full" {
	busybox --disk 1G -- df -m /
	[ "$status" = 0 ]
	size=$(awk 'END { print $2 }' <<< "$output")
	[ "$size" -gt 850 ] && [ "$size" -le 1024 ]
	LIMIT=200 busybox --disk 128M -- sh -c \
		'dd if=/dev/zero of=/big bs=1M count=200; echo "$?"; rm /big; sync; echo works > /small && cat /small'
	[ "$status" = 0 ] && [ "$output" = $'1\nworks' ] && [[ "$stderr" == *"No space left"* ]]
}

@test "the default disk is 8 GiB and sparse" {
	busybox -- df -m /
	[ "$status" = 0 ]
	[ "$(awk 'END { print ($2 > 7500 && $2 <= 8192) }' <<< "$output")" = 1 ]
}

@test "--tmpfs: writes go to memory, within the limit" {
	busybox --tmpfs 32M -- sh -c 'dd if=/dev/zero of=/big bs=1M count=50; ls -l /big | awk "{print (\$5 <= 33554432)}"'
	[ "$status" = 0 ] && [ "$output" = 1 ] && [[ "$stderr" == *"No space left"* ]]
}

@test "sizes that make no sense" {
	busybox --disk 1K -- true
	[ "$status" = 125 ] && [[ "$stderr" == *disk* ]] && [[ "$stderr" == *try:* ]]
	busybox --tmpfs 900G -- true
	[ "$status" = 125 ] && [[ "$stderr" == *try:* ]]
}
