#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the OCI layouts and archives that the tests of src/oci open: good ones, and every kind of
bad one. Usage: make_images.py DIR. Each image is DIR/<name>, an OCI layout; the tests know what
must become of it."""
import gzip
import hashlib
import io
import json
import os
import platform
import struct
import subprocess
import sys
import tarfile

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OTHER = {"amd64": "s390x", "arm64": "s390x"}[ARCH]
OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
MTIME = 1700000000


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Tar:
    """A tar in memory, entry by entry, in exactly the order given."""

    def __init__(self, fmt=tarfile.PAX_FORMAT):
        self.out = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.out, mode="w", format=fmt)

    def add(self, name, kind=tarfile.REGTYPE, data=b"", mode=0o644, uid=0, gid=0, link="", dev=None,
            mtime=MTIME, xattrs=None, pax=None):
        t = tarfile.TarInfo(name)
        t.type, t.mode, t.uid, t.gid, t.linkname, t.mtime = kind, mode, uid, gid, link, mtime
        t.size = len(data)
        if dev:
            t.devmajor, t.devminor = dev
        t.pax_headers = dict(pax or {})
        for key, value in (xattrs or {}).items():
            t.pax_headers["SCHILY.xattr." + key] = value
        self.tar.addfile(t, io.BytesIO(data))
        return self

    def dir(self, name, mode=0o755, **kw):
        return self.add(name, tarfile.DIRTYPE, mode=mode, **kw)

    def sym(self, name, target, **kw):
        return self.add(name, tarfile.SYMTYPE, link=target, mode=0o777, **kw)

    def hard(self, name, target, **kw):
        return self.add(name, tarfile.LNKTYPE, link=target, **kw)

    def bytes(self):
        self.tar.close()
        return self.out.getvalue()


class Layout:
    """An OCI layout directory."""

    def __init__(self, path):
        self.path = path
        self.entries = []
        os.makedirs(path + "/blobs/sha256")
        self.write("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')

    def write(self, name, data):
        with open(os.path.join(self.path, name), "wb") as f:
            f.write(data)

    def blob(self, data, media_type):
        if not isinstance(data, bytes):
            data = json.dumps(data).encode()
        self.write("blobs/sha256/" + hashlib.sha256(data).hexdigest(), data)
        return {"mediaType": media_type, "digest": sha(data), "size": len(data)}

    def image(self, layers, arch=ARCH, tag=None, config=None, compress="gzip", family=OCI,
              diff_ids=None, with_platform=True, variant=None, indexed=True, extra=None):
        """layers: plain tars, lowest first."""
        docker = family == DOCKER
        kinds = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}
        layer_type = (DOCKER + "image.rootfs.diff.tar.gzip" if docker else
                      OCI + "layer.v1.tar" + kinds[compress])
        document = {"architecture": arch, "os": "linux", "created": "2024-01-02T03:04:05Z",
                    "config": config if config is not None else {"Cmd": ["sh"]},
                    "rootfs": {"type": "layers", "diff_ids": diff_ids or [sha(x) for x in layers]}}
        if variant:
            document["variant"] = variant
        manifest = {
            "schemaVersion": 2,
            "mediaType": (DOCKER + "distribution.manifest.v2+json" if docker else
                          OCI + "manifest.v1+json"),
            "config": self.blob(document, DOCKER + "container.image.v1+json" if docker else
                                OCI + "config.v1+json"),
            "layers": [self.blob(pack(x, compress), layer_type) for x in layers]}
        manifest.update(extra or {})
        d = self.blob(manifest, manifest["mediaType"])
        if with_platform:
            d["platform"] = {"os": "linux", "architecture": arch}
            if variant:
                d["platform"]["variant"] = variant
        if tag:
            d["annotations"] = {"org.opencontainers.image.ref.name": tag}
        if indexed:
            self.entries.append(d)
        return d

    def index(self, entries=None):
        self.write("index.json", json.dumps(
            {"schemaVersion": 2, "manifests": self.entries if entries is None else entries}).encode())
        return self

    def tar(self, path, mode="w:", fmt=tarfile.PAX_FORMAT):
        with tarfile.open(path, mode, format=fmt) as t:
            t.add(self.path, arcname=".")


def pack(data, how):
    if how == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-3", "-c"], input=data, stdout=subprocess.PIPE,
                              check=True).stdout
    return data


def rewrite_blob(layout, digest, change):
    path = layout.path + "/blobs/sha256/" + digest.split(":")[1]
    with open(path, "rb") as f:
        data = bytearray(f.read())
    data = change(data)
    with open(path, "wb") as f:
        f.write(data)


def flip(data, at=None):
    data[len(data) // 2 if at is None else at] ^= 1
    return data


def small():
    return (Tar().dir("./").dir("etc").add("etc/hello", data=b"hello\n").dir("bin")
            .add("bin/sh", data=b"#!\n" * 1000, mode=0o755).bytes())


def rich():
    """Everything a layer may hold."""
    t = Tar()
    cap = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0).decode("latin1")
    t.dir("./", mode=0o755, uid=0)
    t.dir("bin").dir("tmp", mode=0o1777)
    t.add("bin/su", data=b"su" * 40000, mode=0o4755)
    t.add("bin/wall", data=b"w", mode=0o2755, gid=5)
    t.hard("bin/su2", "bin/su").hard("bin/su3", "./bin/su2")
    t.sym("bin/abs", "/etc/passwd").sym("bin/out", "../../../../etc/shadow")
    t.sym("bin/long", "x/" * 1000 + "y")
    t.add("dev/null", tarfile.CHRTYPE, dev=(1, 3), mode=0o666)
    t.add("dev/big", tarfile.BLKTYPE, dev=(259, 70000), mode=0o600)
    t.add("run/pipe", tarfile.FIFOTYPE, mode=0o600)
    t.add("home/big-owner", data=b"o", uid=4000000000, gid=3000000000)
    t.add("home/old", data=b"1", mtime=-5)
    t.add("home/late", data=b"1", mtime=1 << 33)
    t.add("home/fraction", data=b"1", mtime=1700000000.5)
    t.add("home/ping", data=b"p", xattrs={"security.capability": cap})
    t.add("home/noted", data=b"n", xattrs={"user.a": "1", "user.b": "two", "system.x": "no",
                                           "trusted.overlay.opaque": "y"})
    t.add("home/" + "n" * 255, data=b"long name")
    t.add("deep/" + "/".join(["d" * 100] * 20) + "/f", data=b"deep")
    t.add("home/caf\u00e9-\u6f22", data=b"utf8")
    t.add("twice", data=b"first").add("twice", data=b"second")
    t.dir("was-dir").add("was-dir/x", data=b"x").add("was-dir", data=b"now a file")
    t.add("was-file", data=b"x").dir("was-file").add("was-file/y", data=b"y")
    t.add("linked", data=b"old content").hard("kept", "linked").add("linked", data=b"new content")
    t.add("empty")
    t.add("big", data=bytes(range(256)) * 4096)
    t.add("same", data=bytes(range(256)) * 4096)
    t.add("zeros", data=b"\0" * 700000 + b"end")
    t.add(".//odd/./name", data=b"odd")
    return t.bytes()


def gnu_names():
    t = Tar(tarfile.GNU_FORMAT)
    t.add("g/" + "long/" * 60 + "file", data=b"gnu long name")
    t.sym("g/link", "t" * 300)
    return t.bytes()


def gnu_sparse():
    """Old GNU sparse format: 1 MiB of which two pieces are there."""
    head = bytearray(tarfile.TarInfo("sparse").tobuf(tarfile.GNU_FORMAT))
    pieces = [(65536, b"A" * 512), (900 * 1024, b"B" * 512)]
    size = 1 << 20
    head[124:136] = b"%011o\0" % sum(len(d) for _, d in pieces)
    head[156:157] = b"S"
    head[257:265] = b"ustar  \0"
    at = 386
    for offset, data in pieces:
        head[at:at + 24] = b"%011o\0%011o\0" % (offset, len(data))
        at += 24
    head[at:at + 24] = b"%011o\0%011o\0" % (size, 0)
    head[483:495] = b"%011o\0" % size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + b"".join(d for _, d in pieces) + b"\0" * 1024


def whiteouts_low():
    t = Tar().dir("./").dir("a").add("a/gone", data=b"1").add("a/stays", data=b"2")
    t.dir("op").add("op/low", data=b"3").dir("op/sub").add("op/sub/low", data=b"4")
    t.dir("re").add("re/low", data=b"5").dir("all").add("all/x", data=b"6")
    t.add("turns", data=b"7").dir("turned").add("turned/x", data=b"8").hard("a/hard", "turns")
    return t.bytes()


def whiteouts_high():
    t = Tar().dir("./", mode=0o700).dir("a", mode=0o711).add("a/.wh.gone")
    t.dir("op", xattrs={"user.k": "v"}).add("op/high", data=b"h").add("op/.wh..wh..opq")
    # deleted and made anew, in both orders: the directory hides what was there
    t.add(".wh.re").dir("re").add("re/high", data=b"h")
    t.dir("all").add("all/y", data=b"h").add(".wh.all")
    t.dir("turns").add("turns/z", data=b"h").add("turned", data=b"f")
    t.add(".wh..wh.plnk/1.2", data=b"aufs").add(".wh..wh.aufs", data=b"aufs")
    t.add(".wh.both").add("both", data=b"here")
    return t.bytes()


def good(root):
    for name, how in (("gz", "gzip"), ("zst", "zstd"), ("none", "none")):
        lay = Layout(f"{root}/small-{name}")
        lay.image([small()], compress=how, tag="latest")
        lay.index()
    lay = Layout(root + "/plain-docker")
    lay.image([small()], family=DOCKER)
    lay.index()
    lay = Layout(root + "/rich")
    lay.image([rich(), gnu_names(), gnu_sparse()], tag="1.0", config={
        "Env": ["PATH=/bin", "A=b=c"], "Cmd": ["echo", "hi"], "Entrypoint": ["/bin/sh", "-c"],
        "WorkingDir": "/home", "User": "1000:1000", "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/data": {}}, "StopSignal": "SIGQUIT", "Labels": {"a": "b", "c": ""},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000, "Retries": 3},
        "OnBuild": None, "Shell": None})
    lay.index()
    lay.tar(root + "/rich.tar")
    lay.tar(root + "/rich.tar.gz", "w:gz")
    lay.tar(root + "/rich-gnu.tar", fmt=tarfile.GNU_FORMAT)
    with open(root + "/rich.tar", "rb") as f, open(root + "/rich.tar.zst", "wb") as out:
        out.write(pack(f.read(), "zstd"))
    lay = Layout(root + "/whiteouts")
    lay.image([whiteouts_low(), whiteouts_high()])
    lay.index()
    lay = Layout(root + "/root-opaque")
    lay.image([small(), Tar().add(".wh..wh..opq").add("only", data=b"1").bytes()])
    lay.index()
    lay = Layout(root + "/many")
    lay.image(many_layers(30))
    lay.index()
    lay = Layout(root + "/empties")
    nothing = b"\0" * 1024
    lay.image([nothing, small(), nothing, nothing])
    lay.index()
    lay = Layout(root + "/only-empty")
    lay.image([nothing])
    lay.index()
    lay = Layout(root + "/noise")
    lay.image([Tar().add(f"noise{i}", data=noise(4 << 20)[i:]).bytes() for i in range(3)])
    lay.index()
    # truly nothing, not even an end of archive
    lay = Layout(root + "/zero-bytes")
    lay.image([b"", small()])
    lay.index()


def noise(n):
    """Bytes that do not compress, the same every time."""
    return b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(n // 32))


def many_layers(n):
    """Layer k writes f<k>, replaces "top", deletes f<k-2>, and every tenth is opaque in op/."""
    layers = []
    for k in range(n):
        t = Tar().dir("./").add(f"f{k}", data=b"%d" % k).add("top", data=b"%d" % k, mtime=MTIME + k)
        if k >= 2:
            t.add(f".wh.f{k - 2}")
        t.dir("op", mode=0o700 + k % 8)
        if k % 10 == 0 and k:
            t.add("op/.wh..wh..opq")
        t.add(f"op/o{k}", data=b"o%d" % k, xattrs={"user.k": str(k)}).hard(f"op/h{k}", f"op/o{k}")
        layers.append(t.bytes())
    return layers


def choices(root):
    lay = Layout(root + "/tags")
    for tag in ("docker.io/library/demo:1.0", "2.0"):
        lay.image([Tar().add("tag", data=tag.encode()).bytes()], tag=tag)
    lay.index()
    lay = Layout(root + "/tags-latest")
    for tag in ("old", "latest"):
        lay.image([Tar().add("tag", data=tag.encode()).bytes()], tag=tag)
    lay.index()
    lay = Layout(root + "/multi")
    inner = [lay.image([Tar().add("arch", data=a.encode()).bytes()], arch=a, indexed=False)
             for a in (ARCH, OTHER)]
    attestation = dict(inner[0], platform={"os": "unknown", "architecture": "unknown"})
    index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json",
             "manifests": [attestation] + inner}
    lay.entries = [lay.blob(index, OCI + "index.v1+json")]
    lay.index()
    lay = Layout(root + "/docker-list")
    inner = [lay.image([small()], arch=a, family=DOCKER, indexed=False) for a in (OTHER, ARCH)]
    listing = {"schemaVersion": 2, "mediaType": DOCKER + "distribution.manifest.list.v2+json",
               "manifests": inner}
    lay.entries = [lay.blob(listing, listing["mediaType"])]
    lay.index()
    lay = Layout(root + "/other-platform")
    for a in (OTHER, "riscv64"):
        lay.image([small()], arch=a)
    lay.index()
    lay = Layout(root + "/other-unsaid")
    lay.image([small()], arch=OTHER, with_platform=False)
    lay.index()
    lay = Layout(root + "/nested")
    d = lay.image([small()], indexed=False)
    for _ in range(6):
        d = lay.blob({"schemaVersion": 2, "manifests": [d]}, OCI + "index.v1+json")
    lay.entries = [d]
    lay.index()
    lay = Layout(root + "/artifact")
    m = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "layers": [
        lay.blob(b"x", "application/x")], "config": lay.blob({}, "application/vnd.oci.empty.v1+json")}
    lay.entries = [lay.blob(m, m["mediaType"])]
    lay.index()


def bad_blobs(root):
    lay = Layout(root + "/bad-layer-bit")
    lay.image([small()])
    lay.index()
    rewrite_blob(lay, layer_of(lay), flip)
    lay = Layout(root + "/bad-layer-bit-plain")
    lay.image([small()], compress="none")
    lay.index()
    rewrite_blob(lay, layer_of(lay), lambda d: flip(d, 0))
    lay = Layout(root + "/bad-layer-short")
    lay.image([rich()])
    lay.index()
    rewrite_blob(lay, layer_of(lay), lambda d: d[:len(d) // 2])
    lay = Layout(root + "/bad-layer-long")
    lay.image([small()])
    lay.index()
    rewrite_blob(lay, layer_of(lay), lambda d: d + b"x")
    lay = Layout(root + "/bad-manifest-bit")
    lay.image([small()])
    lay.index()
    rewrite_blob(lay, lay.entries[0]["digest"], flip)
    lay = Layout(root + "/bad-config-bit")
    lay.image([small()])
    lay.index()
    rewrite_blob(lay, manifest_of(lay)["config"]["digest"], flip)
    lay = Layout(root + "/bad-missing-layer")
    lay.image([small()])
    lay.index()
    os.unlink(lay.path + "/blobs/sha256/" + layer_of(lay).split(":")[1])
    # right digests, wrong content
    lay = Layout(root + "/bad-gzip-truncated")
    lay.image([small()])
    bad_layer(lay, pack(rich(), "gzip")[:-2000], rich())
    lay = Layout(root + "/bad-tar-cut")
    lay.image([Tar().add("cut", data=b"c" * 1000).bytes()[:512 + 900]])
    lay.index()
    # the last block is not filled up and there is no end mark: some tools write this
    lay = Layout(root + "/unpadded")
    lay.image([Tar().add("whole", data=b"w" * 30).bytes()[:512 + 30]])
    lay.index()
    lay = Layout(root + "/bad-not-tar")
    lay.image([b"this is no tar archive at all. " * 100])
    lay.index()
    lay = Layout(root + "/bad-diff-id")
    lay.image([small()], diff_ids=[sha(b"something else")])
    lay.index()
    lay = Layout(root + "/bad-diff-count")
    lay.image([small()], diff_ids=[sha(small()), sha(b"one more")])
    lay.index()


def manifest_of(lay):
    with open(lay.path + "/blobs/sha256/" + lay.entries[0]["digest"].split(":")[1], "rb") as f:
        return json.load(f)


def layer_of(lay):
    return manifest_of(lay)["layers"][0]["digest"]


def bad_layer(lay, packed, plain):
    """Replaces the layer by bytes of our choice, with matching digests."""
    m = manifest_of(lay)
    with open(lay.path + "/blobs/sha256/" + m["config"]["digest"].split(":")[1], "rb") as f:
        document = json.load(f)
    document["rootfs"]["diff_ids"] = [sha(plain)]
    m["config"] = lay.blob(document, m["config"]["mediaType"])
    m["layers"] = [lay.blob(packed, m["layers"][0]["mediaType"])]
    lay.entries = [lay.blob(m, m["mediaType"])]
    lay.index()


def bad_names(root):
    sym = Tar().sym("etc", "/etc")
    cases = {
        "dotdot": Tar().add("../evil", data=b"x"),
        "dotdot-inside": Tar().dir("a").add("a/../../evil", data=b"x"),
        "absolute": Tar().add("/evil", data=b"x"),
        "through-symlink": sym.add("etc/evil", data=b"x"),
        "through-file": Tar().add("f", data=b"x").add("f/g", data=b"y"),
        "hard-missing": Tar().hard("a", "b").add("b", data=b"x"),
        "hard-dotdot": Tar().hard("a", "../b"),
        "hard-absolute": Tar().add("b", data=b"x").hard("a", "/b"),
        "hard-directory": Tar().dir("d").hard("a", "d"),
        "hard-symlink-parent": Tar().sym("s", "/").hard("a", "s/etc/passwd"),
        "root-file": Tar().add(".", data=b"x"),
        "long-component": Tar().add("n" * 256, data=b"x"),
        "long-path": Tar().add("p/" * 3000 + "x", data=b"x"),
        "whiteout-nothing": Tar().add(".wh.", data=b""),
        "whiteout-dotdot": Tar().add("a/.wh...", data=b""),
        "whiteout-inside": Tar().add(".wh.x/y", data=b""),
        "device-number": Tar().add("d", tarfile.CHRTYPE, dev=(0o777777, 1)),
        "xattr-size": Tar().add("x", xattrs={"user.big": "v" * 70000}),
    }
    for name, tar in cases.items():
        lay = Layout(f"{root}/bad-name-{name}")
        lay.image([tar.bytes()])
        lay.index()


def bad_documents(root):
    def layout(name, index, marker=None):
        lay = Layout(f"{root}/bad-doc-{name}")
        if marker is not None:
            lay.write("oci-layout", marker)
        lay.write("index.json", index if isinstance(index, bytes) else json.dumps(index).encode())
        return lay

    def manifest(name, m, media_type=OCI + "manifest.v1+json"):
        lay = Layout(f"{root}/bad-doc-{name}")
        lay.entries = [lay.blob(m, media_type)]
        lay.index()
        return lay

    def edited(name, edit):
        lay = Layout(f"{root}/bad-doc-{name}")
        lay.image([small()])
        m = manifest_of(lay)
        edit(lay, m)
        lay.entries = [lay.blob(m, m["mediaType"])]
        lay.index()

    layout("index-not-json", b"not json {")
    layout("index-array", b"[]")
    layout("index-empty", {"schemaVersion": 2, "manifests": []})
    layout("index-no-manifests", {"schemaVersion": 2})
    layout("index-duplicate", b'{"schemaVersion":2,"manifests":[],"manifests":[]}')
    layout("index-huge", b'{"schemaVersion":2,"manifests":[' + b" " * (5 << 20) + b"]}")
    layout("index-types", {"schemaVersion": 2, "manifests": [
        {"mediaType": 5, "digest": "x", "size": 1}]})
    layout("index-traversal", {"schemaVersion": 2, "manifests": [
        {"mediaType": OCI + "manifest.v1+json", "digest": "sha256:../../../../etc/passwd", "size": 1}]})
    layout("index-negative", {"schemaVersion": 2, "manifests": [
        {"mediaType": OCI + "manifest.v1+json", "digest": sha(b""), "size": -1}]})
    layout("marker-version", {"schemaVersion": 2, "manifests": []}, b'{"imageLayoutVersion":"9.0"}')
    layout("marker-json", {"schemaVersion": 2, "manifests": []}, b"nonsense")
    manifest("manifest-not-json", b"<html>no such thing</html>")
    manifest("manifest-schema1", {"schemaVersion": 1, "name": "x"})
    manifest("manifest-both", {"schemaVersion": 2, "manifests": [], "layers": [], "config": {}})
    edited("manifest-type", lambda lay, m: m.update(mediaType=OCI + "index.v1+json"))
    edited("layer-type", lambda lay, m: m["layers"][0].update(mediaType="application/x-foo"))
    edited("layer-digest", lambda lay, m: m["layers"][0].update(digest="sha512:" + "0" * 128))
    edited("no-layers", lambda lay, m: m.update(layers=[]))
    edited("config-huge", lambda lay, m: m["config"].update(size=1 << 40))
    edited("config-not-json", lambda lay, m: m.update(config=lay.blob(b"{", m["config"]["mediaType"])))
    edited("config-types", lambda lay, m: m.update(config=lay.blob(
        {"os": "linux", "architecture": ARCH, "rootfs": {"type": "layers", "diff_ids": [sha(small())]},
         "config": {"Env": "PATH=/bin"}}, m["config"]["mediaType"])))
    lay = Layout(root + "/bad-link-blob")
    lay.image([small()])
    lay.index()
    path = lay.path + "/blobs/sha256/" + layer_of(lay).split(":")[1]
    os.rename(path, root + "/outside-blob")
    os.symlink("../../../outside-blob", path)
    lay = Layout(root + "/bad-link-index")
    lay.image([small()])
    with open(root + "/outside-index.json", "w", encoding="utf-8") as f:
        json.dump({"schemaVersion": 2, "manifests": lay.entries}, f)
    os.symlink(root + "/outside-index.json", lay.path + "/index.json")
    lay = Layout(root + "/bad-fifo-index")
    lay.image([small()])
    os.mkfifo(lay.path + "/index.json")
    lay = Layout(root + "/good-link-inside")
    lay.image([small()])
    lay.index()
    path = lay.path + "/blobs/sha256/" + layer_of(lay).split(":")[1]
    os.rename(path, lay.path + "/moved")
    os.symlink("../../moved", path)
    os.makedirs(root + "/no-layout")


def base256(n):
    return b"\x80" + n.to_bytes(11, "big")


def bombs(root):
    lay = Layout(root + "/bomb")
    lay.image([Tar().add("zeros", data=b"\0" * (64 << 20)).bytes()])
    lay.index()
    # a sparse file of 1 TiB in 1 KiB
    lay = Layout(root + "/bomb-sparse")
    t = gnu_sparse()
    head = bytearray(t[:512])
    tib = 1 << 40
    head[386:434] = base256(0) + base256(512) + base256(tib - 512) + base256(512)
    head[434:458] = base256(tib) + base256(0)
    head[483:495] = base256(tib)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    lay.image([bytes(head) + t[512:]])
    lay.index()


def main():
    root = sys.argv[1]
    os.makedirs(root, exist_ok=True)
    for make in (good, choices, bad_blobs, bad_names, bad_documents, bombs):
        make(root)


main()
