#!/usr/bin/env bats
# What a layer says arrives in the guest: tests/e2e/make-nasty-image made the image.
load common.bash

setup() { [ -d "$IMAGES/nasty" ] || skip "no Debian image to build on (mmdebstrap could not make one)"; }
teardown() { show; no_vmm_left; }

python() { sm run "oci:$IMAGES/nasty:$1" python3 -c "$2"; }

@test "whiteouts, opaque directories and replacements" {
	python nasty '
import os
assert sorted(os.listdir("/d1")) == ["back", "stays"], os.listdir("/d1")
assert os.listdir("/d2") == ["shown"], os.listdir("/d2")
assert open("/d3/replaced").read() == "new"
assert open("/twice").read() == "last"
print("ok")'
	[ "$status" = 0 ] && [ "$output" = ok ]
}

@test "hard links, modes, owners, devices, fifos, symbolic links, times" {
	python nasty '
import os, stat
a, b = os.stat("/first"), os.stat("/second")
assert a.st_ino == b.st_ino and a.st_nlink == 2, (a, b)
assert os.stat("/suid").st_mode & 0o7777 == 0o4755
assert os.stat("/big-uid").st_uid == 3000000000
null = os.stat("/null")
assert stat.S_ISCHR(null.st_mode) and null.st_rdev == os.makedev(1, 3)
open("/null", "w").write("x")
assert stat.S_ISFIFO(os.stat("/pipe").st_mode)
assert os.readlink("/far") == "/../../etc/passwd" and "root:" in open("/far").read()
assert os.stat("/d1/stays").st_mtime == 1000000000
print("ok")'
	[ "$status" = 0 ] && [ "$output" = ok ]
}

@test "extended attributes, long names, deep paths" {
	python nasty '
import os
assert os.getxattr("/attributes", "user.colour") == b"blue"
assert os.getxattr("/attributes", "security.capability").hex().startswith("0100000200200000")
assert open("/" + "n" * 255).read() == "long"
assert open("/" + "/".join(["deep" * 10] * 8) + "/file").read() == "deep"
print("ok")'
	[ "$status" = 0 ] && [ "$output" = ok ]
}

@test "more layers than block slots: the lowest are merged, nothing is lost" {
	python many '
import os
assert open("/last").read() == "39"
assert sorted(map(int, os.listdir("/layers"))) == list(range(1, 40, 2)), os.listdir("/layers")
print("ok")'
	[ "$status" = 0 ] && [ "$output" = ok ]
}
