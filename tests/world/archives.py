"""Archives and images for the tests of worlds: made entry by entry in memory, and read back. Standard library only."""
import functools
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile

from bed import check, equal

PROGRAMS = ("sh", "ls", "cat", "id", "stat", "find", "sort", "ln", "mv", "rm", "touch", "mkdir", "dd", "chmod", "md5sum", "sleep")
LONG_AGO = 1_000_000_000  # a time of its own for all entries


@functools.cache
def programs():
    """The least that runs the programs, as {path inside: path on the host}."""
    found = {}
    for name in PROGRAMS:
        path = subprocess.run(["which", name], capture_output=True, text=True, check=True, timeout=20).stdout.strip()
        found["bin/" + name] = path
        for word in subprocess.run(["ldd", path], capture_output=True, text=True, timeout=20).stdout.split():
            if word.startswith("/"):
                found[word.lstrip("/")] = word
    return found


class Archive:
    """A tar that is made entry by entry."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)
        self.known = set()

    def add(self, name, kind=tarfile.REGTYPE, data=b"", mode=0o644, owner=(0, 0), link="", device=(0, 0), pax=None):
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.size, entry.linkname, entry.mtime = kind, mode, len(data), link, LONG_AGO
        entry.uid, entry.gid = owner
        entry.devmajor, entry.devminor = device
        entry.pax_headers = pax or {}
        self.tar.addfile(entry, io.BytesIO(data))
        return self

    def directory(self, name, mode=0o755, owner=(0, 0)):
        return self.add(name, tarfile.DIRTYPE, mode=mode, owner=owner)

    def way(self, name):
        parts = os.path.dirname(name).split("/")
        for depth in range(len(parts)):
            above = "/".join(parts[:depth + 1])
            if above and above not in self.known:
                self.known.add(above)
                self.directory(above)
        return self

    def end(self):
        self.tar.close()
        return self.bytes.getvalue()


def bootable():
    """An archive with the programs and /etc/passwd in it, to be added to."""
    archive = Archive()
    archive.directory(".")
    for inside, host in sorted(programs().items()):
        with open(host, "rb") as file:
            archive.way(inside).add(inside, data=file.read(), mode=0o755)
    return archive.directory("etc").add("etc/passwd", data=b"root:x:0:0::/:/bin/sh\nsvc:x:7:8::/:/bin/sh\n")


def put(u, name, data):
    path = f"{u.home}/{name}"
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o644)
    return path


def furnished(archive):
    archive.directory("srv", mode=0o1777, owner=(7, 8))
    archive.add("srv/file", data=b"text\n", mode=0o640, owner=(7, 8))
    archive.add("srv/setuid", data=b"#!/bin/sh\n", mode=0o6755, owner=(7, 8))
    archive.add("srv/name", tarfile.LNKTYPE, link="srv/file")
    archive.add("srv/symlink", tarfile.SYMTYPE, link="/etc/passwd", mode=0o777)
    archive.add("srv/fifo", tarfile.FIFOTYPE, mode=0o600)
    archive.add("srv/secret", data=b"x", mode=0o000)
    archive.add("srv/nobody", data=b"", mode=0o400, owner=(70000, 70000))
    archive.directory("srv/closed", mode=0o500).add("srv/closed/in", data=b"in\n")
    return archive


def layers(u):
    place = u.store + "/layers"
    return sorted(n for n in os.listdir(place) if n != "lock") if os.path.isdir(place) else []


def left(u):
    """All that lies in the store but what a store without worlds has."""
    return layers(u) + os.listdir(u.store + "/worlds") if os.path.isdir(u.store + "/worlds") else layers(u)


def told(data):
    """What a tar says, by name: kind, owner, mode, time, content or target; and its hard links as sets of names."""
    objects, first = {}, {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for entry in tar:
            name = entry.name.rstrip("/").removeprefix("./") or "."
            if entry.islnk():
                first[name] = entry.linkname.removeprefix("./")
                continue
            content = tar.extractfile(entry).read() if entry.isreg() else entry.linkname
            mode = 0o777 if entry.issym() else entry.mode
            objects[name] = (entry.type, entry.uid, entry.gid, mode, entry.mtime, content, entry.devmajor, entry.devminor,
                             sorted((k, v) for k, v in entry.pax_headers.items() if k.startswith("SCHILY")))
    groups = {}
    for name, other in first.items():
        groups.setdefault(other, {other}).add(name)
        objects[name] = objects[other]
    return objects, sorted(sorted(group) for group in groups.values())


def exported(u, world, *options):
    path = f"{u.home}/out-{os.urandom(4).hex()}.tar"
    with open(path, "wb") as file:
        child = u.popen("troot", "export", world, *options, stdout=file, stderr=subprocess.PIPE)
        _, err = child.communicate(timeout=60)
        equal(child.returncode, 0, f"status of export ({err})")
    with open(path, "rb") as file:
        return file.read()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An OCI layout of images, in memory: a file's path to its bytes."""

    def __init__(self):
        self.files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        self.manifests = []

    def blob(self, data):
        self.files["blobs/sha256/" + digest(data)[7:]] = data
        return {"digest": digest(data), "size": len(data)}

    def image(self, tag, *tars, config=None, **more):
        """`config`: what is to be run; `more`: the rest of the configuration."""
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        config = {"architecture": machine, "os": "linux", "config": config or {},
                  "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]}} | more
        kind = "application/vnd.oci.image."
        manifest = {"schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
                    "config": {"mediaType": kind + "config.v1+json"} | self.blob(json.dumps(config).encode()),
                    "layers": [{"mediaType": kind + "layer.v1.tar+gzip"} | self.blob(gzip.compress(tar, 1, mtime=0)) for tar in tars]}
        self.manifests.append({"mediaType": kind + "manifest.v1+json",
                               "annotations": {"org.opencontainers.image.ref.name": tag}} | self.blob(json.dumps(manifest).encode()))
        self.files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": self.manifests}).encode()
        return self

    def write(self, directory):
        for path, data in self.files.items():
            os.makedirs(os.path.dirname(f"{directory}/{path}"), exist_ok=True)
            with open(f"{directory}/{path}", "wb") as file:
                file.write(data)
        return directory

    def tar(self):
        archive = Archive()
        for path, data in self.files.items():
            archive.way(path).add(path, data=data)
        return archive.end()


def closed_root():
    """The tars of an image whose lowest layer has a root of its own, and the next says nothing of it."""
    lowest = Archive().directory(".", mode=0o750, owner=(7, 8)).directory("srv").end()
    return lowest, Archive().add("srv/f").end()


def three_layers():
    """The tars of an image's layers: a root, what is changed and hidden in it, and an empty one twice."""
    empty = Archive().end()
    change = Archive().directory("srv", mode=0o755).add("srv/.wh.secret").add("srv/.wh.closed").add("srv/added", data=b"new\n")
    change.add("srv/file", data=b"changed\n", mode=0o600).directory("etc").directory("etc/new").add("etc/new/.wh..wh..opq")
    return furnished(bootable()).end(), empty, change.end(), empty


def tool(*words, **named):
    child = subprocess.run(words, capture_output=True, timeout=100, **named)
    equal(child.returncode, 0, f"status of {' '.join(words)} ({child.stderr.decode()[-500:]})")
    return child.stdout
