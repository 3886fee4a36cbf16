#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# overlay-check.sh MERGED LAYER…: mounts the layers (lowest first) as an overlay and the merged file
# beside it, in a mount namespace of its own, and compares them: names, types, owners, modes,
# times, sizes, devices, extended attributes, contents. With --probe: can this host do it at all?
if [ -z "$IN_NAMESPACE" ]; then
	exec env IN_NAMESPACE=1 unshare -m sh "$0" "$@"
fi
set -e
if [ "$1" = --probe ]; then
	grep -qw squashfs /proc/filesystems && grep -qw overlay /proc/filesystems
	command -v getfattr >/dev/null && [ -e /dev/loop-control ]
	exit
fi
work=$(mktemp -d)
trap 'umount -l "$work" 2>/dev/null; rmdir "$work"' EXIT
mount -t tmpfs none "$work"
merged=$1
shift
n=0
lower=
for layer in "$@"; do
	mkdir "$work/$n"
	mount -t squashfs -o ro,loop "$layer" "$work/$n"
	lower="$work/$n${lower:+:$lower}"
	n=$((n + 1))
done
mkdir "$work/overlay" "$work/merged" "$work/empty"
[ $n -gt 1 ] || lower="$lower:$work/empty"
cd "$work" # short option text: one page is all that mount(2) takes
mount -t overlay -o "ro,lowerdir=$(echo "$lower" | sed "s|$work/||g")" none overlay
mount -t squashfs -o ro,loop "$merged" merged
describe()
{
	cd "$work/$1"
	find . -printf '%p %y %m %U:%G %T@ %l\n' | sort
	find . -type f -printf '%p %s\n' | sort
	find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | sort
	find . -type f -print0 | sort -z | xargs -0 -r sha256sum
	find . -print0 | sort -z | xargs -0 -r getfattr -h -d -m- 2>/dev/null || true
}
describe overlay >"$work/a"
describe merged >"$work/b"
[ "$(wc -l <"$work/a")" -gt 10 ]
diff -u "$work/a" "$work/b" >&2
