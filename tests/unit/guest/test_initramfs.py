#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_initramfs.py MK_INITRAMFS: the archive is what the kernel wants, and nothing bad makes one."""
import os
import subprocess
import sys
import tempfile

TOOL = sys.argv[1]


def parse(data):
    """Entries of a newc archive as (name, mode, rdev, content); the offset after the trailer."""
    at, entries = 0, []
    while True:
        assert data[at : at + 6] == b"070701", f"no entry at {at}"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        at = (at + 110 + fields[11] + 3) & ~3
        content = data[at : at + fields[6]]
        at = (at + fields[6] + 3) & ~3
        if name == "TRAILER!!!":
            return entries, at
        assert fields[2] == fields[3] == fields[5] == 0, "owner or time of the machine that built it"
        entries.append((name, fields[1], (fields[9], fields[10]), content))


def run(*args):
    return subprocess.run([sys.executable, TOOL, *args], capture_output=True, text=True, timeout=30)


def expect_refused(args, words, out):
    r = run(*args)
    assert r.returncode != 0 and words in r.stderr, (args, r)
    assert "Traceback" not in r.stderr, r.stderr
    assert not os.path.exists(out), "half an archive is left"


with tempfile.TemporaryDirectory() as d:
    init, out, again = (os.path.join(d, n) for n in ("init", "a.cpio", "b.cpio"))
    for size in (1001, 1002, 1003, 1004):
        program = b"\x7fELF" + bytes(i % 251 for i in range(size))
        with open(init, "wb") as f:
            f.write(program)
        assert run(init, out).returncode == 0
        data = open(out, "rb").read()
        entries, end = parse(data)
        assert entries == [
            ("dev", 0o040755, (0, 0), b""),
            ("dev/console", 0o020600, (5, 1), b""),
            ("init", 0o100755, (0, 0), program),
        ], entries
        assert len(data) % 512 == 0 and not any(data[end:]), "padding"
        os.utime(init, (1, 1))
        assert run(init, again).returncode == 0
        assert open(again, "rb").read() == data, "not the same bytes twice"
    os.remove(out)
    expect_refused([os.path.join(d, "none"), out], "No such file", out)
    with open(init, "wb") as f:
        f.write(b"#!/bin/sh\n")
    expect_refused([init, out], "not an ELF program", out)
    expect_refused([init], "usage:", out)
    with open(init, "wb") as f:
        f.write(b"\x7fELF")
    expect_refused([init, os.path.join(d, "no/such/dir/out")], "No such file", out)
    assert sorted(os.listdir(d)) == ["b.cpio", "init"], os.listdir(d)
print("ok")
