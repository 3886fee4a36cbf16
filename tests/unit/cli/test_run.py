#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_run.py SUPERMACHINE PULL DOUBLE: `supermachine run` as a program among programs.

The whole command, library and agent are real; the VMM is tests/unit/api/vmm_double.c, so that a
command runs on this host; it makes no snapshots, hence --no-bake. Without /dev/kvm, which the
library opens for the VMM, it is skipped.
"""
import hashlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

SUPERMACHINE, PULL, DOUBLE = (pathlib.Path(p).resolve() for p in sys.argv[1:4])


def make_image(top):
    """An OCI layout with one plain layer; entrypoint `echo`, command `by default`."""
    blobs = top / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    oci = "application/vnd.oci.image."
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("file"), io.BytesIO(b""))
    layer = blob(layer.getvalue(), oci + "layer.v1.tar")
    config = {
        "architecture": "amd64", "os": "linux", "created": "2024-05-01T10:20:30Z",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        "config": {"Entrypoint": ["echo"], "Cmd": ["by", "default"], "Env": ["PATH=/usr/bin:/bin"]},
    }
    config = blob(json.dumps(config).encode(), oci + "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": config, "layers": [layer]}
    manifest = blob(json.dumps(manifest).encode(), oci + "manifest.v1+json")
    (top / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (top / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


class Run(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise unittest.SkipTest("no /dev/kvm to hand to the VMM")
        cls.scratch = tempfile.TemporaryDirectory()
        cls.top = pathlib.Path(cls.scratch.name)
        make_image(cls.top / "image")
        parts = cls.top / "parts"
        parts.mkdir()
        (parts / "supermachine-vmm").symlink_to(DOUBLE)
        (parts / "supermachine-pull").symlink_to(PULL)
        (parts / "initramfs.cpio").touch()
        cls.kernel = parts / "vmlinux"
        cls.kernel.touch()
        cls.env = dict(os.environ, SUPERMACHINE_LIBEXEC=str(parts), SUPERMACHINE_STORE=str(cls.top / "store"),
                       SUPERMACHINE_KERNEL=str(cls.kernel), SUPERMACHINE_EMULATE="never", TAKEN_OVER="from here",
                       # The helper shuts itself out of /proc, without which a leak checker cannot work.
                       ASAN_OPTIONS="detect_leaks=0", XDG_RUNTIME_DIR=str(cls.top), XDG_CACHE_HOME=str(cls.top / "cache"))

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def argv(self, options, command):
        return [SUPERMACHINE, "run", "--no-bake", *options, f"oci:{self.top}/image", *command]

    def run_it(self, *options, command=(), **more):
        return subprocess.run(self.argv(options, command), env=self.env, capture_output=True, text=True, timeout=60,
                              **more)

    def shell(self, script, *options, **more):
        return self.run_it("--entrypoint", "", *options, command=("sh", "-c", script), **more)

    def start(self, script, *options, **more):
        return subprocess.Popen(self.argv(("--entrypoint", "", *options), ("sh", "-c", script)), env=self.env,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)

    def vmm_of(self, process):
        """The VMM is a child of the command."""
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        return [int(p) for p in children.read_text().split()]

    def test_status_and_streams(self):
        r = self.shell("echo out; echo err >&2; exit 7")
        self.assertEqual((r.returncode, r.stdout, r.stderr), (7, "out\n", "err\n"))
        self.assertEqual(self.shell("kill -KILL $$").returncode, 137)

    def test_entrypoint_and_command(self):
        self.assertEqual(self.run_it().stdout, "by default\n")
        self.assertEqual(self.run_it(command=("other", "-x")).stdout, "other -x\n")
        self.assertEqual(self.run_it("--entrypoint", "printf", command=("%s.", "a", "b")).stdout, "a.b.")
        self.assertEqual(self.run_it("--entrypoint", "", command=("echo", "x")).stdout, "x\n")
        r = self.run_it("--entrypoint", "")
        self.assertEqual(r.returncode, 125)
        self.assertIn("no command", r.stderr)

    def test_not_found_and_not_executable(self):
        r = self.run_it("--entrypoint", "no-such-command")
        self.assertEqual(r.returncode, 127)
        self.assertIn("no-such-command", r.stderr)
        self.assertEqual(self.run_it("--entrypoint", "/etc/passwd").returncode, 126)
        self.assertEqual(self.run_it("-u", "nosuchuser").returncode, 125)

    def test_environment(self):
        r = self.shell('echo "$A|$TAKEN_OVER|${NOT_THERE-unset}"', "-e", "A=1 2", "-e", "TAKEN_OVER", "-e", "NOT_THERE")
        self.assertEqual(r.stdout, "1 2|from here|unset\n")

    def test_input(self):
        self.assertEqual(self.shell("cat", "-i", input="hello").stdout, "hello")
        self.assertEqual(self.shell("cat", input="hello").stdout, "")

    def test_name_is_checked(self):
        r = self.run_it("--name", "no name")
        self.assertEqual(r.returncode, 125)
        self.assertIn("no name", r.stderr)
        self.assertIn("try:", r.stderr)

    def test_timings_are_one_line_of_json_at_the_end(self):
        r = self.shell("echo err >&2", "--timings")
        words, timings = r.stderr.splitlines()
        self.assertEqual((r.returncode, words), (0, "err"))
        timings = json.loads(timings)
        self.assertEqual(timings["is_restored"], 0)
        self.assertGreater(timings["total_us"], 0)
        header = (pathlib.Path(__file__).parents[3] / "include/supermachine.h").read_text()
        fields = header.split("struct sm_start_timings {")[1].split("};")[0]
        self.assertEqual(set(timings), set(re.findall(r"(\w+);", re.sub(r"/\*.*?\*/", "", fields, flags=re.S))))

    def test_a_name_is_taken_once_and_given_back(self):
        first = self.start("echo up; sleep 100", "--name", "taken")
        self.assertEqual(first.stdout.readline(), "up\n")
        r = self.shell("true", "--name", "taken")
        self.assertEqual(r.returncode, 125)
        self.assertIn("taken: a VM of this name runs already", r.stderr)
        self.assertIn("try:", r.stderr)
        first.kill()
        first.communicate(timeout=30)
        self.assertEqual(self.shell("true", "--name", "taken").returncode, 0)
        self.assertEqual(self.shell("true", "--name", "taken").returncode, 0)
        left = {p.name for p in (self.top / "supermachine").iterdir()} - {"kvm-works"}
        self.assertEqual(left, set())

    def test_no_runtime_directory(self):
        env = dict(self.env, XDG_RUNTIME_DIR=str(self.top / "not" / "there"))
        r = subprocess.run(self.argv(("--name", "x"), ()), env=env, capture_output=True, text=True, timeout=60)
        self.assertEqual(r.returncode, 125)
        self.assertIn("XDG_RUNTIME_DIR", r.stderr)
        r = subprocess.run(self.argv((), ()), env=env, capture_output=True, text=True, timeout=60)
        self.assertEqual((r.returncode, r.stdout, r.stderr), (0, "by default\n", ""))

    def test_signal_reaches_the_command(self):
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2:
            name = number.name[3:]
            p = self.start(f"trap 'echo got; exit 9' {name}; echo up; while :; do sleep 0.02; done")
            self.assertEqual(p.stdout.readline(), "up\n")
            p.send_signal(number)
            out, _ = p.communicate(timeout=30)  # the shell may say what became of its sleep
            self.assertEqual((p.returncode, out), (9, "got\n"), name)

    def test_signal_ends_a_command_that_does_not_care(self):
        p = self.start("echo up; exec sleep 100")
        p.stdout.readline()
        p.terminate()
        self.assertEqual(p.wait(30), 143)
        p.communicate()

    def test_second_interrupt_is_force(self):
        p = self.start("trap '' INT; echo up; while :; do sleep 0.02; done")
        p.stdout.readline()
        p.send_signal(signal.SIGINT)
        time.sleep(0.2)
        self.assertIsNone(p.poll())
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=30)
        self.assertEqual((p.returncode, err), (130, ""))

    def test_ignored_signals_stay_ignored(self):
        p = self.start("echo up; sleep 0.5; exit 3", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        p.stdout.readline()
        p.send_signal(signal.SIGHUP)
        p.communicate(timeout=30)
        self.assertEqual(p.returncode, 3)

    def test_signal_during_boot(self):
        silent = self.top / "silent"
        silent.write_text("double=silent")
        p = self.start("true", "--kernel", str(silent))
        deadline = time.monotonic() + 20
        while not self.vmm_of(p) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        [vmm] = self.vmm_of(p)
        began = time.monotonic()
        p.terminate()
        p.communicate(timeout=30)
        self.assertEqual(p.returncode, 143)
        self.assertLess(time.monotonic() - began, 2)
        self.assert_gone(vmm)

    def assert_gone(self, pid):
        for _ in range(200):
            try:
                if ") Z" in pathlib.Path(f"/proc/{pid}/stat").read_text():
                    return
            except (FileNotFoundError, ProcessLookupError):
                return
            time.sleep(0.01)
        self.fail(f"process {pid} is still there")

    def test_killed_command_leaves_no_vmm(self):
        p = self.start("echo up; sleep 100")
        p.stdout.readline()
        [vmm] = self.vmm_of(p)
        p.kill()
        p.communicate(timeout=30)
        self.assert_gone(vmm)

    def test_death_of_the_vmm_is_told(self):
        p = self.start("echo up; sleep 100")
        p.stdout.readline()
        [vmm] = self.vmm_of(p)
        os.kill(vmm, signal.SIGKILL)
        out, err = p.communicate(timeout=10)
        self.assertEqual(p.returncode, 125)
        self.assertIn("signal 9", err)
        self.assertIn("try:", err)

    def test_panic_is_told(self):
        panic = self.top / "panic"
        panic.write_text("double=panic")
        r = self.run_it("--kernel", str(panic))
        self.assertEqual(r.returncode, 125)
        self.assertIn("Kernel panic - not syncing: test", r.stderr)

    def test_closed_pipe_ends_it(self):
        yes = subprocess.Popen(self.argv(("--entrypoint", ""), ("yes",)), env=self.env, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        self.assertEqual(yes.stdout.readline(), b"y\n")
        yes.stdout.close()
        self.assertEqual(yes.wait(30), 128 + signal.SIGPIPE)
        self.assertEqual(yes.stderr.read(), b"")
        yes.stderr.close()

    def test_closed_standard_descriptors(self):
        r = subprocess.run(["sh", "-c", 'exec "$0" "$@" <&- 2>&-', *self.argv((), ("hello",))], env=self.env,
                           capture_output=True, text=True, timeout=60)
        self.assertEqual((r.returncode, r.stdout), (0, "hello\n"))

    def test_verbose_says_where_time_went(self):
        r = subprocess.run([SUPERMACHINE, "-v", *self.argv((), ())[1:]], env=self.env, capture_output=True,
                           text=True, timeout=60)
        self.assertEqual(r.stdout, "by default\n")
        for word in "image", "VM started", "guest boot to agent", "command", "VM stopped":
            self.assertIn(word, r.stderr)

    def test_emulation_is_asked_for_by_value(self):
        env = dict(self.env, SUPERMACHINE_EMULATE="perhaps")
        r = subprocess.run(self.argv((), ()), env=env, capture_output=True, text=True, timeout=60)
        self.assertEqual(r.returncode, 125)
        self.assertIn("perhaps", r.stderr)

    def test_emulated_host_gets_the_same_command(self):
        parts = self.top / "emulating"
        parts.mkdir()
        for part in pathlib.Path(self.env["SUPERMACHINE_LIBEXEC"]).iterdir():
            (parts / part.name).symlink_to(part.resolve())
        (parts / "emulated-host").write_text('#!/bin/sh\nfor a; do echo "$a"; done\nexit 5\n')
        (parts / "emulated-host").chmod(0o755)
        env = dict(self.env, SUPERMACHINE_EMULATE="always", SUPERMACHINE_LIBEXEC=str(parts))
        env.pop("XDG_DATA_HOME", None)
        r = subprocess.run(self.argv(("-m", "1G", "--cpus", "4", "-e", "TAKEN_OVER"), ("a b", "-c")), env=env,
                           capture_output=True, text=True, timeout=60)
        self.assertEqual(r.returncode, 5)
        self.assertEqual(r.stderr.count("\n"), 1)
        self.assertIn("emulated host", r.stderr)
        self.assertEqual(r.stdout.splitlines(), [
            "-m", "2048", "-c", "4", "-w", str(self.top / "store"), "-e", "XDG_CACHE_HOME", "-e", "TAKEN_OVER", "-e", "SUPERMACHINE_EMULATE=never",
            "--", str(SUPERMACHINE), "run", "--no-bake", "-m", "1G", "--cpus", "4", "-e", "TAKEN_OVER", f"oci:{self.top}/image",
            "a b", "-c"])

    def test_missing_emulated_host_is_named(self):
        env = dict(self.env, SUPERMACHINE_EMULATE="always")
        r = subprocess.run(self.argv((), ()), env=env, capture_output=True, text=True, timeout=60)
        self.assertEqual(r.returncode, 125)
        self.assertIn("emulated-host: it is neither", r.stderr)


unittest.main(argv=sys.argv[:1], verbosity=2)
